"""L-MAC: its loss by the book, and masks where the right answer is known."""

import learned
import networks
import numpy as np
import pytest
import torch
from learned import step
from torch import nn

import audioxai as ax
from audioxai.errors import ConfigError, TargetError
from audioxai.explainers import lmac
from audioxai.explainers.evidence import mix_within_batch
from audioxai.metrics import evaluate, follow
from audioxai.nn import CompactCNN

CLIPS = networks.clips(4, 2500)
QUICK = {"epochs": 1, "progress": False}


def fresh(classifier=None, **options):
    return learned.fresh(ax.LMAC, classifier, **{"width": 8, **options})


# The loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize(
    ("network", "space"), [("log-mel CNN", "stft"), ("waveform CNN", "mel"), ("multi-label", "waveform")]
)
def test_the_loss_follows_from_the_explanations_scores(network, space, evidence, bounded):
    weights = {"lambda_in": 3.0, "lambda_out": 0.7, "lambda_s": 2.0}
    explainer = fresh(
        networks.NETWORKS[network](), space=space, evidence=evidence, bounded=bounded, mixing=0.0, **weights
    )
    losses = step(explainer, CLIPS)
    result = explainer.explain(CLIPS)
    rows = zip(result.target.tolist(), result.scores.kept.tolist(), result.scores.removed.tolist(), strict=True)
    kept, removed = zip(*((k[c], r[c]) for c, k, r in rows), strict=True)
    expected = {
        "in": np.mean([-np.log(p) for p in kept]),
        "out": np.mean([-np.log(1 - p) if bounded else np.log(p) for p in removed]),
        "mask": float(result.mask.mean()),
    }
    assert set(losses) == {"loss", "in", "out", "mask"}
    for name, value in expected.items():
        assert losses[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    total = 3.0 * expected["in"] + 0.7 * expected["out"] + 2.0 * expected["mask"]
    assert losses["loss"] == pytest.approx(total, rel=1e-3)


def test_mixtures_are_of_different_classes_and_about_equal_level():
    classifier = band_classifier()
    clips = band_clips([0, 1, 2, 3, 0, 0])
    torch.manual_seed(0)
    with classifier.frozen():
        stem, other, target = mix_within_batch(classifier, clips, 1.0)
    assert torch.equal(stem, clips)
    assert target.classes.tolist() == [0, 1, 2, 3, 0, 0]
    partner = [0, 0, 1, 2, 3, 0]  # the clip before
    for i, before in enumerate(partner):
        if before == target.classes[i]:
            assert other[i].eq(0).all()
        else:
            ratio = 20 * torch.log10(other[i].norm() / stem[i].norm())
            assert -5.01 <= ratio <= 5.01
            shape = torch.corrcoef(torch.stack([other[i], clips[i - 1]]))[0, 1]
            assert shape == pytest.approx(1, abs=1e-4)


def test_a_share_of_the_clips_is_mixed():
    classifier = band_classifier()
    clips = band_clips([0, 1, 2, 3] * 50)
    with classifier.frozen():
        torch.manual_seed(0)
        _, other, _ = mix_within_batch(classifier, clips, 0.3)
        assert 0.2 < (other.abs().amax(1) > 0).float().mean() < 0.4
        _, other, _ = mix_within_batch(classifier, torch.zeros_like(clips), 0.3)
        assert other.eq(0).all()
        assert mix_within_batch(classifier, clips[:1], 0.3)[2].predicted


@pytest.mark.parametrize("mixing", [-0.1, 1.1, float("nan")])
def test_mixing_is_a_share(mixing):
    with pytest.raises(ConfigError, match=f"mixing={mixing}"):
        ax.LMAC(networks.log_mel_cnn(), mixing=mixing)


# Targets --------------------------------------------------------------------------------------------------------------


def test_without_evidence_only_the_predicted_class_is_explained():
    explainer = fresh(evidence=False)
    result = explainer.explain(CLIPS)
    assert result.target.tolist() == result.scores.input.argmax(1).tolist()
    for target in (0, "dog", [0, 1, 2, 3], result.target, lambda logits: logits[:, 0]):
        with pytest.raises(TargetError, match=r"evidence=False.*target=None"):
            explainer.explain(CLIPS, target)
    calls = []
    explainer.classifier.network.register_full_backward_hook(lambda *_: calls.append(1))
    explainer.explain(CLIPS)
    assert not calls


def test_a_predicted_target_is_the_same_given_by_hand():
    explainer = fresh()
    result = explainer.explain(CLIPS)
    torch.testing.assert_close(explainer.explain(CLIPS, result.target).mask, result.mask, rtol=0, atol=1e-6)
    assert not torch.allclose(explainer.explain(CLIPS, (result.target + 1) % 4).mask, result.mask, atol=1e-3)


def test_the_evidence_is_the_latent_times_the_scores_gradient():
    explainer = fresh(networks.sequential().eval(), decoder_name="evidence")
    classifier = explainer.classifier
    seen = []
    explainer.decoder_.register_forward_pre_hook(lambda _m, given: seen.append(given))
    explainer.explain(CLIPS, 2)
    maps, evidence, _ = seen[0]
    features = classifier.features(CLIPS)
    names = [int(name) for name in classifier.layers]
    for name, h, e in zip(names, maps, evidence, strict=True):
        with torch.enable_grad():
            latent = classifier.network[: name + 1](features).detach().requires_grad_()
            rest = classifier.network[name + 1 :](latent.clone())
            (gradient,) = torch.autograd.grad(rest[:, 2].sum(), latent)
        assert torch.allclose(h, latent, rtol=1e-4, atol=1e-6) or torch.allclose(h, latent.clamp(min=0), atol=1e-5)
        torch.testing.assert_close(e, (latent * gradient).detach(), rtol=1e-3, atol=1e-6)


# Where the right answer is known --------------------------------------------------------------------------------------


class Bands(nn.Module):
    """Class k's logit is the mean log energy of the k-th quarter of the STFT rows: the right mask is that band."""

    def __init__(self, gain=40.0):
        super().__init__()
        self.map = nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, log_stft):
        rows = self.map(log_stft[:, None])[:, 0].mean(2)
        return self.gain * torch.stack([part.mean(1) for part in rows[:, :64].chunk(4, dim=1)], 1)


