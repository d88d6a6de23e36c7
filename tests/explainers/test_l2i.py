"""L2I: dictionary, losses, relevance and mask by the book; and components whose right choice is known."""

import copy
import math
from itertools import pairwise

import networks
import numpy as np
import oracles
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.data import ESC50
from audioxai.errors import ClassifierError, ConfigError, InputError, NotFittedError, TargetError
from audioxai.metrics import evaluate
from audioxai.nn import CNN14, CompactCNN
from audioxai.nn.interpreter import ActivationDecoder, PositionPooling, PublishedActivationDecoder
from audioxai.nn.nmf import nmf

CLIPS = networks.clips(4, 2500)
QUICK = {"epochs": 1, "progress": False}


def l2i(classifier=None, **options):
    return ax.L2I(classifier or networks.log_mel_cnn(), **{"components": 6, "width": 8, **options})


@pytest.fixture(scope="module")
def fitted():
    return l2i().fit([CLIPS], **QUICK)


# The dictionary -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["log1p", "magnitude"])
@pytest.mark.parametrize("space", ["stft", "mel"])
def test_the_dictionary_is_that_of_the_log_magnitudes(space, scale):
    explainer = l2i(space=space, scale=scale).fit([CLIPS[:3], CLIPS[3:]], **QUICK)
    values = explainer.space.analyse(CLIPS).values
    v = values if scale == "log1p" else torch.log1p(values)
    frames = v.transpose(1, 2).flatten(0, 1).T
    expected = nmf(frames, 6).losses[-1]  # from another order of the frames, so another but equally good one
    found = explainer.dictionary
    assert found.shape == (explainer.space.rows, 6)
    torch.testing.assert_close(found.norm(dim=0), torch.ones(6))
    activations = torch.linalg.lstsq(found, frames).solution
    assert (found @ activations - frames).square().mean() < 1.1 * expected


def test_neither_order_nor_batches_nor_silent_padding_change_it(fitted):
    padded = torch.cat([CLIPS, torch.zeros(4, 2500)])
    for loader in ([CLIPS[:1], CLIPS[1:]], [CLIPS.flip(0)], [padded], CLIPS):
        again = l2i().fit(loader, **QUICK)
        torch.testing.assert_close(again.dictionary, fitted.dictionary, rtol=0, atol=2e-3)
    shuffled = DataLoader(TensorDataset(CLIPS, torch.zeros(4)), 2, shuffle=True, generator=torch.Generator())
    assert torch.equal(l2i().fit(shuffled, **QUICK).dictionary, l2i().fit(shuffled, **QUICK).dictionary)
    assert not torch.allclose(l2i(seed=1).fit([CLIPS], **QUICK).dictionary, fitted.dictionary, atol=1e-2)


def test_a_share_of_many_frames_is_drawn(monkeypatch):
    monkeypatch.setattr("audioxai.explainers.l2i._FRAMES", 50)
    explainer = l2i()
    frames = explainer._frames([CLIPS[:2], CLIPS[2:]])
    everything = explainer._spectrogram(explainer.space.analyse(CLIPS)).transpose(1, 2).flatten(0, 1)
    assert frames.shape == (513, 50)
    assert len(everything) > 100
    assert all((frame == everything).all(1).any() for frame in frames.T)
    torch.testing.assert_close(explainer._frames([CLIPS[2:], CLIPS[:2]]), frames)


def test_it_is_not_trained_further_and_saved_with_the_rest(tmp_path):
    short, long = (l2i().fit([CLIPS], epochs=epochs, progress=False) for epochs in (1, 3))
    assert torch.equal(short.dictionary, long.dictionary)
    long.threshold = 0.4
    long.save_pretrained(tmp_path)
    again = ax.L2I.from_pretrained(tmp_path, classifier=networks.log_mel_cnn())
    assert again.threshold == 0.4
    assert torch.equal(again.dictionary, long.dictionary)
    assert torch.equal(again.explain(CLIPS).mask, long.explain(CLIPS).mask)
    assert ax.L2I.from_pretrained(tmp_path, classifier=networks.log_mel_cnn(), threshold=0.1).threshold == 0.1


