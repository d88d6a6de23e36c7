"""Prompt sensitivity: by the book, for a method that follows the prompt and for one that does not."""

import pytest
import scipy.stats
import torch
from torch import nn

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.explainers import Explainer
from audioxai.explainers.base import Solution
from audioxai.metrics import prompt_sensitivity, random_prompts, wrong_prompts

RATE = 8000
PROMPTS = ["low", "middle", "high"]


class Bands(nn.Module):
    """Features (B, 1, F, N) to the energies of three bands of rows, and a fourth number that no prompt names."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, spectrum):
        bands = self.act(spectrum).square().mean((1, 3)).tensor_split(3, dim=1)
        return torch.stack([*(band.mean(1) for band in bands), 1e-4 + 0 * bands[0][:, 0]], 1)


class Words(nn.Module):
    """Text tower: a row of weights for each of three words, and nothing for others."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.eye(3, 4))

    def forward(self, texts):
        return torch.stack([self.rows[PROMPTS.index(t)] if t in PROMPTS else self.rows.sum(0) for t in texts])


class Follows(Explainer):
    """Where a clip's energy lies in the band that the prompt's embedding names, as far as the two are alike."""

    def _solve(self, analysis, target):
        logits = self.space.predict(analysis.values, analysis)
        target = target.resolve(logits, self.classifier.labels)
        text = self.classifier.text_embeddings[target.classes]
        rows = analysis.values.shape[1]
        place = torch.cat([torch.full((len(p),), k) for k, p in enumerate(torch.arange(rows).tensor_split(3))])
        loud = analysis.values / analysis.values.amax((1, 2), keepdim=True)
        weight = text[:, place].clamp(0, 1)[:, :, None]
        return Solution(weight * loud.clamp(0, 1), logits, target)


def classifier(tower=None):
    frontend = ax.LogSTFT(RATE, log="none", layout="B1FN")
    return ax.ZeroShotClassifier(
        Bands(), tower or Words(), sample_rate=RATE, prompts=PROMPTS, frontend=frontend, layers=["act"]
    ).eval()


def clips():
    """Three tones of 0.5 s, one in each band, at different levels."""
    time = torch.arange(4000) / RATE
    return torch.stack([a * torch.sin(2 * torch.pi * hz * time) for a, hz in ((0.1, 400), (0.3, 2000), (0.2, 3500))])


def test_sensitivity_by_the_book():
    explainer = Follows(classifier())
    found = prompt_sensitivity(explainer, clips(), [*PROMPTS, "anything"])
    assert found.prompts == (*PROMPTS, "anything")
    for b, clip in enumerate(clips()):
        for k, prompt in enumerate(found.prompts):
            assert found.mask_mean[b, k] == pytest.approx(float(explainer.explain(clip, prompt).mask.mean()), abs=1e-6)
            alone = explainer.classifier.embed_audio(clip[None])[0]
            text = explainer.classifier.embed_text([prompt])[0]
            assert found.similarity[b, k] == pytest.approx(float(sum(alone * text)), abs=1e-5)
    expected = scipy.stats.spearmanr(found.similarity.flatten(), found.mask_mean.flatten()).statistic
    assert found.correlation == pytest.approx(expected, abs=1e-6)
    rows = zip(found.similarity, found.mask_mean, strict=True)
    each = [scipy.stats.spearmanr(*pair).statistic for pair in rows]
    assert found.within_clips == pytest.approx(sum(each) / len(each), abs=1e-6)
    assert min(found.correlation, found.within_clips) > 0.5


def test_a_method_that_does_not_look_at_the_prompt_fails_every_question():
    explainer = ax.EnergyMask(classifier())
    found = prompt_sensitivity(explainer, clips(), PROMPTS)
    assert found.within_clips == 0
    assert not found.correlation > 0.5
    for given in (
        wrong_prompts(explainer, clips(), PROMPTS, ["high", "low", "middle"]),
        random_prompts(explainer, clips(), PROMPTS),
        random_prompts(explainer, clips(), PROMPTS, randomise="embedding"),
    ):
        first, second, ssim, spearman = given.values()
        torch.testing.assert_close(first, second)
        torch.testing.assert_close(ssim, torch.ones(3), check_dtype=False)
        torch.testing.assert_close(spearman, torch.ones(3), check_dtype=False)


