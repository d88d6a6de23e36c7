"""LMAC-TD: sounds that add up, a picture that describes them, and its loss by the book."""

import learned
import networks
import numpy as np
import pytest
import torch
from learned import step

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError, NotFittedError, TargetError
from audioxai.metrics import METRICS, clip_scores, evaluate
from audioxai.nn import FourierFilterbank, LearnedFilterbank

CLIPS = networks.clips(4, 2501)
QUICK = {"epochs": 1, "progress": False}
KINDS = {
    "fourier": {},
    "learned": {"filterbank": LearnedFilterbank(networks.RATE, 16, 32)},
    "dual path": {"masker": "dual_path", "masker_options": {"blocks": 1, "heads": 2, "hidden": 16}},
    "alpha 0": {"alpha": 0.0, "mixing": 0.0},
    "alpha 1": {"alpha": 1.0},
    "latents": {"evidence": False, "mixing": 0.0},
}


def fresh(classifier=None, **options):
    explainer = learned.fresh(ax.LMACTD, classifier, **{"channels": 8, **options})
    if explainer._given is not None:
        explainer.separator.bank.load_state_dict(explainer._given.state_dict())
    return explainer


# The sounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_and_removed_adds_up_to_the_decoded_clip(kind):
    explainer = fresh(**KINDS[kind])
    bank = explainer.separator.bank
    for samples in (2501, 3000, 800):
        result = explainer.explain(CLIPS[:, :samples])
        with torch.no_grad():
            decoded = bank.decode(bank.encode(CLIPS[:, :samples]), min(samples, 2501))
        torch.testing.assert_close(result.waveform + result.removed, decoded, rtol=0, atol=1e-5)
        if bank.exact:
            torch.testing.assert_close(result.waveform + result.removed, result.input, rtol=0, atol=1e-5)
        assert result.synthesised
        alone = explainer.explain(CLIPS[1, :samples])
        torch.testing.assert_close(alone.waveform, result.waveform[1:2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", networks.NETWORKS)
def test_the_scores_are_those_of_the_sounds(network):
    explainer = fresh(networks.NETWORKS[network]().eval())
    result = explainer.explain(CLIPS)
    with torch.no_grad():
        for sound, probs in zip((result.input, result.waveform, result.removed), result.scores, strict=True):
            expected = explainer.classifier.probabilities(explainer.classifier(sound))
            torch.testing.assert_close(probs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["magnitude", "log1p"])
@pytest.mark.parametrize("space", ["stft", "mel"])
def test_the_mask_is_the_ratio_of_what_is_kept_to_the_clip(space, scale):
    explainer = fresh(space=space, scale=scale)
    clips = CLIPS.clone()
    clips[0, 1200:] = 0
    result = explainer.explain(clips)
    kept, whole = (explainer.space.analyse(sound).values for sound in (result.waveform, clips))
    for mask, k, w in zip(
        result.mask.flatten().tolist(), kept.flatten().tolist(), whole.flatten().tolist(), strict=True
    ):
        if w > 1e-3:
            assert mask == pytest.approx(min(1.0, k / w), abs=1e-4)
    frame = 1200 // explainer.space.stft.hop + 6
    assert result.mask[0, :, frame:].eq(0).all()  # where nothing sounds nothing is kept
    assert 0.2 < result.mask[1].mean() < 0.9
    with pytest.raises(ConfigError, match="no meaning in the 'waveform' space"):
        fresh(space="waveform")


def test_a_mask_of_ones_keeps_everything_and_one_of_zeros_nothing():
    explainer = fresh()
    for bias, level in ((30.0, 1.0), (-30.0, 0.0)):
        with torch.no_grad():
            explainer.decoder_.out[1].weight.zero_()
            rows = explainer.separator.bank.rows
            explainer.decoder_.out[1].bias.copy_(torch.tensor([bias, 0.0, 0.0]).repeat_interleave(rows))
        result = explainer.explain(CLIPS)
        torch.testing.assert_close(result.waveform, level * CLIPS, rtol=0, atol=1e-5)
        torch.testing.assert_close(result.mask, torch.full_like(result.mask, level), rtol=0, atol=1e-3)


def test_explanations_are_saved_and_loaded_with_their_sounds(tmp_path):
    result = fresh().explain(CLIPS[:2])
    result.save(tmp_path)
    loaded = ax.Explanation.load(tmp_path)
    assert loaded.synthesised
    assert loaded[0].synthesised
    torch.testing.assert_close(loaded.removed, result.removed)
    for name, probs in result.scores._asdict().items():
        torch.testing.assert_close(getattr(loaded.scores, name), probs)


# Metrics --------------------------------------------------------------------------------------------------------------


def test_every_metric_goes_through_the_sounds():
    explainer = fresh()
    stems = CLIPS[:2] * 0.7
    batch = {"waveform": stems + 0.5 * CLIPS[2:], "stem": stems, "target": torch.tensor([0, 1])}
    results = evaluate([explainer], [batch], metrics=METRICS, judges=[explainer.classifier])
    scores = results.scores["LMACTD"]
    for name, values in scores.items():
        undefined = name == "infidelity" or name.startswith("judge")
        assert undefined or torch.isfinite(values).all(), name
    result = explainer.explain(batch["waveform"], batch["target"])
    p, kept, removed = (probs[[0, 1], [0, 1]] for probs in result.scores)
    torch.testing.assert_close(scores["FF"], p - removed)
    torch.testing.assert_close(scores["AI"], 100.0 * (kept > p))
    assert (scores["sum SI-SNR"] > 60).all()
    torch.testing.assert_close(scores["energy"], result.waveform.square().sum(1) / batch["waveform"].square().sum(1))


# The loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("size", ["mask", "energy", "log"])
@pytest.mark.parametrize("network", ["log-mel CNN", "multi-label"])
def test_the_loss_follows_from_the_explanation(network, size, bounded):
    weights = {"lambda_in": 3.0, "lambda_out": 0.7, "lambda_s": 2.0}
    explainer = fresh(networks.NETWORKS[network](), size=size, bounded=bounded, mixing=0.0, **weights)
    seen = []
    explainer.decoder_.register_forward_hook(lambda _m, _i, mask: seen.append(mask))
    losses = step(explainer, CLIPS)
    result = explainer.explain(CLIPS)
    rows = zip(result.target.tolist(), result.scores.kept.tolist(), result.scores.removed.tolist(), strict=True)
    kept, removed = zip(*((k[c], r[c]) for c, k, r in rows), strict=True)
    sizes = {
        "mask": seen[0].mean(),
        "energy": (result.waveform.square().sum(1) / CLIPS.square().sum(1)).mean(),
        "log": torch.log1p(ax.dsp.stft(result.waveform, result.stft).abs()).mean(),
    }
    expected = {
        "in": np.mean([-np.log(p) for p in kept]),
        "out": np.mean([-np.log(1 - p) if bounded else np.log(p) for p in removed]),
        "size": float(sizes[size].detach()),
    }
    assert set(losses) == {"loss", *expected}
    for name, value in expected.items():
        assert losses[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    total = 3.0 * expected["in"] + 0.7 * expected["out"] + 2.0 * expected["size"]
    assert losses["loss"] == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("size", ["mask", "energy"])
def test_a_quieter_clip_has_the_same_size(size):
    """Unlike the published regulariser, which a lower level lowers too."""
    explainer = fresh(size=size, mixing=0.0)
    loud, quiet = (step(explainer, gain * CLIPS)["size"] for gain in (1.0, 0.5))
    assert quiet == pytest.approx(loud, rel=0.05)
    published = fresh(size="log", mixing=0.0)
    assert step(published, 0.5 * CLIPS)["size"] < 0.8 * step(published, CLIPS)["size"]


def test_a_trained_filter_bank_is_held_to_the_clip():
    bank = LearnedFilterbank(networks.RATE, 16, 32)
    explainer = fresh(filterbank=bank, train_filterbank=True, lambda_rec=0.5, mixing=0.0)
    losses = step(explainer, CLIPS)
    others = sum(w * losses[n] for n, w in (("in", 4.0), ("out", 2.0), ("size", 2.0)))
    assert losses["loss"] - others == pytest.approx(0.5 * losses["reconstruction"], rel=1e-3)
    assert losses["reconstruction"] < -40
    fitted = ax.LMACTD(networks.log_mel_cnn(), channels=8, filterbank=bank, train_filterbank=True).fit([CLIPS], **QUICK)
    assert not torch.equal(fitted.separator.bank.encoder.weight, bank.encoder.weight)
    assert "reconstruction" in fitted.history_[0]


def test_the_classifier_and_a_frozen_bank_are_not_trained():
    classifier = networks.log_mel_cnn()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    bank = LearnedFilterbank(networks.RATE, 16, 32)
    explainer = ax.LMACTD(classifier, channels=8, filterbank=bank).fit([CLIPS], epochs=2, progress=False)
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in classifier.parameters())
    assert all(p.requires_grad for p in classifier.parameters())
    assert torch.equal(explainer.separator.bank.encoder.weight, bank.encoder.weight)
    assert explainer.separator.bank is not bank


def test_a_learned_bank_is_pretrained_and_a_poor_one_warned_of():
    explainer = ax.LMACTD(networks.log_mel_cnn(), channels=8, filterbank="learned", pretrain_epochs=1)
    explainer.fit([CLIPS], **QUICK)
    result = explainer.explain(CLIPS)
    assert clip_scores(result, ["sum SI-SNR"])["sum SI-SNR"].min() > 20
    poor = LearnedFilterbank(networks.RATE, 16, 4)
    with pytest.warns(UserWarning, match=r"SI-SNR of .* dB only, so kept \+ removed is not"):
        ax.LMACTD(networks.log_mel_cnn(), channels=8, filterbank=poor).fit([CLIPS], **QUICK)


# Targets and bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "why"), [({"alpha": 0.0}, "alpha=0"), ({"evidence": False}, "evidence=False")])
def test_without_the_classifiers_evidence_only_the_predicted_class_is_explained(options, why):
    explainer = fresh(**options)
    result = explainer.explain(CLIPS)
    assert result.target.tolist() == result.scores.input.argmax(1).tolist()
    for target in (0, "dog", result.target, lambda logits: logits[:, 0]):
        with pytest.raises(TargetError, match=rf"{why}.*target=None"):
            explainer.explain(CLIPS, target)


@pytest.mark.parametrize("alpha", [-0.1, 1.01, float("nan")])
def test_alpha_is_a_share(alpha):
    with pytest.raises(ConfigError, match=rf"alpha={alpha} must lie in \[0, 1\]"):
        ax.LMACTD(networks.log_mel_cnn(), alpha=alpha)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mixing": 2}, "mixing=2"),
        ({"masker": "tcm"}, "masker='tcm' is not known; choose one of 'tcn', 'dual_path'"),
        ({"size": "mean"}, "size='mean' is not known"),
        ({"channels": 0}, "channels=0"),
        ({"filterbank": "stft"}, "'stft' is not known; nearest"),
        ({"filterbank": FourierFilterbank(16000, 512)}, "made for 16000 Hz, the classifier takes 8000 Hz"),
    ],
)
def test_options_out_of_range(options, problem):
    with pytest.raises(ConfigError, match=problem):
        ax.LMACTD(networks.log_mel_cnn(), **options)


