"""Sanity checks: similarity by the book, networks restored, and methods that do or do not look at the network."""

import networks
import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError, InputError, TargetError
from audioxai.metrics import cascading_randomisation, mask_similarity, random_labels
from audioxai.metrics.randomisation import _shuffle_labels
from audioxai.nn.fresh_weights import randomise


def naive_ssim(a, b):
    """Mean of local SSIM under an 11 x 11 Gaussian window of 1.5 cells, borders reflected, data range 1."""
    a, b = (np.pad(x, 5, mode="reflect") for x in (a, b))
    x = np.arange(11) - 5
    g = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    return float(np.mean(values))


def test_similarity_by_the_book():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 2, 14, 17, generator=generator, dtype=torch.float64)
    second[1] = (0.7 * first[1] + 0.3 * second[1]).round(decimals=1)  # alike, with ties
    found = mask_similarity(first, second)
    for i in range(2):
        expected = scipy.stats.spearmanr(first[i].flatten(), second[i].flatten()).statistic
        assert found["Spearman"][i].item() == pytest.approx(expected, abs=1e-6)
        assert found["SSIM"][i].item() == pytest.approx(naive_ssim(first[i].numpy(), second[i].numpy()), abs=1e-4)
    assert found["SSIM"][1] > found["SSIM"][0] + 0.3


def test_masks_without_a_similarity_are_nan():
    masks = torch.rand(3, 12, 12)
    masks[1] = 0.5
    found = mask_similarity(masks, masks)
    assert found["SSIM"].isnan().tolist() == found["Spearman"].isnan().tolist() == [False, True, False]
    over_time = mask_similarity(masks.flatten(1), masks.flatten(1))
    assert over_time["SSIM"].isnan().all()
    assert over_time["Spearman"][0] == pytest.approx(1)


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
def test_a_method_that_looks_at_the_network_changes_and_loudness_does_not(order):
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 6000)
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    saliency = cascading_randomisation(ax.Saliency(classifier), clips, order=order)
    energy = cascading_randomisation(ax.EnergyMask(classifier), clips, order=order)
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]), name
    expected = ["blocks.0.0", "blocks.1.0", "blocks.2.0", "blocks.3.0", "head"]
    assert list(saliency.layers) == (expected if order == "bottom_up" else expected[::-1])
    for measure in ("SSIM", "Spearman"):
        assert saliency.similarity[measure].shape == (6, 2)
        assert saliency.curve(measure)[0][0] == pytest.approx(1)
        assert saliency.curve(measure)[-1][0] < 0.6
        assert all(mean == pytest.approx(1) for mean, _, _ in energy.curve(measure))


def test_each_step_randomises_one_layer_more():
    classifier, clips = networks.log_mel_cnn(), networks.clips(1, 6000)
    before = {k: v.clone() for k, v in classifier.network.state_dict().items()}
    seen = []

    class Watch(ax.EnergyMask):
        def _solve(self, analysis, target):
            state = classifier.network.state_dict()
            seen.append({k.rsplit(".", 1)[0] for k, v in state.items() if not torch.equal(v, before[k])})
            return super()._solve(analysis, target)

    cascading_randomisation(Watch(classifier), clips)
    assert seen == [set(), {"head"}, *({"head", *(f"blocks.{k}.0" for k in range(i, 4))} for i in (3, 2, 1, 0))]


