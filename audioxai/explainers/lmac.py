"""L-MAC: a decoder reads a classifier's latents and draws the mask that keeps its decision.

Source: Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers", ICML 2024. The published decoder sees the
latents h alone and so explains the predicted class. Here it may also see the evidence h * ds/dh of any score s, so that
the same decoder follows any target: a class, several, or a callable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audioxai.classifier import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError, TargetError
from audioxai.explainers.base import Solution
from audioxai.explainers.learned import LearnedExplainer
from audioxai.losses import mask_in, mask_out, sparsity, stem_guidance, target_log_probabilities
from audioxai.nn.decoder import EvidenceDecoder
from audioxai.spaces import Analysis
from audioxai.targets import Target

__all__ = ["LMAC"]


class LMAC(LearnedExplainer):
    """Listenable maps by a decoder, first stage.

    The loss per clip is ``lambda_in * L_in + lambda_out * L_out + lambda_s * mean(mask)``, and for self-made mixtures
    ``lambda_g`` times the energy kept of the other clip and lost of the explained one.

    Args:
        classifier: the wrapped network.
        evidence: feed the decoder latents and evidence, so that it follows a given target; ``False``: latents alone,
            as published, for the predicted class only and without a backward pass.
        lambda_in: weight of -log p(target) on what is kept.
        lambda_out: weight of the mask-out loss on what is removed.
        lambda_s: weight of the mean mask. The published 0.4, times its batch of 16, is 6.4 here.
        lambda_g: weight of the guidance by the stems of self-made mixtures.
        bounded: mask-out loss -log(1 - p) instead of the published log p.
        mixing: share of each batch that becomes mixtures of two clips predicted differently, one of them the target.
        width: channels of the decoder.
        **base: see :class:`audioxai.explainers.base.Explainer`.

    Example:
        >>> explainer = LMAC(classifier).fit(loader, epochs=20)
        >>> mask, audio = explainer.explain(waveform)
    """

    options: ClassVar[tuple[str, ...]] = (
        "evidence", "lambda_in", "lambda_out", "lambda_s", "lambda_g", "bounded", "mixing", "width",
    )  # fmt: skip

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        evidence: bool = True,
        lambda_in: float = 4.0,
        lambda_out: float = 2.0,
        lambda_s: float = 2.0,
        lambda_g: float = 4.0,
        bounded: bool = True,
        mixing: float = 0.5,
        width: int = 32,
        **base: Any,
    ) -> None:
        super().__init__(classifier, **base)
        if not 0 <= mixing <= 1:
            raise ConfigError(f"mixing={mixing} must lie in [0, 1]")
        self.evidence = evidence
        self.lambda_in = lambda_in
        self.lambda_out = lambda_out
        self.lambda_s = lambda_s
        self.lambda_g = lambda_g
        self.bounded = bounded
        self.mixing = mixing
        self.width = width

    def _build(self) -> nn.Module:
        shapes = self._map_shapes()
        return EvidenceDecoder(shapes, self.space.rows, grid=self.space.grid, width=self.width, evidence=self.evidence)

    def _masks(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        if not self.evidence and not all(target.predicted for target in targets):
            raise TargetError(
                "this LMAC was built with evidence=False and explains the predicted class only: target=None"
            )
        with torch.no_grad():
            features = self.space.features(analysis.values, analysis)
        logits, maps, read = self._read(features, targets)
        with torch.no_grad():
            return [
                Solution(self.decoder(maps, evidence, analysis.values).sigmoid(), logits, target)
                for target, evidence in read
            ]

    def _read(
        self, features: Tensor, targets: Sequence[Target]
    ) -> tuple[Tensor, list[Tensor], list[tuple[Target, list[Tensor] | None]]]:
        """One forward pass, and with evidence one backward pass to the latents for each target.

        Returns:
            Logits, latents as maps, and for each target the resolved target and its evidence.
        """
        classifier = self.classifier
        logits, latents = classifier.classify_with_latents(features, differentiable=self.evidence)
        resolved = [target.resolve(logits, classifier.labels) for target in targets]
        maps = classifier.as_maps([latent.detach() for latent in latents])
        if not self.evidence:
            return logits, maps, [(target, None) for target in resolved]
        read: list[tuple[Target, list[Tensor] | None]] = []
        for number, target in enumerate(resolved, 1):
            with torch.enable_grad():
                score = target.score(logits).sum()
            if not score.requires_grad:
                raise ClassifierError(
                    f"the score does not depend on the layers {classifier.layers}; choose another target or layers"
                )
            gradients = torch.autograd.grad(score, latents, allow_unused=True, retain_graph=number < len(resolved))
            evidence = [
                torch.zeros_like(latent) if gradient is None else latent.detach() * gradient
                for latent, gradient in zip(latents, gradients, strict=True)
            ]
            read.append((target, classifier.as_maps(evidence)))
        return logits.detach(), maps, read

    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        space, classifier = self.space, self.classifier
        stem, other, target = self._mix(waveform)
        with torch.no_grad():
            analysis = space.analyse(stem + other)
            features = space.features(analysis.values, analysis)
        _, maps, [(target, evidence)] = self._read(features, [target])
        mask = self.decoder(maps, evidence, analysis.values).sigmoid()
        both = torch.cat([mask * analysis.values, (1 - mask) * analysis.values])
        classes = target.classes
        assert classes is not None
        logits_kept, logits_removed = space.predict(both, analysis.repeat(2)).chunk(2)
        kept, _ = target_log_probabilities(logits_kept, classes, classifier.multilabel)
        removed = target_log_probabilities(logits_removed, classes, classifier.multilabel)
        losses = {
            "in": mask_in(kept).mean(),
            "out": mask_out(*removed, bounded=self.bounded).mean(),
            "mask": sparsity(mask).mean(),
        }
        loss = self.lambda_in * losses["in"] + self.lambda_out * losses["out"] + self.lambda_s * losses["mask"]
        if self.lambda_g and self.mixing:
            losses["guide"] = self._guidance(mask, stem, other)
            loss = loss + self.lambda_g * losses["guide"]
        return {"loss": loss, **losses}

    def _guidance(self, mask: Tensor, stem: Tensor, other: Tensor) -> Tensor:
        """Energy kept of the added clips and lost of the explained ones, as a mean over the whole batch."""
        mixed = (other.abs().amax(1) > 0).nonzero()[:, 0]
        if not len(mixed):
            return mask.new_zeros(())
        with torch.no_grad():
            power = [self.space.magnitude(self.space.analyse(part[mixed])).square() for part in (stem, other)]
        kept_stem, kept_other = stem_guidance(mask[mixed], power[0], power[1])
        return (kept_other + 1 - kept_stem).sum() / len(stem)

    def _mix(self, waveform: Tensor) -> tuple[Tensor, Tensor, Target]:
        """Self-made mixtures: explained clip, added clip or silence, target (predicted on the clip alone)."""
        silence = torch.zeros_like(waveform)
        if not self.mixing or len(waveform) < 2:
            return waveform, silence, Target(predicted=True)
        with torch.no_grad():
            classes = self.classifier(waveform).argmax(1)
        partner = torch.arange(len(waveform), device=waveform.device).roll(1)
        mixed = torch.rand(len(waveform), device=waveform.device) < self.mixing
        mixed &= classes != classes[partner]
        level = waveform.norm(dim=1, keepdim=True)
        decibels = torch.empty_like(level).uniform_(-5, 5)
        gain = level / level[partner].clamp(min=1e-6) * 10 ** (decibels / 20)
        audible = (level > 1e-6) & (level[partner] > 1e-6)
        other = torch.where(mixed[:, None] & audible, waveform[partner] * gain, silence)
        return waveform, other, Target(classes=classes)
