"""The planes of any network: each against a naive one, every kind of network and space, and what is missing."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from networks import LABELS, NETWORKS, RATE, clips, linear, log_mel_cnn, sequential, zero_shot
from torch import nn

import audioxai as ax
from audioxai.classifiers.targets import Target
from audioxai.errors import ClassifierError, TargetError
from audioxai.explainers.planes import BANDS, DEPTHS, PLANES, band_averages, band_weights, depths_of, read_planes
from audioxai.masking.spaces import make_space
from audioxai.sound.dsp import STFT

PREDICTED = Target(predicted=True)


def planes_of(classifier, space="stft", scale="magnitude", waveform=None, targets=(PREDICTED,), **options):
    place = make_space(space, classifier, scale)
    with classifier.frozen():
        analysis = place.analyse(clips() if waveform is None else waveform)
        logits, found = read_planes(classifier, place, analysis, list(targets), **options)
    return place, analysis, logits, found


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("name", NETWORKS)
def test_planes_of_every_network_and_space(name, space):
    classifier = NETWORKS[name]()
    _, analysis, logits, [read] = planes_of(classifier, space)
    frames = analysis.values.shape[-1] if space != "waveform" else round(6000 / (0.0116 * RATE))
    assert read.stack.shape == (3, PLANES, BANDS, frames)
    assert read.stack.isfinite().all()
    assert not read.stack.requires_grad
    assert read.missing == ()
    assert (read.stack[:, :2].flatten(2).amax(2) > 0).all()
    assert torch.equal(read.target.classes, logits.argmax(1))
    torch.testing.assert_close(logits, classifier(analysis.waveform), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", ["magnitude", "log1p"])
def test_evidence_at_the_values(scale):
    classifier = linear()
    target = Target(classes=torch.tensor([0, 3, 1]))
    place, analysis, _, [read] = planes_of(classifier, scale=scale, targets=[target], layers=())
    frames = analysis.values.shape[-1]
    assert read.missing == ("depths",)
    assert not read.stack[:, 2:-2].any()
    for clip, k in enumerate((0, 3, 1)):
        values = analysis.values[clip].double().numpy()
        slope = classifier.network.weight[:, k].detach().double().numpy()[:, None] / frames
        slope = slope * np.exp(values) if scale == "log1p" else slope * np.ones_like(values)
        pitch = place.pitch.tolist()
        wanted = oracles.planes_of_values(values, slope, pitch, BANDS)
        np.testing.assert_allclose(read.stack[clip, :2], wanted, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(
            read.stack[clip, -2:], oracles.planes_of_sound(values, pitch, BANDS), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("space", ["stft", "mel"])
def test_evidence_at_the_depths(space):
    classifier = sequential()
    place, analysis, _, [read] = planes_of(classifier, space, targets=[Target(classes=torch.tensor([2, 0, 1]))])
    network = classifier.network
    layers = [layer.name for layer in depths_of(classifier)]
    with torch.no_grad():
        x = place.features(analysis.values, analysis)
    grid = place.grid
    average = np.array([oracles.in_bands(list(row), place.pitch.tolist(), BANDS) for row in np.eye(place.rows)])
    to_bands = average if grid is None else grid.numpy() @ average
    for depth, name in enumerate(layers):
        end = int(name) + 1
        h = network[:end](x.clone()).detach().requires_grad_()
        rest = network[end:](h.clone())
        (slope,) = torch.autograd.grad(rest[0, 2] + rest[1, 0] + rest[2, 1], h)
        for clip in range(3):
            wanted = oracles.planes_of_depth(
                h[clip].detach().numpy(), slope[clip].numpy(), len(to_bands), to_bands, read.stack.shape[-1]
            )
            got = read.stack[clip, 2 + 3 * depth : 5 + 3 * depth]
            np.testing.assert_allclose(got, wanted, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize(
    "space",
    [
        lambda c: ax.STFTSpace(c),
        lambda c: ax.STFTSpace(c, stft=STFT(64, 64, 32)),
        lambda c: ax.MelSpace(c),
        lambda c: ax.MelSpace(c, mel=ax.LogMel(RATE, 128)),
    ],
)
def test_weights_of_bands_and_rows(space):
    place = space(log_mel_cnn())
    pitch = place.pitch.tolist()
    found = band_weights(place)
    np.testing.assert_allclose(found, oracles.band_weights(pitch, BANDS), atol=1e-4)
    torch.testing.assert_close(found.sum(0), torch.ones(place.rows))
    average = band_averages(found)
    torch.testing.assert_close(average.sum(1), torch.ones(BANDS))
    column = torch.rand(place.rows, dtype=torch.float64).tolist()
    wanted = oracles.in_bands(column, pitch, BANDS)
    np.testing.assert_allclose(average @ torch.tensor(column), wanted, atol=2e-3)


def test_one_forward_and_planes_for_each_target():
    classifier = log_mel_cnn()
    calls = []
    classifier.network.register_forward_hook(lambda *_: calls.append(1))
    depths_of(classifier)
    calls.clear()
    targets = [PREDICTED, Target(classes=torch.tensor([0, 1, 2])), Target(function=lambda logits: logits[:, 0] ** 2)]
    _, _, _, found = planes_of(classifier, targets=targets)
    assert len(calls) == 1
    assert len(found) == 3
    for target, read in zip(targets, found, strict=True):
        _, _, _, [alone] = planes_of(classifier, targets=[target])
        torch.testing.assert_close(read.stack, alone.stack, atol=1e-5, rtol=1e-4)
    assert not torch.equal(found[0].stack, found[2].stack)


def test_a_clip_does_not_depend_on_the_others():
    classifier = log_mel_cnn()
    _, _, _, [together] = planes_of(classifier)
    _, _, _, [alone] = planes_of(classifier, waveform=clips()[1:2])
    torch.testing.assert_close(together.stack[1:2], alone.stack, atol=1e-4, rtol=1e-3)


def test_level_of_the_evidence_and_loudness_of_latents_do_not_matter():
    classifier = log_mel_cnn()
    score = Target(function=lambda logits: logits[:, 1])
    louder = Target(function=lambda logits: 1000 * logits[:, 1])
    _, _, _, found = planes_of(classifier, targets=[score, louder])
    torch.testing.assert_close(found[0].stack, found[1].stack, atol=1e-5, rtol=1e-4)


def test_layers_of_the_callers_own():
    network = sequential().network
    frontend = ax.LogMel(RATE, 32, layout="B1MN")

    def classifier(layers):
        return ax.AudioClassifier(network, sample_rate=RATE, frontend=frontend, labels=LABELS, layers=layers)

    named = planes_of(classifier(["3"]))[3][0]
    own = planes_of(classifier({"3": lambda latent: latent}))[3][0]
    torch.testing.assert_close(named.stack, own.stack)
    assert [layer.name for layer in depths_of(classifier(["1", "3"]))] == ["1", "1", "3", "3"]
    with pytest.raises(ClassifierError, match="carries no map"):
        depths_of(classifier(["5"]))


def test_more_layers_than_depths_are_spread_evenly():
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(7)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    frontend = ax.LogMel(RATE, 32, layout="B1MN")
    classifier = ax.AudioClassifier(network, sample_rate=RATE, frontend=frontend, layers=[str(i) for i in range(7)])
    assert [layer.name for layer in depths_of(classifier)] == ["0", "2", "4", "6"]
    assert len(depths_of(classifier)) == DEPTHS


class NumpyFrontend(nn.Module):
    """Log magnitudes by NumPy, outside the graph."""

    def forward(self, waveform):
        return torch.from_numpy(np.log1p(np.abs(waveform.numpy().reshape(len(waveform), 1, -1, 50)))).transpose(2, 3)


@pytest.mark.parametrize("space", ["stft", "waveform"])
def test_a_front_end_outside_the_graph(space):
    network = sequential().network
    classifier = ax.AudioClassifier(network, sample_rate=RATE, frontend=NumpyFrontend(), labels=LABELS)
    _, _, _, [read] = planes_of(classifier, space)
    assert read.missing == ("values",)
    assert not read.stack[:, :2].any()
    assert (read.stack[:, 2:4].flatten(2).amax(2) > 0).any()


class NoMaps(nn.Module):
    def forward(self, log_mel):
        return log_mel.mean(1)[:, :4] * 3


def test_a_network_without_maps():
    classifier = ax.AudioClassifier(NoMaps(), sample_rate=RATE, frontend=ax.LogMel(RATE, 32))
    assert depths_of(classifier) == ()
    _, _, _, [read] = planes_of(classifier)
    assert read.missing == ("depths",)
    assert (read.stack[:, :2].flatten(2).amax(2) > 0).any()


def test_no_gradient_at_all():
    classifier = ax.from_callable(lambda clips: np.abs(clips[:, :4]), RATE)
    with pytest.raises(ClassifierError, match="Occlusion, LIME, KernelSHAP and ScoreCAM need no gradient"):
        planes_of(classifier)
    with pytest.raises(ClassifierError, match="no gradient"):
        planes_of(log_mel_cnn(), targets=[Target(function=lambda logits: torch.ones(len(logits)))])


def test_half_precision_sees_what_single_does():
    classifier = log_mel_cnn()
    _, _, _, [whole] = planes_of(classifier, "mel")
    frontend = classifier.frontend

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier.network.bfloat16()

        def forward(self, features):
            return self.inner(features.bfloat16())

    half = ax.AudioClassifier(Half(), sample_rate=RATE, frontend=frontend, labels=LABELS).eval()
    _, _, _, [read] = planes_of(half, "mel", targets=[Target(classes=whole.target.classes)])
    assert read.stack.dtype == torch.float32
    alike = torch.corrcoef(torch.stack([read.stack.flatten(), whole.stack.flatten()]))[0, 1]
    assert alike > 0.9


def test_prompts_and_bad_targets():
    classifier = zero_shot()
    _, _, _, [read] = planes_of(classifier)
    assert read.stack.isfinite().all()
    with pytest.raises(TargetError, match="out of range"):
        planes_of(log_mel_cnn(), targets=[Target(classes=torch.tensor([0, 1, 9]))])


@pytest.mark.parametrize("samples", [1, 40, 200, 1001])
def test_short_and_silent_clips(samples):
    classifier = sequential()
    for waveform in (clips(2, samples), torch.zeros(2, samples)):
        _, _, _, [read] = planes_of(classifier, waveform=waveform)
        assert read.stack.isfinite().all()
