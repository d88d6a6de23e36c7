"""Do explanations of a zero-shot classifier follow the prompt? Three questions, each with a value per clip.

Source: Paissan et al. 2024, "Listenable Maps for Zero-Shot Audio Classifiers", the figures on mask mean against
similarity, on wrong prompts and on randomised weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ConfigError, InputError
from audioxai.explainers.base import Explainer
from audioxai.metrics.functional import mask_mean
from audioxai.metrics.localisation import average_ranks
from audioxai.metrics.randomisation import _randomise, mask_similarity
from audioxai.sound.inputs import WaveformLike, as_waveform

__all__ = [
    "PROMPT_FIGURES",
    "PromptSensitivity",
    "prompt_figures",
    "prompt_sensitivity",
    "random_prompts",
    "wrong_prompts",
]

#: Of :func:`prompt_figures`, in the order of tables.
PROMPT_FIGURES = ("correlation", "within clips", "wrong / right", "wrong, Spearman", "random tower", "random embedding")


@dataclass(frozen=True)
class PromptSensitivity:
    """How large a mask is for each clip and prompt, and how alike the two are to the classifier.

    Attributes:
        explainer: name of the method.
        prompts: K texts.
        similarity: (B, K) cosines of clip and prompt.
        mask_mean: (B, K) in [0, 1].
    """

    explainer: str
    prompts: tuple[str, ...]
    similarity: Tensor = field(repr=False)
    mask_mean: Tensor = field(repr=False)

    @property
    def correlation(self) -> float:
        """Spearman's over all clips and prompts, higher is better; NaN where all masks are of one size.

        0 for a method that does not look at the prompt and whose masks are as large for every clip.
        """
        return _spearman(self.similarity, self.mask_mean)

    @property
    def within_clips(self) -> float:
        """The same over the prompts of one clip, a mean over the clips: what loud or full clips cannot raise.

        A clip whose masks are all of one size counts as 0.
        """
        pairs = zip(self.similarity, self.mask_mean, strict=True)
        return float(torch.tensor([_spearman(*pair) for pair in pairs]).nan_to_num(0.0).mean())


def prompt_sensitivity(explainer: Explainer, waveform: WaveformLike, prompts: Sequence[str]) -> PromptSensitivity:
    """Explain every prompt in every clip, to compare the mask's mean with the similarity of the two.

    Args:
        explainer: fitted, of a zero-shot classifier.
        waveform: (T,) or (B, T).
        prompts: K labels or other texts, all different.

    Raises:
        ConfigError: another kind of classifier, or a prompt twice.
    """
    classifier, texts = _zero_shot(explainer), tuple(prompts)
    if len(set(texts)) < max(1, len(texts)):
        raise ConfigError(f"prompts={list(texts)!r} must be texts that differ")
    clips = as_waveform(waveform, classifier.sample_rate).to(classifier.device)
    view = classifier.for_targets([texts])
    rows = view.text_embeddings[[(view.labels or ()).index(text) for text in texts]]
    with torch.no_grad(), classifier.frozen():
        parts = torch.split(clips, explainer.max_batch)
        similarity = torch.cat([classifier.embed_audio(part) @ rows.T for part in parts])
    means = [mask_mean(found.mask) for found in explainer.explain_all(clips, texts)]
    return PromptSensitivity(explainer.name, texts, similarity.cpu(), torch.stack(means, 1).cpu())


def wrong_prompts(
    explainer: Explainer, waveform: WaveformLike, right: Sequence[str], wrong: Sequence[str]
) -> dict[str, Tensor]:
    """The masks for what is in a clip against those for what is not.

    Args:
        explainer: fitted, of a zero-shot classifier.
        waveform: (B, T).
        right: B prompts, each of a sound in its clip.
        wrong: B prompts, each of one that is not.

    Returns:
        (B,) each: mask means ``"right"`` and ``"wrong"``, and ``"SSIM"`` and ``"Spearman"`` of the two masks, see
        :func:`audioxai.metrics.mask_similarity`. A method that does not look at the prompt has twice the same mask.
    """
    _zero_shot(explainer)
    masks = [_masks(explainer, waveform, prompts) for prompts in (right, wrong)]
    return _compare(masks[0], masks[1], ("right", "wrong"))


def random_prompts(
    explainer: Explainer,
    waveform: WaveformLike,
    prompts: Sequence[str],
    *,
    randomise: Literal["tower", "embedding"] = "tower",
    seed: int = 0,
) -> dict[str, Tensor]:
    """The masks for prompts against those for the same prompts when their embeddings mean nothing.

    Explainer, classifier and prompts are left as they are. Source: Adebayo et al. 2018, section 3, on the side of the
    text.

    Args:
        explainer: fitted, of a zero-shot classifier.
        waveform: (B, T).
        prompts: B texts, one a clip.
        randomise: the weights of the text tower, as in :func:`audioxai.metrics.cascading_randomisation`; or the
            embeddings themselves, which become random directions.
        seed: of weights or directions.

    Returns:
        (B,) each: mask means ``"given"`` and ``"random"``, and ``"SSIM"`` and ``"Spearman"`` of the two masks.

    Raises:
        ConfigError: the text tower is no module.
    """
    classifier = _zero_shot(explainer)
    if randomise not in ("tower", "embedding"):
        raise ConfigError(f"randomise={randomise!r} is not known; choose 'tower' or 'embedding'")
    given = _masks(explainer, waveform, prompts)
    texts = tuple(dict.fromkeys(prompts))
    view = classifier.with_embeddings(texts, _random_rows(classifier, texts, randomise == "tower", seed))
    with explainer.bound_to(view) as bound:
        return _compare(given, _masks(bound, waveform, prompts), ("given", "random"))


def prompt_figures(
    explainer: Explainer, waveform: WaveformLike, right: Sequence[str], wrong: Sequence[str], prompts: Sequence[str]
) -> dict[str, float]:
    """All three questions as one row of a table.

    Args:
        explainer: fitted, of a zero-shot classifier.
        waveform: (B, T).
        right: B prompts, each of a sound in its clip.
        wrong: B prompts, each of one that is not.
        prompts: K texts for :func:`prompt_sensitivity`.

    Returns:
        :data:`PROMPT_FIGURES`: the two correlations of :class:`PromptSensitivity`; mean of the wrong prompts' masks
        over that of the right ones', and Spearman of the two; Spearman to the masks with the text tower's weights, or
        the embeddings, at random. A method that does not look at the prompt has 0 within clips, then ones. NaN where a
        figure is undefined.
    """
    found = prompt_sensitivity(explainer, waveform, prompts)
    masks = wrong_prompts(explainer, waveform, right, wrong)
    parts: tuple[Literal["tower", "embedding"], ...]
    parts = ("tower", "embedding") if isinstance(explainer.classifier.text_encoder, nn.Module) else ("embedding",)
    chance = {
        part: float(random_prompts(explainer, waveform, right, randomise=part)["Spearman"].nanmean()) for part in parts
    }
    values = (
        found.correlation,
        found.within_clips,
        float(masks["wrong"].mean() / masks["right"].mean()),
        float(masks["Spearman"].nanmean()),
        chance.get("tower", float("nan")),
        chance["embedding"],
    )
    return dict(zip(PROMPT_FIGURES, values, strict=True))


def _random_rows(classifier: ZeroShotClassifier, texts: Sequence[str], tower: bool, seed: int) -> Tensor:
    """Embeddings (K, D) of texts by a copy of the text tower with random weights, or random directions."""
    generator = torch.Generator().manual_seed(seed)
    if not tower:
        rows = torch.randn(len(texts), classifier.text_embeddings.shape[1], generator=generator)
        return nn.functional.normalize(rows, dim=1).to(classifier.text_embeddings)
    if not isinstance(classifier.text_encoder, nn.Module):
        raise ConfigError(
            f"the text tower is a {type(classifier.text_encoder).__name__}, whose weights are unknown; "
            "use randomise='embedding'"
        )
    other = copy.deepcopy(classifier.text_encoder)
    for module in other.modules():
        _randomise(module, generator)
    return ZeroShotClassifier(
        classifier.network.encoder,
        other,
        sample_rate=classifier.sample_rate,
        prompts={text: classifier.prompts.get(text, text) for text in texts},
        template=classifier.templates,
    ).text_embeddings


def _zero_shot(explainer: Explainer) -> ZeroShotClassifier:
    classifier = explainer.classifier
    if not isinstance(classifier, ZeroShotClassifier):
        raise ConfigError(f"prompts are for a ZeroShotClassifier; this explainer's is a {type(classifier).__name__}")
    return classifier


def _masks(explainer: Explainer, waveform: WaveformLike, prompts: Sequence[str]) -> Tensor:
    """The mask of each clip for its own prompt, (B, ...)."""
    clips = as_waveform(waveform, explainer.classifier.sample_rate)
    if isinstance(prompts, str) or len(prompts) != len(clips):
        raise InputError(f"{len(clips)} clip(s) need a list of as many prompts; got {prompts!r}")
    return explainer.explain(clips, list(prompts)).mask


def _compare(first: Tensor, second: Tensor, names: tuple[str, str]) -> dict[str, Tensor]:
    means = {name: mask_mean(mask).cpu() for name, mask in zip(names, (first, second), strict=True)}
    return means | mask_similarity(first, second)


def _spearman(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([average_ranks(x.flatten()) for x in (first, second)]))[0, 1])
