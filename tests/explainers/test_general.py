"""L-MAC without fitting: the shipped weights, what goes on from them, and files that are not theirs."""

from __future__ import annotations

import networks
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import audioxai as ax
from audioxai.data import ESC50
from audioxai.errors import ClassifierError, ConfigError, NotFittedError, OutputError
from audioxai.explainers.general import FORMAT, load_general
from audioxai.metrics import evaluate
from audioxai.nn import GeneralDecoder

CLIPS = networks.clips(4, 2500)
QUICK = {"epochs": 1, "progress": False}


def state(explainer):
    return explainer.decoder.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_network_is_explained_at_once_and_the_result_says_how():
    explainer = ax.LMAC(networks.log_mel_cnn(), scale="magnitude")
    assert explainer.__sklearn_is_fitted__()
    result = explainer.explain(CLIPS)
    assert result.method == explainer.name == "L-MAC (general)"
    assert explainer.decoder_ is None
    assert equal(state(explainer), load_general().state_dict())
    assert explainer.fit([CLIPS], **QUICK).explain(CLIPS).method == "LMAC"


def test_a_fit_goes_on_from_the_shipped_weights_or_from_nothing():
    def change(start):
        explainer = ax.LMAC(networks.log_mel_cnn(), start=start).fit([CLIPS], lr=1e-6, **QUICK)
        shipped = load_general().state_dict()
        return max(float((state(explainer)[name] - shipped[name]).abs().max()) for name in shipped)

    assert change("general") < 1e-4
    assert change(None) > 1e-2


def test_fits_from_the_shipped_weights_are_short():
    explainer = ax.LMAC(networks.log_mel_cnn()).fit([CLIPS], progress=False)
    assert len(explainer.history_) == 4
    assert ax.LMAC(networks.log_mel_cnn(), start=None)._training_options([CLIPS]).epochs == 20


@pytest.mark.parametrize("options", [{"start": None}, {"width": 16}, {"decoder_name": "sound"}, {"evidence": False}])
def test_without_shipped_weights_a_fit_comes_first(options):
    explainer = ax.LMAC(networks.log_mel_cnn(), **options)
    assert not explainer.__sklearn_is_fitted__()
    with pytest.raises(NotFittedError, match="not fitted"):
        explainer.explain(CLIPS)


def test_options_that_contradict_each_other():
    with pytest.raises(ConfigError, match="start='esc50' is not known"):
        ax.LMAC(networks.log_mel_cnn(), start="esc50")
    with pytest.raises(ConfigError, match="the general decoder is steered by the evidence"):
        ax.LMAC(networks.log_mel_cnn(), decoder_name="general", evidence=False)
    frontend = ax.LogMel(networks.RATE, 32)
    single = ax.AudioClassifier(networks.Tokens(1), sample_rate=networks.RATE, frontend=frontend).eval()
    with pytest.raises(ConfigError, match="softmax of a single output"):
        ax.LMAC(single).fit([CLIPS], **QUICK)


@pytest.mark.parametrize("fits", [False, True])
def test_it_comes_back_from_files(tmp_path, fits):
    explainer = ax.LMAC(networks.log_mel_cnn(), scale="magnitude")
    if fits:
        explainer.fit([CLIPS], **QUICK)
    explainer.save_pretrained(tmp_path)
    loaded = ax.LMAC.from_pretrained(tmp_path, classifier=networks.log_mel_cnn())
    assert loaded.name == explainer.name
    assert loaded.identity() == explainer.identity()
    assert torch.equal(loaded.explain(CLIPS).mask, explainer.explain(CLIPS).mask)


def test_the_weights_decide_the_identity():
    shipped, other = ax.LMAC(networks.log_mel_cnn()), ax.LMAC(networks.log_mel_cnn())
    assert shipped.identity() == other.identity()
    other.fit([CLIPS], **QUICK)
    assert shipped.identity() != other.identity()


class Unlucky(Exception):
    pass


def test_an_interrupted_fit_leaves_the_explainer_as_it_was():
    explainer = ax.LMAC(networks.log_mel_cnn())
    before = explainer.explain(CLIPS).mask

    def loader():
        yield CLIPS
        raise Unlucky

    with pytest.raises(Unlucky):
        explainer.fit(loader(), **QUICK)
    assert explainer.decoder_ is None
    assert torch.equal(explainer.explain(CLIPS).mask, before)
    assert explainer.name == "L-MAC (general)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: (weights, {"format": "general decoder, planes 0"}), "format 'general decoder, planes 0'"),
        (lambda weights: (weights, None), "format None"),
        (lambda weights: ({"out.bias": weights["out.bias"]}, {"format": FORMAT}), "another decoder"),
    ],
)
def test_weights_of_another_format(tmp_path, change, message):
    weights, metadata = change(GeneralDecoder().state_dict())
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "d.safetensors", metadata)
    with pytest.raises(OutputError, match=message):
        load_general(tmp_path / "d.safetensors")


def test_no_weights(tmp_path):
    with pytest.raises(OutputError, match="no weights"):
        load_general(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("text")
    with pytest.raises(OutputError, match="no weights"):
        load_general(tmp_path / "text.safetensors")


class NoMaps(nn.Module):
    def forward(self, log_mel):
        return log_mel.mean(1)[:, :4] * 3


def test_what_a_network_lacks_is_told():
    classifier = ax.AudioClassifier(NoMaps(), sample_rate=networks.RATE, frontend=ax.LogMel(networks.RATE, 32))
    with pytest.warns(UserWarning, match="no evidence inside the network"):
        result = ax.LMAC(classifier).explain(CLIPS)
    assert result.mask.isfinite().all()
    silent = ax.from_callable(lambda clips: clips[:, :4], networks.RATE)
    with pytest.raises(ClassifierError, match="Occlusion, LIME, KernelSHAP and ScoreCAM need no gradient"):
        ax.LMAC(silent).explain(CLIPS)


def test_not_fitted_it_beats_gradcam_on_recordings(data_root):
    """The shipped network had no part in the fit of the shipped decoder, nor had these clips."""
    fold = ESC50(data_root / "esc10", folds=(5,), esc10=True)
    clips = torch.stack([fold.clip(i) for i in range(0, len(fold), 5)])
    classifier = ax.load_pretrained("esc10-compact").classifier
    methods = [kind(classifier, scale="magnitude") for kind in (ax.LMAC, ax.GradCAM)]
    results = evaluate(methods, [clips[:8], clips[8:]], metrics=["AI", "AD", "Fid-In", "MM"])
    ours, theirs = (method.name for method in methods)
    assert results.mean(ours, "AI") > results.mean(theirs, "AI") + 20
    assert results.mean(ours, "AD") < min(3, results.mean(theirs, "AD"))
    assert results.mean(ours, "Fid-In") > 0.9
    assert results.mean(ours, "MM") < 0.3