def test_options_that_the_mask_network_lacks():
    with pytest.raises(ConfigError, match="'tcn' does not take"):
        ax.LMACTD(networks.log_mel_cnn(), masker_options={"heads": 2}).fit([CLIPS], **QUICK)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_and_clipping(kind):
    explainer = fresh(**KINDS[kind])
    silent = explainer.explain(torch.zeros(2, 2500))
    assert silent.waveform.abs().max() < 1e-6
    assert silent.mask.eq(0).all()
    assert all(torch.isfinite(probs).all() for probs in silent.scores)
    square = torch.sign(torch.sin(torch.arange(2500) * 0.3))
    for peak in (1.0, 3.0):
        result = explainer.explain(peak * square)
        assert torch.isfinite(result.waveform).all()
        torch.testing.assert_close(result.waveform + result.removed, peak * square[None], rtol=0, atol=1e-4)


def test_half_silence_is_half_silent():
    explainer = fresh()
    clip = CLIPS[:1].clone()
    clip[:, 1250:] = 0
    result = explainer.explain(clip)
    assert result.waveform[:, 1250 + explainer.separator.bank.kernel :].abs().max() < 1e-6


def test_a_classifier_without_usable_latents_says_how_to_name_some():
    classifier = networks.linear()
    with pytest.raises(ClassifierError, match=r"no layer .* name some with layers="):
        ax.LMACTD(classifier, channels=8).fit([CLIPS], **QUICK)
    control = ax.LMACTD(classifier, channels=8, alpha=0.0).fit([CLIPS], **QUICK)  # asks for no latents
    assert torch.isfinite(control.explain(CLIPS).waveform).all()


