"""Spaces: identity masks, exact sums, differentiability, and the oracle of the mel way back."""

import networks
import oracles
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.masking.spaces import band_to_bin, make_space
from audioxai.sound.dsp import STFT

SPACES = ["stft", "mel", "waveform"]
SCALES = ["log1p", "magnitude"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("network", networks.NETWORKS)
def test_a_mask_of_ones_changes_nothing(network, name, scale):
    classifier = networks.NETWORKS[network]().eval()
    space = make_space(name, classifier, scale)
    clips = networks.clips(2, 5003)
    analysis = space.analyse(clips)
    with torch.no_grad():
        torch.testing.assert_close(space.predict(analysis.values, analysis), classifier(clips), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(space.resynthesise(analysis.values, analysis), clips, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_on_magnitudes_kept_and_removed_add_up(name):
    classifier = networks.log_mel_cnn()
    space = make_space(name, classifier, "magnitude")
    analysis = space.analyse(networks.clips())
    mask = torch.rand(analysis.values.shape)
    parts = [space.resynthesise(m * analysis.values, analysis) for m in (mask, 1 - mask)]
    torch.testing.assert_close(parts[0] + parts[1], analysis.waveform, rtol=0, atol=1e-5)


def test_log1p_masks_follow_the_published_formula():
    space = make_space("stft", networks.log_mel_cnn(), "log1p")
    analysis = space.analyse(networks.clips())
    mask = torch.rand(analysis.values.shape)
    magnitude = analysis.spectrum.abs()
    expected = (1 + magnitude) ** mask - 1
    spectrum = torch.polar(expected, analysis.spectrum.angle())
    waveform = ax.dsp.istft(spectrum, space.stft, analysis.waveform.shape[1])
    torch.testing.assert_close(space.resynthesise(mask * analysis.values, analysis), waveform, rtol=0, atol=1e-5)


def test_a_log_mel_network_is_reached_without_resynthesis():
    classifier = networks.log_mel_cnn()
    space = make_space("stft", classifier, "magnitude")
    analysis = space.analyse(networks.clips())
    mask = torch.rand(analysis.values.shape)
    masked = mask * analysis.spectrum.abs()
    bank = classifier.frontend.bank
    expected = torch.log1p(torch.einsum("fm,bfn->bnm", bank, masked))
    torch.testing.assert_close(space.features(mask * analysis.values, analysis), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_a_waveform_network_hears_the_resynthesis(name):
    classifier = networks.waveform_cnn()
    space = make_space(name, classifier, "magnitude")
    analysis = space.analyse(networks.clips())
    mask = torch.rand(analysis.values.shape).requires_grad_()
    logits = space.predict(mask * analysis.values, analysis)
    heard = classifier(space.resynthesise(mask * analysis.values, analysis))
    torch.testing.assert_close(logits, heard)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), mask)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN"])
def test_silence_has_finite_gradients(network, name, scale):
    classifier = networks.NETWORKS[network]()
    space = make_space(name, classifier, scale)
    analysis = space.analyse(torch.zeros(1, 4000))
    values = analysis.values.requires_grad_()
    (gradient,) = torch.autograd.grad(space.predict(values, analysis)[:, 1].sum(), values)
    assert torch.isfinite(gradient).all()
    assert space.resynthesise(values, analysis).abs().max() < 1e-5


def test_mel_gains_reach_bins_as_weighted_averages():
    classifier = networks.log_mel_cnn()
    bank = classifier.frontend.bank
    gains = torch.rand(2, 32, 7)
    spread = torch.einsum("mf,bmn->bfn", band_to_bin(bank), gains)
    torch.testing.assert_close(spread, torch.as_tensor(oracles.bin_gains(bank.numpy(), gains.numpy())).float())
    torch.testing.assert_close(band_to_bin(bank).sum(0), torch.ones(513), rtol=0, atol=1e-5)
    assert make_space("mel", classifier).approximate
    assert not make_space("stft", classifier).approximate


def test_a_mask_moves_sound_where_it_says():
    """Two tones, the mask keeps one half of the axis: only that tone is heard, in both spectral spaces."""
    time = torch.arange(8000) / networks.RATE
    low, high = torch.sin(2 * torch.pi * 300 * time), torch.sin(2 * torch.pi * 3000 * time)
    for name in ("stft", "mel"):
        space = make_space(name, networks.log_mel_cnn(), "magnitude")
        analysis = space.analyse((low + high)[None])
        mask = torch.zeros_like(analysis.values)
        rows = torch.linspace(0, 4000, 513) < 1000 if name == "stft" else torch.arange(32) < 15
        mask[:, rows] = 1
        kept = space.resynthesise(mask * analysis.values, analysis)[0, 1000:-1000]
        assert (kept - low[1000:-1000]).norm() / low[1000:-1000].norm() < 0.15


def test_own_settings_and_refusals():
    classifier = networks.log_mel_cnn()
    space = ax.STFTSpace(classifier, "magnitude", stft=STFT(512, 256, 64))
    analysis = space.analyse(networks.clips())
    assert analysis.values.shape[1] == 257
    torch.testing.assert_close(
        space.predict(analysis.values, analysis), classifier(networks.clips()), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ConfigError, match="another classifier"):
        ax.AllOnes(networks.log_mel_cnn(), space=space)
    with pytest.raises(ConfigError, match="'stft'"):
        make_space("sftf", classifier)
    with pytest.raises(ConfigError, match="scale='db'"):
        make_space("stft", classifier, "db")