TRANSFORM = ax.dsp.STFT(128, 128, 64)


def band_classifier():
    frontend = ax.LogSTFT(networks.RATE, stft=TRANSFORM, layout="BFN")
    return ax.AudioClassifier(Bands(), sample_rate=networks.RATE, frontend=frontend, labels=networks.LABELS).eval()


def band_clips(classes, seed=0, samples=2048):
    """Noise in one quarter of the spectrum each."""
    noise = torch.randn(len(classes), samples, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(noise)
    bins = torch.arange(spectrum.shape[1]) * 4 // spectrum.shape[1]
    keep = bins[None] == torch.tensor(classes)[:, None]
    return 0.3 * torch.nn.functional.normalize(torch.fft.irfft(spectrum * keep, n=samples)) * samples**0.5


@pytest.fixture(scope="module", params=["general", "evidence", "sound"])
def band_explainer(request):
    classifier = band_classifier()
    clips = band_clips([0, 1, 2, 3] * 16)
    assert classifier(clips).argmax(1).tolist() == [0, 1, 2, 3] * 16
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    explainer = ax.LMAC(classifier, scale="magnitude", width=16, decoder_name=request.param).fit(
        list(clips[order].split(8)), epochs=20, lr=5e-3, progress=False
    )
    torch.set_num_threads(threads)
    return explainer


def in_bands(mask):
    """(B, F, N) masks to their means in the four bands, (B, 4)."""
    return torch.stack([part.mean((1, 2)) for part in mask[:, :64].chunk(4, dim=1)], 1)


def test_a_fit_lowers_its_loss(band_explainer):
    history = band_explainer.history_
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]