def test_a_resumed_fit_is_the_same(tmp_path):
    whole = l2i().fit([CLIPS], epochs=3, progress=False)
    explainer, calls = l2i(), []
    honest = explainer.training_step

    def step(waveform):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(waveform)

    explainer.training_step = step
    options = {"epochs": 3, "progress": False, "checkpoint": tmp_path / "run.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        explainer.fit([CLIPS], **options)
    assert explainer.decoder_ is None
    again = l2i()
    again._frames = None  # the dictionary is in the checkpoint
    again.fit([CLIPS], **options)
    for name, value in whole.decoder.state_dict().items():
        assert torch.equal(value, again.decoder.state_dict()[name]), name


def test_the_amortised_dictionary():
    explainer = l2i(amortised_epochs=2)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    explainer.fit([CLIPS[:2], CLIPS[2:]], **QUICK)
    assert torch.equal(before, torch.get_rng_state())
    assert explainer.dictionary.shape == (513, 6)
    assert (explainer.dictionary >= 0).all()
    assert explainer.dictionary.max() > 0
    again = l2i(amortised_epochs=2).fit([CLIPS[:2], CLIPS[2:]], **QUICK)
    assert torch.equal(again.dictionary, explainer.dictionary)
    longer = l2i(amortised_epochs=4).fit([CLIPS[:2], CLIPS[2:]], **QUICK)
    assert not torch.equal(longer.dictionary, explainer.dictionary)


# The losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "space"), [("log-mel CNN", "stft"), ("tokens", "mel"), ("multi-label", "stft")])
def test_the_losses_by_hand(network, space):
    classifier = networks.NETWORKS[network]()
    weights = {"lambda_nmf": 3.0, "lambda_sparsity": 0.7, "lambda_fidelity": 2.0}
    explainer = l2i(classifier, space=space, **weights).fit([CLIPS], **QUICK)
    with explainer._untouched():
        losses = {name: float(loss) for name, loss in explainer.training_step(CLIPS).items()}
    analysis = explainer.space.analyse(CLIPS)
    v = torch.log1p(explainer.space.magnitude(analysis)).numpy()
    with torch.no_grad():
        logits, latents = classifier.classify_with_latents(classifier.features(CLIPS))
        h = explainer.decoder.psi(classifier.as_maps(latents), v.shape[2]).numpy()
        scores = explainer.decoder.pooling.score.weight[0, :, 0].numpy()
    theta, w = explainer.decoder.classes.weight.numpy(), explainer.dictionary.numpy()
    expected = {"nmf": np.mean((w @ h - v) ** 2), "sparsity": np.mean(np.abs(h)), "fidelity": 0.0}
    for row, activations in zip(logits.tolist(), h, strict=True):
        attention = np.exp(scores @ activations)
        read = theta @ (activations @ (attention / attention.sum()))
        if classifier.multilabel:
            p, q = 1 / (1 + np.exp(-np.array(row))), 1 / (1 + np.exp(-read))
            entropy = -np.mean(p * np.log(q) + (1 - p) * np.log(1 - q))
        else:
            p, q = (np.exp(x) / np.exp(x).sum() for x in (np.array(row), read))
            entropy = -np.sum(p * np.log(q))
        expected["fidelity"] += entropy / len(logits)
    for name, value in expected.items():
        assert losses[name] == pytest.approx(value, rel=1e-3), name
    total = 3.0 * expected["nmf"] + 0.7 * expected["sparsity"] + 2.0 * expected["fidelity"]
    assert losses["loss"] == pytest.approx(total, rel=1e-3)


# Relevance and mask ---------------------------------------------------------------------------------------------------


def readings(explainer, clips):
    """Logits, activations and pooled activations, clip by clip."""
    with explainer._untouched(), torch.no_grad():
        logits, reading = explainer._listen(explainer.space.analyse(clips))
    return logits, reading.activations, reading.pooled


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("target", [None, 2, "siren", [0, 1, 2, 3]])
def test_relevance_and_mask_cell_by_cell(target, threshold):
    explainer = l2i(space="mel", components=5, threshold=threshold).fit([CLIPS], **QUICK)
    logits, activations, pooled = readings(explainer, CLIPS)
    classes = logits.argmax(1).tolist() if target is None else target if isinstance(target, list) else [2] * 4
    theta = explainer.decoder.classes.weight
    theta = theta - theta.mean(0)
    relevance = explainer.relevance(CLIPS, target)
    result = explainer.explain(CLIPS, target)
    assert result.target.tolist() == classes
    for i, c in enumerate(classes):
        expected = oracles.component_relevance(theta[c].tolist(), pooled[i].tolist())
        assert relevance[i].tolist() == pytest.approx(expected, abs=1e-4)
        kept = [r > threshold for r in expected]
        mask = oracles.component_mask(explainer.dictionary.tolist(), activations[i].tolist(), kept)
        torch.testing.assert_close(result.mask[i], torch.tensor(mask), rtol=1e-3, atol=1e-5)


def test_a_stricter_threshold_keeps_less(band_explainer):
    explainer, masks = copy.copy(band_explainer), []
    clips = band_clips([0, 1, 2, 3], seed=3)
    for threshold in (0.0, 0.2, 0.4, 0.99):
        explainer.threshold = threshold
        masks.append(explainer.explain(clips).mask)
    assert all((more >= less - 1e-6).all() for more, less in pairwise(masks))
    assert masks[0].mean() > masks[3].mean()


def test_no_relevant_component_gives_an_empty_mask_and_silence(fitted):
    explainer = copy.copy(fitted)
    explainer.decoder_ = copy.deepcopy(fitted.decoder_)
    explainer.decoder_.pooling = PositionPooling(27)
    explainer.decoder_.pooling.weight.data.fill_(0.0)
    result = explainer.explain(CLIPS)
    assert result.mask.eq(0).all()
    assert result.waveform.abs().max() < 1e-5
    assert explainer.relevance(CLIPS).eq(0).all()


@pytest.mark.parametrize(("network", "shared"), [("log-mel CNN", False), ("multi-label", True)])
def test_what_all_classes_share_counts_only_where_it_can_be_told(network, shared):
    explainer = l2i(networks.NETWORKS[network]()).fit([CLIPS], **QUICK)
    before = explainer.relevance(CLIPS, 1)
    explainer.decoder_.classes.weight.data += 3 * torch.arange(6)
    assert torch.allclose(explainer.relevance(CLIPS, 1), before, atol=1e-4) != shared
    explainer.published = True  # which takes the weights as they are
    assert not torch.allclose(explainer.relevance(CLIPS, 1), before, atol=1e-2)


def test_targets_weigh_the_classes(fitted):
    _, one, _, other = fitted.decoder.classes.weight - fitted.decoder.classes.weight.mean(0)
    _, _, pooled = readings(fitted, CLIPS)

    def over_max(products):
        return products / products.abs().amax(1, keepdim=True)

    members = torch.zeros(4, 4, dtype=torch.bool)
    members[:, [1, 3]] = True
    torch.testing.assert_close(fitted.relevance(CLIPS, members), over_max((one + other) * pooled))
    margin = fitted.relevance(CLIPS, lambda logits: logits[:, 1] - 2 * logits[:, 3])
    torch.testing.assert_close(margin, over_max((one - 2 * other) * pooled))
    torch.testing.assert_close(fitted.relevance(CLIPS, lambda logits: logits[:, 1]), fitted.relevance(CLIPS, "rain"))


@pytest.mark.parametrize(
    "target",
    [lambda x: torch.ones(len(x)), lambda x: x.detach()[:, 0], lambda x: (x[:, 0] > 0) * 1.0, lambda x: x[:, 0] * 0],
)
def test_a_target_that_does_not_hang_on_the_logits_is_refused(fitted, target):
    with pytest.raises(TargetError, match="no gradient to the logits"):
        fitted.explain(CLIPS, target)


# Bad input ------------------------------------------------------------------------------------------------------------


def test_before_fit():
    for use in (
        lambda e: e.explain(CLIPS),
        lambda e: e.relevance(CLIPS),
        lambda e: e.dictionary,
        lambda e: e.training_step(CLIPS),
    ):
        with pytest.raises(NotFittedError, match=r"not fitted; call \.fit\(loader\)"):
            use(l2i())


@pytest.mark.parametrize(
    ("loader", "kind", "words"),
    [
        ([torch.zeros(2, 2500)], InputError, "no audible frame"),
        ([], InputError, "no audible frame"),
        ([networks.clips(1, 100)], ConfigError, "components=6 are more than the 2 audible frames.*fewer components"),
        (iter([CLIPS]), InputError, "reads the loader twice.*DataLoader"),
        (3, InputError, "list of batches or a DataLoader; got int"),
        ([torch.full((1, 2500), math.nan)], InputError, "NaN"),
    ],
)
@pytest.mark.parametrize("amortised_epochs", [0, 1])
def test_what_cannot_be_fitted(loader, kind, words, amortised_epochs):
    explainer = l2i(amortised_epochs=amortised_epochs)
    with pytest.raises(kind, match=words):
        explainer.fit(loader, **QUICK)
    assert explainer.decoder_ is None


def test_options_out_of_range():
    with pytest.raises(ConfigError, match="no meaning in the 'waveform' space"):
        l2i(space="waveform")
    for threshold in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match=r"threshold=.* must lie in \[0, 1\)"):
            l2i(threshold=threshold)
    with pytest.raises(ConfigError, match="threshold=2"):
        l2i().threshold = 2
    for name in ("components", "width"):
        with pytest.raises(ConfigError, match=f"{name}=0"):
            l2i(**{name: 0})
    with pytest.raises(ConfigError, match="amortised_epochs=-1"):
        l2i(amortised_epochs=-1)


