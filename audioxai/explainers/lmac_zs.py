"""LMAC-ZS: a decoder draws the mask that keeps what a zero-shot classifier hears of any prompt.

Source: Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for Zero-Shot Audio Classifiers", NeurIPS 2024. The
published decoder is given the prompt's embedding; here, unless told otherwise, it also sees the evidence h * ds/dh of
the latents h for the similarity s of clip and prompt, so that it follows prompts that were not in the fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import Target
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ConfigError, InputError, TargetError
from audioxai.explainers.base import Solution, at_least_one
from audioxai.explainers.evidence import Reading, add_neighbours, read_evidence
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.registry import register
from audioxai.masking.spaces import Analysis, Scale
from audioxai.nn.prompt_decoder import CONDITIONINGS, PromptDecoder
from audioxai.sound.inputs import read_batch
from audioxai.training.loss_weights import LossWeight, weigh
from audioxai.training.losses import (
    group_log_probabilities,
    mask_in,
    mask_out,
    prompt_diversity,
    similarity_matching,
    sparsity,
    stem_guidance,
)

__all__ = ["LMACZS"]

_SAME = 0.9  # cosine of two prompts from which they are taken to mean the same sound
_DIVERSITIES = ("cosine", "geometry", "l1")


@register("lmac-zs")
class LMACZS(LearnedExplainer):
    """Listenable maps for zero-shot classifiers, by any prompt.

    Each clip of a batch is paired with its own prompt, its neighbour's, and others at random; a share of the clips is
    mixed with the neighbour, and then two prompts are present. The loss is the sum of

    * ``lambda_sim * |C - C'|`` for each pair, with C and C' the similarity of clip and prompt before and after masking;
      0 where it rises for what is in a mixture,
    * ``lambda_s`` times the mean mask of each pair,
    * ``lambda_d`` times the diversity of each clip's masks,
    * ``lambda_in`` and ``lambda_out`` times the losses of :class:`audioxai.LMAC`, the prompts of the batch being the
      classes: on what is kept by prompts that are present, and on what is removed by the clip's own,
    * ``lambda_g`` times, for each pair, the energy kept of sounds that the prompt does not name, and lost, in mixtures,
      of those that it names.

    The last two and the mixtures are ours; :meth:`reference` is without them.

    Args:
        classifier: a :class:`audioxai.ZeroShotClassifier`.
        conditioning: how the prompt enters, see :class:`audioxai.nn.prompt_decoder.PromptDecoder`.
        diversity: see :func:`audioxai.training.losses.prompt_diversity`.
        lambda_sim: weight of the similarity matching, on the scale of the cosine.
        lambda_s: weight of the mean mask.
        lambda_d: weight of the diversity.
        lambda_in: weight of -log p(prompt) on what is kept.
        lambda_out: weight of -log(1 - p(prompt)) on what is removed.
        lambda_g: weight of the guidance by what is known to be in the clip.
        mixing: share of each batch that becomes mixtures of two clips, 5 dB apart at most.
        prompts_per_clip: prompts that each clip is paired with.
        width: channels of the decoder.
        scale: see :class:`audioxai.explainers.base.Explainer`. Magnitudes by default: a CLAP hears decibels, whose zero
            is not silence.
        **base: see :class:`audioxai.explainers.base.Explainer`.

    Raises:
        ConfigError: the classifier is not zero-shot, or an option is out of range.

    Example:
        >>> explainer = LMACZS(classifier).fit(loader)
        >>> mask, audio = explainer.explain("street.wav", "a dog barking")
    """

    lambda_sim, lambda_s, lambda_d = LossWeight("sim"), LossWeight("mask"), LossWeight("diversity")
    lambda_in, lambda_out, lambda_g = LossWeight("in"), LossWeight("out"), LossWeight("guide")
    _published: ClassVar[Mapping[str, Any]] = {
        "conditioning": "film", "lambda_sim": 1.0, "lambda_s": 0.05, "lambda_d": 0.1, "lambda_in": 0.0,
        "lambda_out": 0.0, "lambda_g": 0.0, "mixing": 0.0, "prompts_per_clip": 4, "scale": "magnitude",
    }  # fmt: skip
    classifier: ZeroShotClassifier

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        conditioning: Literal["evidence+gate", "evidence", "film", "concat", "gate"] = "evidence+gate",
        diversity: Literal["cosine", "geometry", "l1"] = "cosine",
        lambda_sim: float = 1.0,
        lambda_s: float = 2.0,
        lambda_d: float = 0.1,
        lambda_in: float = 4.0,
        lambda_out: float = 2.0,
        lambda_g: float = 4.0,
        mixing: float = 0.5,
        prompts_per_clip: int = 3,
        width: int = 32,
        scale: Scale = "magnitude",
        **base: Any,
    ) -> None:
        if not isinstance(classifier, ZeroShotClassifier):
            raise ConfigError(
                f"LMACZS explains a ZeroShotClassifier by prompts; got {type(classifier).__name__}: use LMAC"
            )
        super().__init__(classifier, scale=scale, **base)
        for name, choice, known in (
            ("conditioning", conditioning, CONDITIONINGS),
            ("diversity", diversity, _DIVERSITIES),
        ):
            if choice not in known:
                raise ConfigError(f"{name}={choice!r} is not known; choose one of {', '.join(map(repr, known))}")
        if not 0 <= mixing <= 1:
            raise ConfigError(f"mixing={mixing} must lie in [0, 1]")
        self.conditioning = conditioning
        self.diversity = diversity
        self.lambda_sim = lambda_sim
        self.lambda_s = lambda_s
        self.lambda_d = lambda_d
        self.lambda_in = lambda_in
        self.lambda_out = lambda_out
        self.lambda_g = lambda_g
        self.mixing = mixing
        self.prompts_per_clip = at_least_one("prompts_per_clip", prompts_per_clip)
        self.width = at_least_one("width", width)

    @classmethod
    def reference(cls, classifier: AudioClassifier, **options: Any) -> Self:
        """The published objective: similarity matching, sparsity and diversity, the prompt's embedding in the decoder.

        How it enters, the form of the diversity, the weights, the decoder's layers and the schedule are not published:
        FiLM, ``"cosine"``, 1, 0.05 and 0.1, the decoder of :class:`audioxai.LMAC`, and its published schedule stand in.
        """
        explainer = super().reference(classifier, **options)
        explainer._schedule = {"epochs": 200, "lr": 2e-4, "weight_decay": 2e-6, "clip_norm": 5.0}
        return explainer

    def _build(self) -> nn.Module:
        return PromptDecoder(
            self._map_shapes(), self.space.rows, self.classifier.text_embeddings.shape[1],
            conditioning=self.conditioning, grid=self.space.grid, width=self.width,
        )  # fmt: skip

    def _masks(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        with torch.no_grad():
            features = self.space.features(analysis.values, analysis)
        logits, maps, read = self._read(features, targets)
        with torch.no_grad():
            return [
                Solution(self._draw(maps, evidence, logits, target, analysis).sigmoid(), logits, target)
                for target, evidence in read
            ]

    def _read(self, features: Tensor, targets: Sequence[Target]) -> Reading:
        return read_evidence(self.classifier, features, targets, evidence="evidence" in self.conditioning)

    def _draw(
        self, maps: list[Tensor], evidence: list[Tensor] | None, logits: Tensor, target: Target, analysis: Analysis
    ) -> Tensor:
        """Logits of the masks for one target a clip."""
        similarity = target.score(logits) / self.classifier.temperature
        return torch.as_tensor(
            self.decoder(maps, evidence, self._asked_for(target, logits), similarity, analysis.values)
        )

    def _asked_for(self, target: Target, logits: Tensor) -> Tensor:
        """The embedding (B, D) of a prompt; for any other score its direction, in which the prompts weigh as in it."""
        text = self.classifier.text_embeddings
        if target.classes is not None:
            return text[target.classes]
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            score = target.score(leaf).sum()
        if not score.requires_grad:
            raise TargetError("the target's score does not depend on the logits; return one that is made from them")
        (weights,) = torch.autograd.grad(score, leaf)
        return nn.functional.normalize(weights @ text, dim=1)

    # Fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self, loader: Iterable[Any] | None = None, *, val_loader: Iterable[Any] | None = None, **training: Any
    ) -> Self:
        """Learn the decoder, see :meth:`LearnedExplainer.fit`.

        ``history_`` has, beside the losses, ``"silence"``: the mean similarity of a prompt to an empty input, which is
        what an empty mask leaves of it.

        Args:
            loader: batches of (waveform (B, T), B captions), each a prompt as it stands; of (waveform, classes (B,)),
                places among the classifier's labels; or of waveforms, whose prompts are the labels heard in them. Dicts
                have a ``"waveform"`` and a ``"caption"`` or a ``"label"``.
            val_loader: see there.
            **training: see there.

        Raises:
            InputError: captions or classes that do not fit the clips.
            ConfigError: a blank caption; see there.
        """
        return super().fit(loader, val_loader=val_loader, **training)

    def _step(self, batch: Any) -> dict[str, Tensor]:
        waveform = read_batch(batch, self.classifier.sample_rate).to(self.classifier.device)
        view, own = self._prompts(waveform, _beside(batch))
        with self.bound_to(view) as bound:
            return bound._losses(waveform, own)

    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        return self._losses(waveform, self._prompts(waveform, None)[1])

    def _prompts(self, waveform: Tensor, given: Any) -> tuple[ZeroShotClassifier, Tensor]:
        """The classifier of a batch's prompts, and the place of each clip's own among them, (B,)."""
        size, device = len(waveform), waveform.device
        given = given.tolist() if isinstance(given, np.ndarray) else given
        kinds = {type(item) for item in given} if isinstance(given, list | tuple) else set()
        if kinds == {str}:
            if len(given) != size:
                raise InputError(f"{size} clips need as many captions; got {len(given)}")
            captions = list(dict.fromkeys(given))
            rows = self.classifier.embed_text(captions, template="{}")
            places = [captions.index(caption) for caption in given]
            return self.classifier.with_embeddings(captions, rows), torch.tensor(places, device=device)
        if given is None:
            with torch.no_grad():
                return self.classifier, self.classifier(waveform).argmax(1)
        given = torch.tensor(given) if kinds == {int} else given
        whole = isinstance(given, Tensor) and not given.is_floating_point() and given.dtype != torch.bool
        if not whole or given.shape != (size,):
            got = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else repr(given)[:60]
            raise InputError(
                f"a batch of {size} clips comes alone, with a list of {size} captions, or with {size} whole numbers, "
                f"places among the labels; got {got}"
            )
        known = len(self.classifier.labels or ())
        if not 0 <= int(given.min()) <= int(given.max()) < known:
            raise InputError(f"classes {given.tolist()} must lie in 0 to {known - 1}, places among the labels")
        return self.classifier, given.to(device).long()

    def _losses(self, clips: Tensor, own: Tensor) -> dict[str, Tensor]:
        text = self.classifier.text_embeddings
        alike = (text @ text.T).fill_diagonal_(1.0)
        neighbours = own.roll(1)
        other = add_neighbours(clips, self.mixing, alike[own, neighbours] < _SAME)
        mixed, asked = other.abs().amax(1) > 0, self._asked(own, len(alike))
        with torch.no_grad():
            analysis = self.space.analyse(clips + other)
            features = self.space.features(analysis.values, analysis)
        logits, maps, read = self._read(features, [Target(classes=row) for row in asked])
        drawn = [self._draw(maps, evidence, logits, target, analysis) for target, evidence in read]
        masks = torch.stack(drawn).sigmoid()
        # What the masks keep, what those of the clips' own prompts remove, and silence, as one batch.
        values = analysis.values
        rows = torch.cat([*(masks * values), (1 - masks[0]) * values, torch.zeros_like(values[:1])])
        clip = torch.arange(len(clips), device=clips.device)
        found = self.space.predict(rows, analysis, torch.cat([clip.repeat(len(masks) + 1), clip[:1]]))
        kept, removed, silence = torch.split(found, [asked.numel(), len(clips), 1])
        kept = kept.reshape(*asked.shape, -1)
        before, after = logits[clip, asked], kept.gather(2, asked[..., None])[..., 0]
        cosines = torch.stack([alike[asked, own], alike[asked, neighbours]])
        named = (cosines[0] >= _SAME) | (cosines[1] >= _SAME) & mixed
        clearer = named & mixed & (after > before)  # part of a mixture, made more like its prompt: as it should be
        losses = {
            "sim": torch.where(clearer, 0.0, similarity_matching(before, after)).mean() / self.classifier.temperature,
            "mask": sparsity(masks.flatten(0, 1)),
            "diversity": prompt_diversity(masks, text[asked], self.diversity),
            **self._contrast(alike >= _SAME, kept[named], asked[named], removed, own),
            "guide": self._guidance(masks, analysis, cosines, mixed, clips, other),
        }
        return weigh(self, losses) | {"silence": silence.detach().mean() / self.classifier.temperature}

    def _asked(self, own: Tensor, known: int) -> Tensor:
        """Places (P, B) of the prompts that each clip is paired with: its own, its neighbour's, others at random."""
        rows = [own, own.roll(1)]
        rows += [torch.randint(known, own.shape, device=own.device) for _ in range(self.prompts_per_clip - 2)]
        return torch.stack(rows[: self.prompts_per_clip])

    def _contrast(self, same: Tensor, kept: Tensor, asked: Tensor, removed: Tensor, own: Tensor) -> dict[str, Tensor]:
        """L-MAC's losses of logits (R, K) and (B, K), prompts that mean the same being one class; 0 without another."""
        several = ~same.all(1)
        log_p, _ = group_log_probabilities(kept, same[asked])
        losses = {
            "in": (mask_in(log_p), several[asked]),
            "out": (mask_out(*group_log_probabilities(removed, same[own])), several[own]),
        }
        return {name: torch.where(told, loss, 0.0) for name, (loss, told) in losses.items()}

    def _guidance(
        self, masks: Tensor, analysis: Analysis, cosines: Tensor, mixed: Tensor, stem: Tensor, other: Tensor
    ) -> Tensor:
        """Energy kept of what a prompt does not name, and lost, of mixtures, of what it names: (P, B).

        The less a prompt has in common with a clip's own, the more the energy kept counts.
        """
        if not self.lambda_g:
            return masks.new_zeros(masks.shape[:2])
        with torch.no_grad():
            power = [self.space.magnitude(self.space.analyse(part)).square() for part in (stem, other)]
        found = []
        for mask, alike in zip(masks, cosines.transpose(0, 1), strict=True):
            shares = torch.stack(stem_guidance(self.space.gain(mask, analysis), power[0], power[1]))
            costs = torch.where(alike >= _SAME, (1 - shares) * mixed, shares * (1 - alike.clamp(min=0)))
            found.append(costs[0] + costs[1] * mixed)
        return torch.stack(found)


def _beside(batch: Any) -> Any:
    """What a batch holds beside the waveform: captions, classes or nothing."""
    if isinstance(batch, Mapping):
        return next((batch[name] for name in ("caption", "captions", "label", "labels") if name in batch), None)
    return batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