def test_the_mask_lies_in_the_band_of_the_predicted_class(band_explainer):
    classes = [0, 1, 2, 3] * 2
    result = band_explainer.explain(band_clips(classes, seed=5))
    assert result.target.tolist() == classes
    for means, target in zip(in_bands(result.mask), classes, strict=True):
        others = [float(m) for k, m in enumerate(means) if k != target]
        assert means[target] > max(others) + 0.3


def test_the_mask_follows_the_target(band_explainer):
    """Two bands sound at once; each is explained in turn."""
    first, second = [0, 1, 2, 3, 0, 1], [2, 3, 0, 1, 1, 2]
    stems = band_clips(first, seed=6), band_clips(second, seed=7)
    mixture = stems[0] + stems[1]
    for stem, targets, others in ((stems[0], first, second), (stems[1], second, first)):
        mask = band_explainer.explain(mixture, targets).mask
        for means, target, other in zip(in_bands(mask), targets, others, strict=True):
            assert means[target] > means[other] + 0.3
        gain, share = follow(band_explainer, mixture, stem, targets)
        assert gain.median() > 10
        assert share.median() > 0.5
    named = band_explainer.explain(mixture, [networks.LABELS[k] for k in first]).mask
    torch.testing.assert_close(named, band_explainer.explain(mixture, first).mask)


def test_it_beats_the_controls(band_explainer):
    clips = band_clips([0, 1, 2, 3], seed=8) + 0.5 * band_clips([1, 2, 3, 0], seed=9)
    results = evaluate([band_explainer, ax.RandomMask(band_explainer.classifier, scale="magnitude")], [clips])
    assert results.mean("LMAC", "AD") < results.mean("RandomMask", "AD")
    assert results.mean("LMAC", "FF") > results.mean("RandomMask", "FF")
    assert results.mean("LMAC", "Fid-In") == 1


def test_a_network_that_takes_one_length_only():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4, padding=1), nn.ReLU())
            self.head = nn.LazyLinear(4)

        def forward(self, x):
            return self.head(self.trunk(x[:, None]).flatten(1))

    torch.manual_seed(0)
    frontend = ax.LogMel(networks.RATE, 16)
    network = Fixed()
    network(frontend(torch.zeros(1, 2 * networks.RATE)))
    classifier = ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=frontend).eval()
    clips = networks.clips(2, 2 * networks.RATE)
    result = ax.LMAC(classifier, width=8).fit([clips], **QUICK).explain(clips)
    assert torch.isfinite(result.mask).all()


def test_a_score_that_asks_nothing_of_the_network_is_refused():
    with pytest.raises(ax.AudioXAIError, match="depend"):
        fresh().explain(CLIPS, lambda logits: torch.zeros(len(logits)))


def test_the_reference_networks_are_explained():
    network = CompactCNN(4, n_mels=32, widths=(8, 8))
    classifier = ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=ax.LogMel(networks.RATE, 32)).eval()
    assert fresh(classifier).explain(CLIPS).mask.shape[0] == 4


def test_guidance_is_the_same_whether_or_not_it_is_known_which_clips_are_mixed(monkeypatch):
    """A GPU is not asked; a CPU saves the transforms of clips that stayed alone."""
    explainer, stem = ax.LMAC(networks.log_mel_cnn()), networks.clips(4, 4000)
    other = stem.roll(1, 0) * torch.tensor([[1.0], [0.0], [0.5], [0.0]])
    analysis = explainer.space.analyse(stem + other)
    mask = torch.rand(analysis.values.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for rows in (lmac._rows_that_may, lambda mixed: torch.arange(len(mixed))):
        monkeypatch.setattr(lmac, "_rows_that_may", rows)
        guidance = explainer._guidance(mask, analysis, stem, other)
        found.append((guidance, *torch.autograd.grad(guidance.sum(), mask)))
    assert found[0][0].tolist() == [pytest.approx(1, abs=0.5), 0, pytest.approx(1, abs=0.5), 0]
    for few, all_of_them in zip(*found, strict=True):
        torch.testing.assert_close(few, all_of_them)