# The networks inside --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [[(8, 20), (16, 10), (16, 5), (32, 5)], [(6, 9)], [(24, 1)], [(8, 1), (12, 7)]])
@pytest.mark.parametrize("frames", [1, 7, 50, 200])
def test_activations_for_maps_of_any_number_and_clips_of_any_length(shapes, frames):
    torch.manual_seed(0)
    psi = ActivationDecoder(shapes, 5, width=8)
    maps = [torch.randn(2, c, rows, 60 // (i + 1)) for i, (c, rows) in enumerate(shapes)]
    h = psi(maps, frames)
    assert h.shape == (2, 5, frames)
    assert (h >= 0).all()
    assert torch.isfinite(psi([0 * m for m in maps], frames)).all()
    assert not torch.allclose(psi([3 * m for m in maps], frames), h, rtol=1e-3)  # loudness is heard


def test_position_pooling_of_clips_of_another_length():
    torch.manual_seed(0)
    pooling = PositionPooling(40)
    h = torch.rand(2, 3, 40)
    torch.testing.assert_close(pooling(h), torch.einsum("brn,n->br", h, pooling.weight[0]))
    doubled = h.repeat_interleave(2, dim=2)
    torch.testing.assert_close(pooling(doubled), pooling(h), rtol=0, atol=0.1)
    ones = torch.ones(1, 1, 80)
    torch.testing.assert_close(pooling(ones), pooling(torch.ones(1, 1, 40)), rtol=0.05, atol=0.01)


def test_the_published_interpreter_has_the_published_sizes():
    maps = [(256, 10, 53), (512, 5, 26), (1024, 2, 13), (2048, 2, 13)]
    with torch.device("meta"):
        psi = PublishedActivationDecoder([c for c, *_ in maps], 100)
        outputs = []
        for layer in psi.layers:
            layer.register_forward_hook(lambda _m, _i, output: outputs.append(tuple(output.shape[1:])))
        assert psi([torch.zeros(1, *m) for m in maps], 431).shape == (1, 100, 431)
    assert outputs[-2:] == [(256, 425, 128), (100, 431, 513)]


def test_the_published_wiring_by_hand():
    torch.manual_seed(0)
    psi = PublishedActivationDecoder([4, 4, 4, 4], 3, width=8).double()
    maps = [torch.randn(2, 4, *size, dtype=torch.float64) for size in ((10, 53), (5, 26), (2, 13), (2, 13))]
    h3, h2, h1, h0 = (m.transpose(2, 3) for m in maps)
    t1, t2, t3, t4, t5, t6, t7, t8, t9 = psi.layers
    x = t3(t1(h0).relu() + t2(h1).relu()).relu() + t4(h2).relu()
    x = t7(t5(x).relu() + t6(h3).relu()).relu()
    torch.testing.assert_close(psi(maps, 431), t9(t8(x).relu()).relu().mean(3))


def test_the_reference():
    frontend = ax.LogMel(16000)
    layers = ["blocks.2", "blocks.3", "blocks.4", "blocks.5"]
    classifier = ax.AudioClassifier(CNN14(5, width=2), sample_rate=16000, frontend=frontend, layers=layers).eval()
    published = ax.L2I.reference(classifier)
    assert (published.components, published.width, published.amortised_epochs) == (100, 2048, 300)
    assert (published.lambda_nmf, published.lambda_sparsity, published.lambda_fidelity) == (10.0, 0.8, 1 / 5)
    assert (published.threshold, published.space.scale) == (0.2, "log1p")
    explainer = ax.L2I.reference(classifier, components=8, width=16, amortised_epochs=1)
    clips = networks.clips(2, 16000)
    explainer.fit([clips], **QUICK)
    assert explainer.decoder.pooling.weight.shape == (1, 431)
    mask = explainer.explain(clips).mask
    assert mask.shape == (2, 513, 87)
    assert torch.isfinite(mask).all()
    options = explainer._training_options([clips])
    assert (options.epochs, options.lr, options.weight_decay) == (200, 1e-4, 2e-6)
    with pytest.raises(ClassifierError, match="four maps"):
        ax.L2I.reference(networks.sequential(), components=8, width=16).fit([clips], **QUICK)


# Where the right answer is known --------------------------------------------------------------------------------------


class Bands(nn.Module):
    """Class k's logit is the mean of the k-th quarter of the STFT rows."""

    def __init__(self):
        super().__init__()
        self.map = nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(40.0))

    def forward(self, log_stft):
        rows = self.map(log_stft[:, None])[:, 0].mean(2)
        return self.gain * torch.stack([part.mean(1) for part in rows[:, :64].chunk(4, dim=1)], 1)


def band_clips(classes, seed=0, samples=2048):
    """Noise in one quarter of the spectrum each."""
    noise = torch.randn(len(classes), samples, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(noise)
    bins = torch.arange(spectrum.shape[1]) * 4 // spectrum.shape[1]
    part = torch.fft.irfft(spectrum * (bins[None] == torch.tensor(classes)[:, None]), n=samples)
    return 0.3 * nn.functional.normalize(part) * samples**0.5


@pytest.fixture(scope="module")
def band_explainer():
    frontend = ax.LogSTFT(networks.RATE, stft=ax.dsp.STFT(128, 128, 64), layout="BFN")
    classifier = ax.AudioClassifier(Bands(), sample_rate=networks.RATE, frontend=frontend, labels=networks.LABELS)
    clips = band_clips([0, 1, 2, 3] * 16) + 0.3 * band_clips([1, 2, 3, 0] * 16, seed=1)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    explainer = ax.L2I(classifier.eval(), scale="magnitude", components=8, width=16)
    return explainer.fit(list(clips[order].split(8)), epochs=20, lr=5e-3, progress=False)


def test_a_fit_lowers_each_loss(band_explainer):
    first, last = band_explainer.history_[0], band_explainer.history_[-1]
    for name in ("loss", "nmf", "fidelity"):
        assert last[name] < 0.7 * first[name], name


def test_the_mask_follows_the_target(band_explainer):
    """Two bands sound at once; each is explained in turn."""
    first, second = [0, 1, 2, 3], [1, 2, 3, 0]
    mixture = band_clips(first, seed=6) + band_clips(second, seed=7)
    for targets, others in ((first, second), (second, first)):
        mask = band_explainer.explain(mixture, targets).mask
        bands = torch.stack([part.mean((1, 2)) for part in mask[:, :64].chunk(4, dim=1)], 1)
        for means, target, other in zip(bands, targets, others, strict=True):
            assert means[target] > max(0.4, means[other] + 0.2)


def test_it_beats_a_random_mask(band_explainer):
    clips = band_clips([0, 1, 2, 3], seed=8) + 0.5 * band_clips([1, 2, 3, 0], seed=9)
    control = ax.RandomMask(band_explainer.classifier, scale="magnitude")
    results = evaluate([band_explainer, control], [clips])
    assert results.mean("L2I", "AD") < results.mean("RandomMask", "AD")
    assert results.mean("L2I", "FF") > results.mean("RandomMask", "FF")
    assert results.mean("L2I", "Fid-In") == 1


def test_on_real_clips_it_says_something_and_not_the_same_everywhere(data_root):
    classifier = ax.load_pretrained("esc10-compact").classifier
    train, test = (ESC50(data_root / "esc10", folds=[fold], seconds=2.0) for fold in (1, 5))
    clips = torch.stack([train[i][0] for i in range(0, 80, 4)])
    explainer = ax.L2I(classifier, components=20).fit(list(clips.split(5)), epochs=5, lr=5e-3, progress=False)
    assert explainer.history_[-1]["nmf"] < explainer.history_[0]["nmf"]
    heard = torch.stack([test[i][0] for i in (0, 20, 40, 60)])
    results = [explainer.explain(heard, target) for target in (None, 0)]
    for mask in results[0].mask:
        assert mask.std() > 0.01
    assert results[0].mask.amax((1, 2)).min() > 0.1
    assert results[0].waveform.abs().amax(1).min() > 1e-4
    assert not torch.allclose(results[0].mask, results[1].mask, atol=0.05)


def test_a_classifier_of_another_shape():
    network = CompactCNN(4, n_mels=32, widths=(8, 8))
    classifier = ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=ax.LogMel(networks.RATE, 32)).eval()
    result = l2i(classifier).fit([CLIPS], **QUICK).explain(CLIPS)
    assert result.mask.shape == result.mask.clamp(0, 1).shape == (4, 513, 27)