def test_before_fit():
    explainer = ax.LMACTD(networks.log_mel_cnn())
    for use in (lambda: explainer.explain(CLIPS), lambda: explainer.separator):
        with pytest.raises(NotFittedError, match=r"call \.fit"):
            use()


# Saving, resuming, reference ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_and_loaded(kind, tmp_path):
    classifier = networks.log_mel_cnn()
    explainer = ax.LMACTD(classifier, channels=8, **KINDS[kind]).fit([CLIPS], **QUICK)
    explainer.save_pretrained(tmp_path)
    loaded = ax.LMACTD.from_pretrained(tmp_path, classifier=classifier)
    assert loaded.identity() == explainer.identity()
    for a, b in zip(loaded.explain(CLIPS), explainer.explain(CLIPS), strict=True):
        assert torch.equal(a, b)


def test_a_killed_fit_resumes_to_the_bit(tmp_path):
    def fit(loader, place, epochs=2):
        explainer = ax.LMACTD(networks.log_mel_cnn(), channels=8, filterbank="learned", pretrain_epochs=2)
        return explainer.fit(loader, epochs=epochs, progress=False, checkpoint=place)

    class Killed(Exception):
        pass

    class Loader(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            if self.passes == self.last:
                raise Killed
            return super().__iter__()

    whole = fit([CLIPS], tmp_path / "whole")
    for last in (2, 4, 5):  # in the filter bank's fit, and in the mask network's
        loader = Loader([CLIPS])
        loader.last = last
        place = tmp_path / f"killed-{last}"
        with pytest.raises(Killed):
            fit(loader, place)
        again = fit([CLIPS], place)
        for name, value in whole.decoder.state_dict().items():
            assert torch.equal(value, again.decoder.state_dict()[name]), (last, name)


def test_the_reference_is_close_to_the_published_configuration():
    explainer = ax.LMACTD.reference(networks.log_mel_cnn())
    assert (explainer.alpha, explainer.masker, explainer.size) == (0.75, "dual_path", "log")
    assert (explainer.lambda_in, explainer.lambda_out, explainer.lambda_s) == (4.0, 0.2, 0.4)
    assert not explainer.evidence
    assert not explainer.bounded
    assert explainer.filterbank == {"kind": "learned", "sample_rate": 8000, "kernel": 8, "filters": 256}
    with explainer._untouched():
        network = explainer._build()
    assert 7.5e6 < sum(p.numel() for p in network.masker.parameters()) < 8.7e6  # "about 8 M"
    small = ax.LMACTD.reference(
        networks.log_mel_cnn(), channels=8, pretrain_epochs=1,
        masker_options={"blocks": 1, "intra_layers": 1, "inter_layers": 1, "heads": 2, "hidden": 8, "chunk": 50},
    )  # fmt: skip
    result = small.fit([CLIPS[:2]], **QUICK).explain(CLIPS[:1])  # a batch of one, of an odd length
    assert result.waveform.shape == (1, 2501)


def test_a_real_clip(data_root):
    explainer = fresh(ax.load_pretrained("esc10-compact").classifier)
    file = sorted((data_root / "esc10" / "audio").iterdir())[0]
    result = explainer.explain(file)
    assert result.mask.shape == (1, 513, 431)
    torch.testing.assert_close(result.waveform + result.removed, result.input, rtol=0, atol=1e-5)
