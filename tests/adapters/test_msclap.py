"""Microsoft's CLAP from files of its layout: the logits of a plain second version, and files that are wrong."""

from __future__ import annotations

import sys

import msclap_files
import pytest
import torch

pytest.importorskip("transformers")
import clap_models

from audioxai.adapters.msclap import from_msclap
from audioxai.errors import ConfigError, MissingDependencyError, OutputError
from audioxai.sound.dsp import melscale_fbanks

PROMPTS = ["a dog", "rain falling hard on a roof", "sneezing"]
SECONDS = {"2022": 5, "2023": 7}
FILES = {"2022": msclap_files.file_2022, "2023": msclap_files.file_2023}


class Bert(clap_models.Words):
    pad = 0


class Gpt(clap_models.Words):
    pad = 0

    def __call__(self, *args, **options):
        return super().__call__(*args, first=(), end=(), **options)


TOKENIZERS = {"2022": Bert(), "2023": Gpt()}


@pytest.fixture(scope="module", params=["2022", "2023"])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def state(version):
    return FILES[version]()


@pytest.fixture(scope="module")
def wrapped(version, state):
    return from_msclap(state, prompts=PROMPTS, tokenizer=TOKENIZERS[version])


def clips(seconds: float, count: int = 2) -> torch.Tensor:
    samples = round(seconds * 44100)
    x = 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(0))
    return x * torch.linspace(0.01, 1, count)[:, None] * torch.linspace(1, 0.1, samples)


def expected_logits(version, state, waveform):
    audio = getattr(msclap_files, f"audio_{version}")(state, waveform)
    rows = []
    for prompt in PROMPTS:
        text = f"this is the sound of {prompt}" + (" <|endoftext|>" if version == "2023" else "")
        ids = TOKENIZERS[version]([text])["input_ids"][0]
        rows.append(getattr(msclap_files, f"text_{version}")(state, ids))
    cosines = torch.nn.functional.cosine_similarity(audio[:, None], torch.stack(rows)[None], dim=2)
    return cosines * torch.tensor(3.0).exp()


def test_logits_are_those_of_a_plain_second_version(version, state, wrapped):
    x = clips(SECONDS[version])
    with torch.no_grad():
        ours, expected = wrapped(x), expected_logits(version, state, x)
    assert expected.std(0).amax() > 0.1  # the clips differ
    assert expected.std(1).amax() > 0.1  # and the prompts
    assert torch.allclose(ours, expected, atol=2e-4)
    assert wrapped.temperature == pytest.approx(20.0855, rel=1e-4)
    assert wrapped.sample_rate == 44100


def test_short_clips_are_repeated_and_cut_and_long_ones_windowed(version, state, wrapped):
    size = SECONDS[version] * 44100
    x = clips(2.2, 1)
    tiled = x.repeat(1, 4)[:, :size]
    with torch.no_grad():
        assert torch.allclose(wrapped(x), wrapped(tiled), atol=1e-5)
        long = clips(1.5 * SECONDS[version], 1)
        rows = wrapped.embed_audio(torch.cat([long[:, :size], long[:, -size:]]))
        assert torch.allclose(
            wrapped.embed_audio(long), torch.nn.functional.normalize(rows.mean(0, keepdim=True)), atol=1e-5
        )


def test_maps(version, wrapped):
    x = clips(2.2, 1)
    logits, latents = wrapped.classify_with_latents(wrapped.features(x), differentiable=True)
    assert torch.allclose(logits, wrapped(x), atol=1e-5)
    shapes = [tuple(m.shape) for m in wrapped.as_maps(latents)]
    if version == "2022":  # 690 frames in 5 s, of which 2.2 s are 303
        assert shapes == [(1, 4, 16, 75), (1, 8, 8, 37), (1, 16, 4, 18), (1, 64, 2, 9)]
    else:
        assert shapes == [(1, 8, 16, 80), (1, 16, 8, 40)]
    gradients = torch.autograd.grad(logits[0, 1], latents)
    assert all(g.abs().sum() > 0 for g in gradients)


def test_files(version, state, wrapped, tmp_path):
    torch.save({"model": state}, tmp_path / "weights.pth")
    loaded = from_msclap(tmp_path / "weights.pth", prompts=PROMPTS, tokenizer=TOKENIZERS[version])
    assert torch.equal(loaded(clips(1.0)), wrapped(clips(1.0)))
    assert loaded.fingerprint() == wrapped.fingerprint()
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    with pytest.raises(OutputError, match="cannot be read|damaged"):
        from_msclap(tmp_path / "bad.pth", prompts=PROMPTS, tokenizer=TOKENIZERS[version])
    with pytest.raises(OutputError, match="there is no file"):
        from_msclap(tmp_path / "none.pth", prompts=PROMPTS, tokenizer=TOKENIZERS[version])


def test_the_filters_are_the_files_or_those_of_the_year(version, state, wrapped):
    name = next(key for key in state if key.endswith("melW"))
    assert torch.equal(wrapped.frontend.bank, state[name])
    without = from_msclap({k: v for k, v in state.items() if k != name}, prompts=PROMPTS, tokenizer=TOKENIZERS[version])
    rate = 44100 if version == "2022" else 32000  # the bank of 2023 is made for another rate than the audio's
    assert torch.allclose(without.frontend.bank, melscale_fbanks(513, 50, 14000, 64, rate, "slaney", "slaney"))


def test_a_long_prompt_is_cut_with_a_warning(version, wrapped):
    longest = {"2022": 100, "2023": 77}[version]
    if version == "2022":
        pytest.skip("the miniature has 40 places")
    with pytest.warns(UserWarning, match=rf"has 106 tokens; the text tower takes {longest}; the rest is cut"):
        wrapped.embed_text(["word " * 100])


def test_wrong_files(version, state):
    options = {"prompts": PROMPTS, "tokenizer": TOKENIZERS[version]}

    def changed(**tensors):
        return {**state, **tensors}

    other = "2023" if version == "2022" else "2022"
    with pytest.raises(ConfigError, match=f"version='{other}', but the weights are those of {version}"):
        from_msclap(state, **options, version=other)
    with pytest.raises(OutputError, match="none of msclap's"):
        from_msclap({"a": torch.ones(3)}, **options)
    missing = next(k for k in state if k.endswith(("conv_block3.bn1.bias", "layers.1.blocks.0.norm1.bias")))
    with pytest.raises(OutputError, match=r"do not fit below 'audio_encoder.base.*missing"):
        from_msclap({k: v for k, v in state.items() if k != missing}, **options)
    with pytest.raises(OutputError, match=r"do not fit below 'audio_encoder.base.*\(3,\), not"):
        from_msclap(changed(**{missing: torch.ones(3)}), **options)
    narrow = {
        "audio_encoder.projection.linear1.weight": state["audio_encoder.projection.linear1.weight"][:20],
        "audio_encoder.projection.linear2.weight": torch.randn(20, 20),
        "audio_encoder.projection.layer_norm.weight": torch.randn(20),
        "audio_encoder.projection.layer_norm.bias": torch.randn(20),
    }
    with pytest.raises(ConfigError, match="the audio tower ends in 20 numbers, the text tower in 24"):
        from_msclap(changed(**narrow), **options)


def test_without_transformers_or_a_tokenizer(state, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'audioxai\[hf\]'|doctor"):
            from_msclap(state, prompts=PROMPTS)
    import transformers

    def fails(*_args, **_options):
        raise OSError("no such file")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fails)
    with pytest.raises(ConfigError, match="cannot be loaded; pass tokenizer="):
        from_msclap(state, prompts=PROMPTS)
