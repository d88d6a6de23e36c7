"""Controls: what each keeps, and that they know nothing of the classifier."""

import networks
import numpy as np
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, TargetError
from audioxai.metrics import clip_scores


@pytest.fixture(scope="module")
def classifier():
    return networks.log_mel_cnn()


def test_all_ones_keeps_everything(classifier):
    clips = networks.clips()
    result = ax.AllOnes(classifier).explain(clips)
    assert result.mask.eq(1).all()
    torch.testing.assert_close(result.waveform, clips, rtol=0, atol=1e-5)
    assert result.removed.abs().max() < 1e-5
    scores = clip_scores(result)
    assert all(scores[name].abs().max() < 0.01 for name in ("AD", "AG"))
    assert scores["Fid-In"].eq(1).all()
    assert scores["MM"].eq(1).all()
    silent = classifier.probabilities(classifier(torch.zeros(1, 6000))).expand(3, -1)
    p = result.scores.input
    expected = p.max(1).values - silent.gather(1, p.argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(scores["FF"], expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("share", [0.05, 0.16, 0.5, 1.0])
def test_random_keeps_about_its_share(classifier, share):
    mask = ax.RandomMask(classifier, share=share).explain(networks.clips()).mask
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    np.testing.assert_allclose(mask.mean((1, 2)), [share] * 3, atol=0.01)
    if share < 1:
        assert not torch.equal(mask[0], mask[1])


def test_a_random_mask_belongs_to_its_clip_and_seed(classifier):
    clips = networks.clips(3)
    first = ax.RandomMask(classifier).explain(clips).mask
    assert torch.equal(ax.RandomMask(classifier).explain(clips[2]).mask[0], first[2])
    assert not torch.equal(ax.RandomMask(classifier, seed=1).explain(clips).mask, first)
    assert torch.equal(ax.RandomMask(networks.sequential().eval()).explain(clips).mask, first)


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_energy_keeps_the_loudest_cells(classifier, space, share):
    explainer = ax.EnergyMask(classifier, space=space, share=share)
    clips = networks.clips(2)
    mask = explainer.explain(clips).mask
    values = explainer.space.analyse(clips).values.abs()
    for m, v in zip(mask, values, strict=True):
        assert int(m.sum()) == round(share * v.numel())
        if share < 1:
            assert v[m == 1].min() >= v[m == 0].max()


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
@pytest.mark.parametrize("control", [ax.RandomMask, ax.EnergyMask])
def test_shares_out_of_range(classifier, control, share):
    with pytest.raises(ConfigError, match=str(share)):
        control(classifier, share=share)


def test_the_target_does_not_change_a_control(classifier):
    for control in (ax.AllOnes, ax.RandomMask, ax.EnergyMask):
        made = control(classifier)
        assert torch.equal(made.explain(networks.clips(), 0).mask, made.explain(networks.clips(), 3).mask)
        assert made.fit() is made
        assert torch.equal(made.attribute(networks.clips()), made.explain(networks.clips()).mask)


def test_a_target_that_is_no_score_is_refused_at_once():
    for method in (ax.AllOnes, ax.RandomMask, ax.EnergyMask):
        with pytest.raises(TargetError, match=r"callable target must return \(2,\) scores"):
            method(networks.log_mel_cnn()).explain(networks.clips(2, 2000), lambda logits: logits)


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_a_seed_is_a_whole_number(classifier, seed):
    with pytest.raises(ConfigError, match="seed=.* must be a whole number"):
        ax.RandomMask(classifier, seed=seed)
    assert ax.RandomMask(classifier, seed=np.int64(-3)).seed == -3