def test_the_network_comes_back_after_an_error():
    classifier, clips = networks.log_mel_cnn(), networks.clips(1, 6000)
    before = {k: v.clone() for k, v in classifier.state_dict().items()}

    class Fails(ax.EnergyMask):
        calls = 0

        def _solve(self, analysis, target):
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("the third time")
            return super()._solve(analysis, target)

    with pytest.raises(RuntimeError, match="third"):
        cascading_randomisation(Fails(classifier), clips)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_attention_is_randomised_as_a_whole():
    attention, norm = nn.MultiheadAttention(8, 2), nn.RMSNorm(8)
    before = {name: value.clone() for name, value in attention.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    randomise(attention, generator)
    randomise(norm, generator)
    assert all(not torch.equal(value, before[name]) for name, value in attention.named_parameters())
    assert norm.weight.eq(1).all()


def test_normalisation_keeps_its_weights():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    kept = network[1].weight.clone()
    generator = torch.Generator().manual_seed(0)
    for part in network:
        randomise(part, generator)
    assert torch.equal(network[1].weight, kept)
    assert network[0].bias.tolist() == pytest.approx([0.01] * 4)
    assert network[0].weight.abs().max() <= (6 / (9 + 36)) ** 0.5  # Xavier's bound


def test_what_cannot_be_randomised():
    classifier, clips = networks.log_mel_cnn(), networks.clips(1, 6000)
    with pytest.raises(ConfigError, match="order='sideways'"):
        cascading_randomisation(ax.EnergyMask(classifier), clips, order="sideways")
    with pytest.raises(ConfigError, match="no layer 'tail'"):
        cascading_randomisation(ax.EnergyMask(classifier), clips, layers=["tail"])
    found = cascading_randomisation(ax.EnergyMask(classifier), clips, layers=["head"])
    with pytest.raises(ConfigError, match="'SSIM', 'Spearman'"):
        found.curve("cosine")

    class Bare(nn.Module):
        def forward(self, waveform):
            return waveform[:, :2]

    with pytest.raises(ClassifierError, match="no layer with weights"):
        cascading_randomisation(ax.EnergyMask(ax.AudioClassifier(Bare(), sample_rate=8000)), clips)


def test_random_labels():
    classifier, clips = networks.log_mel_cnn(), networks.clips(8, 4000)
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    batches = [(clips, torch.arange(8) % 4)]
    similarity, learnt = random_labels(ax.Saliency, classifier, batches, clips[:3], epochs=60, lr=3e-3, progress=False)
    assert learnt > 0.8
    assert (similarity["Spearman"] < 0.9).all()
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    same, _ = random_labels(ax.EnergyMask, classifier, batches, clips[:3], epochs=1, progress=False)
    torch.testing.assert_close(same["Spearman"], torch.ones(3), check_dtype=False)


def test_random_labels_take_one_class_a_clip():
    with pytest.raises(InputError, match="one class per clip"):
        _shuffle_labels([(torch.zeros(2, 5), torch.ones(2, 3))], seed=0)


def test_labels_are_dealt_out_anew():
    batches = [(torch.zeros(3, 5), torch.tensor([0, 1, 2])), (torch.zeros(2, 5), torch.tensor([3, 4]))]
    found = _shuffle_labels(batches, seed=0)
    labels = torch.cat([part for _, part in found])
    assert sorted(labels.tolist()) == [0, 1, 2, 3, 4]
    assert labels.tolist() != [0, 1, 2, 3, 4]
    assert [len(part) for _, part in found] == [3, 2]


def test_a_block_is_randomised_with_all_inside_it():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()))
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    classifier = ax.AudioClassifier(network, sample_rate=8000, frontend=ax.LogMel(8000, 20, layout="B1MN"))
    clips = networks.clips(2, 4000)
    explainer = ax.Saliency(classifier)
    blocks = cascading_randomisation(explainer, clips, 0, layers=["0", "3"])
    each = cascading_randomisation(explainer, clips, 0)
    assert each.layers == ("3", "0.3.0", "0.0")
    torch.testing.assert_close(blocks.similarity["Spearman"][1], each.similarity["Spearman"][1])
    assert (blocks.similarity["Spearman"][2] < 0.9).all()
    for idle in ("0.2", "0.1", "1"):
        with pytest.raises(ConfigError, match=f"layer '{idle}' has no weights"):
            cascading_randomisation(explainer, clips, 0, layers=[idle])


def test_explainers_of_the_predicted_class_alone():
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    explainer = ax.LMAC(classifier, evidence=False, width=8).fit([clips], epochs=1, progress=False)
    assert not explainer.any_target and ax.LMAC(classifier).any_target
    found = cascading_randomisation(explainer, clips)
    assert found.similarity["Spearman"][0].tolist() == pytest.approx([1.0, 1.0])
    results = ax.evaluate([explainer], [clips], metrics=["AI", "max-sensitivity"])
    assert results.scores["LMAC"]["max-sensitivity"].isfinite().all()
    with pytest.raises(TargetError, match="predicted class only"):
        cascading_randomisation(explainer, clips, 1)
