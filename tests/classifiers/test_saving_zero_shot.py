"""A compact CLAP saved and loaded again: towers, prompts, temperature, in full and half precision."""

import json

import pytest
import torch
from safetensors.numpy import load_file

import audioxai as ax
from audioxai.classifiers.saving import load_classifier, save_classifier
from audioxai.errors import ConfigError, OutputError
from audioxai.nn import CompactCLAP, CompactCNN

PROMPTS = {"dog": ["a dog", "barking"], "rain": ["rain"]}


def a_clap(**options):
    torch.manual_seed(0)
    clap = CompactCLAP(32)
    given = {"sample_rate": 16000, "prompts": PROMPTS, "frontend": ax.LogMel(16000), "template": ["the {}", "{}"]}
    return ax.ZeroShotClassifier(clap.audio, clap.text, **{**given, "temperature": 21.5, **options}).eval()


@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_comes_back(tmp_path, half):
    made = a_clap()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    save_classifier(made, tmp_path, half=half)
    found = load_classifier(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.prompts, found.templates, found.temperature) == (made.prompts, made.templates, 21.5)
    assert not found.training
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    clips = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(found(clips), made(clips), atol=0.05 if half else 0.0, rtol=0.0)
    if not half:
        assert found.fingerprint() == made.fingerprint()
    kinds = {v.dtype.name for k, v in load_file(tmp_path / "classifier.safetensors").items() if "num_batches" not in k}
    assert kinds == {"float16" if half else "float32"}


def test_half_precision_of_other_classifiers(tmp_path):
    made = ax.AudioClassifier(CompactCNN(2), sample_rate=16000, frontend=ax.LogMel(16000), labels=["a", "b"]).eval()
    sizes = [
        (save_classifier(made, tmp_path / str(half), half=half) / "classifier.safetensors").stat().st_size
        for half in (False, True)
    ]
    assert sizes[1] < 0.55 * sizes[0]
    clips = torch.randn(2, 8000)
    with torch.no_grad():
        torch.testing.assert_close(load_classifier(tmp_path / "True")(clips), made(clips), atol=0.02, rtol=0.01)


def test_what_cannot_be_saved(tmp_path):
    clap = CompactCLAP(32)
    with pytest.raises(ConfigError, match="CompactCNN behind NoneType with NgramEncoder"):
        save_classifier(a_clap(frontend=None), tmp_path)
    wide = ax.ZeroShotClassifier(
        CompactCNN(32, widths=(8, 8, 8, 8, 8)), clap.text, sample_rate=16000, prompts=["a"], frontend=ax.LogMel(16000)
    )
    with pytest.raises(ConfigError, match="sizes of its own"):
        save_classifier(wide, tmp_path)
    assert not list(tmp_path.iterdir())


def test_damage_is_told(tmp_path):
    save_classifier(a_clap(), tmp_path)
    config = json.loads((tmp_path / "classifier.json").read_text())
    (tmp_path / "classifier.json").write_text(json.dumps({**config, "dim": 7}))
    with pytest.raises(OutputError, match="cannot be read"):
        load_classifier(tmp_path)