def test_masks_of_wrong_prompts():
    explainer = Follows(classifier())
    found = wrong_prompts(explainer, clips(), PROMPTS, ["high", "low", "middle"])
    assert list(found) == ["right", "wrong", "SSIM", "Spearman"]
    for i, (right, wrong) in enumerate(zip(PROMPTS, ["high", "low", "middle"], strict=True)):
        masks = [explainer.explain(clips()[i], prompt).mask for prompt in (right, wrong)]
        assert found["right"][i] == pytest.approx(float(masks[0].mean()), abs=1e-6)
        assert found["wrong"][i] == pytest.approx(float(masks[1].mean()), abs=1e-6)
        expected = scipy.stats.spearmanr(*(mask.flatten() for mask in masks)).statistic
        assert found["Spearman"][i] == pytest.approx(expected, abs=1e-5)
    assert (found["wrong"] < found["right"] / 3).all()


@pytest.mark.parametrize("randomise", ["tower", "embedding"])
def test_masks_change_with_the_embeddings_and_all_comes_back(randomise):
    explainer = Follows(classifier())
    tower = explainer.classifier.text_encoder
    before, text = tower.rows.detach().clone(), explainer.classifier.text_embeddings.clone()
    found = random_prompts(explainer, clips(), PROMPTS, randomise=randomise, seed=1)
    assert list(found) == ["given", "random", "SSIM", "Spearman"]
    given = explainer.explain(clips(), PROMPTS).mask
    torch.testing.assert_close(found["given"], given.mean((1, 2)))
    assert (found["random"] - found["given"]).abs().max() > 0.01
    assert found["Spearman"].nan_to_num(0).min() < 0.9
    assert torch.equal(tower.rows, before)
    assert torch.equal(explainer.classifier.text_embeddings, text)
    assert explainer.classifier.labels == tuple(PROMPTS)
    other = random_prompts(explainer, clips(), PROMPTS, randomise=randomise, seed=2)
    assert not torch.equal(found["random"], other["random"])


def test_all_comes_back_after_an_error():
    class Fails(Follows):
        calls = 0

        def _solve(self, analysis, target):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("the second time")
            return super()._solve(analysis, target)

    explainer = Fails(classifier())
    tower, text = explainer.classifier.text_encoder, explainer.classifier.text_embeddings.clone()
    before = tower.rows.detach().clone()
    with pytest.raises(RuntimeError, match="second"):
        random_prompts(explainer, clips(), ["low", "any", "high"])
    assert torch.equal(tower.rows, before)
    assert torch.equal(explainer.classifier.text_embeddings, text)
    assert explainer.classifier.labels == tuple(PROMPTS)


def test_wrong_use():
    explainer = Follows(classifier())
    closed = ax.EnergyMask(ax.AudioClassifier(Bands(), sample_rate=RATE, frontend=explainer.classifier.frontend))
    with pytest.raises(ConfigError, match="ZeroShotClassifier; this explainer's is a AudioClassifier"):
        prompt_sensitivity(closed, clips(), PROMPTS)
    for twice in (["low", "low"], []):
        with pytest.raises(ConfigError, match="must be texts that differ"):
            prompt_sensitivity(explainer, clips(), twice)
    with pytest.raises(InputError, match=r"3 clip\(s\) need a list of as many prompts; got \['low'\]"):
        wrong_prompts(explainer, clips(), ["low"], PROMPTS)
    with pytest.raises(ConfigError, match="randomise='words'"):
        random_prompts(explainer, clips(), PROMPTS, randomise="words")
    bare = Follows(classifier(lambda texts: torch.eye(3, 4)[[PROMPTS.index(t) for t in texts]]))
    with pytest.raises(ConfigError, match="use randomise='embedding'"):
        random_prompts(bare, clips(), PROMPTS)
