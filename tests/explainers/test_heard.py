"""Scores of the sounds in place of the masked spectrogram."""

import networks
import pytest
import torch

import audioxai as ax
from audioxai.metrics import clip_scores, judge_scores

CLIPS = networks.clips(3, 2501)


@pytest.mark.parametrize("scale", ["magnitude", "log1p"])
@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
def test_the_mask_and_the_sounds_are_the_same_and_the_scores_those_of_the_sounds(space, scale):
    classifier = networks.log_mel_cnn()
    plain = ax.EnergyMask(classifier, space=space, scale=scale).explain(CLIPS)
    heard = ax.EnergyMask(classifier, space=space, scale=scale, heard=True).explain(CLIPS)
    assert heard.synthesised
    assert not plain.synthesised
    for name in ("mask", "waveform", "removed", "target"):
        assert torch.equal(getattr(heard, name), getattr(plain, name)), name
    with torch.no_grad():
        for sound, probs in zip((CLIPS, heard.waveform, heard.removed), heard.scores, strict=True):
            torch.testing.assert_close(probs, classifier.probabilities(classifier(sound)), rtol=1e-4, atol=1e-5)
    assert torch.allclose(heard.scores.kept, plain.scores.kept, atol=1e-4) == (space == "waveform")


def test_judges_hear_the_sounds_too():
    classifier, other = networks.log_mel_cnn(), networks.waveform_cnn()  # another front end is no obstacle
    explainer = ax.EnergyMask(classifier, heard=True)
    result = explainer.explain(CLIPS)
    own, plain = judge_scores(result, classifier), clip_scores(result)
    for name in ("Fid-In", "AD"):
        torch.testing.assert_close(own[f"judge {name}"], plain[name], rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        classes = other(CLIPS).argmax(1)
        result = explainer.explain(CLIPS, classes)
        kept = other(result.waveform).argmax(1) == classes
    assert judge_scores(result, other)["judge Fid-In"].tolist() == kept.float().tolist()


def test_a_fitted_explainer_is_read_out_either_way(tmp_path):
    classifier = networks.log_mel_cnn()
    explainer = ax.LMAC(classifier, scale="magnitude").fit([CLIPS], epochs=1, progress=False)
    explainer.save_pretrained(tmp_path / "plain")
    heard = ax.LMAC.from_pretrained(tmp_path / "plain", classifier=classifier, heard=True)
    assert torch.equal(heard.explain(CLIPS).mask, explainer.explain(CLIPS).mask)
    heard.save_pretrained(tmp_path / "heard")
    again = ax.LMAC.from_pretrained(tmp_path / "heard", classifier=classifier)
    assert again.heard
    assert again.explain(CLIPS).synthesised
    assert not ax.LMAC.from_pretrained(tmp_path / "plain", classifier=classifier).heard
