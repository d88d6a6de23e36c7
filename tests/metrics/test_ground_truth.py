"""Following a target in mixtures whose parts are known."""

import networks
import oracles
import pytest
import torch

import audioxai as ax
from audioxai.metrics import follow


class Oracle(ax.Explainer):
    """Keeps the cells where one band of the spectrum is: rows below or above a bin."""

    def _attribute(self, values, score):
        rows = torch.arange(values.shape[1])[:, None]
        low = (rows < 128).to(values).expand_as(values)
        return torch.where(score.target.classes[:, None, None] == 0, low, 1 - low)


def tone(hertz, samples=6000):
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / networks.RATE)


@pytest.fixture(scope="module")
def parts():
    return torch.stack([tone(300), tone(500)]), torch.stack([tone(2500), tone(3000)])


def test_the_right_mask_keeps_its_part_and_drops_the_rest(parts):
    explainer = Oracle(networks.log_mel_cnn())
    low, high = parts
    for stem, target in ((low, 0), (high, 1)):
        gain, share = follow(explainer, low + high, stem, target)
        assert (gain > 20).all()
        assert (share > 0.99).all()
        gain, share = follow(explainer, low + high, stem, 1 - target)
        assert (gain < -20).all()
        assert (share < 0.01).all()


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("scale", ["log1p", "magnitude"])
def test_by_the_book(parts, space, scale):
    explainer = ax.GradCAM(networks.log_mel_cnn(), space=space, scale=scale, normalise="max")
    low, high = (part[:, :1500] for part in parts)
    gain, share = follow(explainer, low + high, low, [0, 3])
    mask = explainer.explain(low + high, [0, 3]).mask
    classifier = explainer.classifier
    spectra = [ax.dsp.stft(part, classifier.frontend.stft).abs() for part in (low, high)]
    if space == "mel":
        spectra = [torch.einsum("fm,bfn->bmn", classifier.frontend.bank, s) for s in spectra]
    if space == "waveform":
        spectra = [low, high]
    whole = low + high if space == "waveform" else ax.dsp.stft(low + high, classifier.frontend.stft).abs()
    if space == "mel":
        whole = torch.einsum("fm,bfn->bmn", classifier.frontend.bank, whole)
    if scale == "log1p" and space != "waveform":
        mask = torch.expm1(mask * torch.log1p(whole)) / whole.clamp(min=1e-7)
    for i in range(2):
        expected = oracles.interference_gain(*(x[i].flatten().tolist() for x in (mask, *spectra)))
        assert gain[i].item() == pytest.approx(expected[0], abs=2e-3)
        assert share[i].item() == pytest.approx(expected[1], rel=1e-3)


def test_everything_and_nothing(parts):
    classifier = networks.log_mel_cnn()
    low, high = parts
    gain, share = follow(ax.AllOnes(classifier), low + high, low, None)
    torch.testing.assert_close(gain, torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(share, torch.ones(2))
    gain, share = follow(ax.AllOnes(classifier), low, low, None)  # nothing else is there
    assert gain.isnan().all()
    assert share.isnan().all()
