"""What the learned explainers read from a classifier, and the mixtures that they learn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import Target
from audioxai.errors import ClassifierError

__all__ = ["Reading", "add_neighbours", "mix_within_batch", "read_evidence", "score_gradient"]

#: Logits (B, K), latents as maps, and for each target the resolved target with its evidence, or ``None`` without.
Reading = tuple[Tensor, list[Tensor], list[tuple[Target, list[Tensor] | None]]]


def read_evidence(
    classifier: AudioClassifier, features: Tensor, targets: Sequence[Target], *, evidence: bool = True
) -> Reading:
    """One forward pass, and with evidence one backward pass to the latents for each target.

    The evidence is h * ds/dh for the latents h of each layer and the explained score s.

    Args:
        classifier: frozen.
        features: the network's input.
        targets: what is explained.
        evidence: read it; without it, no backward pass is made.

    Returns:
        Logits without a graph, latents as maps (B, C, F', N'), shallowest first, and per target the resolved target and
        its evidence in maps of the same shapes.

    Raises:
        ClassifierError: a score does not depend on the layers.
    """
    logits, latents = classifier.classify_with_latents(features, differentiable=evidence)
    resolved = [target.resolve(logits, classifier.labels) for target in targets]
    maps = classifier.as_maps([latent.detach() for latent in latents])
    if not evidence:
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
        found = [
            torch.zeros_like(latent) if gradient is None else latent.detach().float() * gradient.float()
            for latent, gradient in zip(latents, gradients, strict=True)
        ]
        read.append((target, classifier.as_maps(found)))
    return logits.detach(), maps, read


def score_gradient(target: Target, logits: Tensor) -> Tensor | None:
    """The gradient (B, K) of a target's score to the logits; ``None`` where it does not depend on them."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        score = target.score(leaf).sum()
        return torch.autograd.grad(score, leaf, allow_unused=True)[0] if score.requires_grad else None


def mix_within_batch(classifier: AudioClassifier, waveform: Tensor, share: float) -> tuple[Tensor, Tensor, Target]:
    """Turn a share of a batch into mixtures of two clips that the classifier hears differently, 5 dB apart at most.

    Args:
        classifier: frozen; it names the classes.
        waveform: (B, T).
        share: of the clips that get another one added, in [0, 1]; those heard alike stay alone.

    Returns:
        Explained clips (B, T), added clips or silence (B, T), and the target: the class predicted on the clip alone.
    """
    if not share or len(waveform) < 2:
        return waveform, torch.zeros_like(waveform), Target(predicted=True)
    with torch.no_grad():
        classes = classifier(waveform).argmax(1)
    return waveform, add_neighbours(waveform, share, classes != classes.roll(1)), Target(classes=classes)


def add_neighbours(waveform: Tensor, share: float, apart: Tensor) -> Tensor:
    """What mixtures add to clips (B, T): the clip before each, 5 dB apart at most; silence for the others.

    Args:
        waveform: (B, T).
        share: of the clips that are mixed.
        apart: (B,) bool, which may be.
    """
    mixed = (torch.rand(len(waveform), device=waveform.device) < share) & apart
    level = waveform.norm(dim=1, keepdim=True)
    before = level.roll(1, 0)
    gain = level / before.clamp(min=1e-6) * 10 ** (torch.empty_like(level).uniform_(-5, 5) / 20)
    audible = (level > 1e-6) & (before > 1e-6)
    return torch.where(mixed[:, None] & audible, waveform.roll(1, 0) * gain, torch.zeros_like(waveform))
