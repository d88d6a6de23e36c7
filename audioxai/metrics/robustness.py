"""Infidelity and max-sensitivity: does the attribution predict the score's change, and does it hold still?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audioxai.classifiers.targets import TargetLike
from audioxai.errors import ConfigError, InputError
from audioxai.explainers.base import Explainer
from audioxai.sound.inputs import WaveformLike, as_waveform

__all__ = ["infidelity", "max_sensitivity"]


@torch.no_grad()
def infidelity(score: Callable[[Tensor], Tensor], values: Tensor, attribution: Tensor, perturbations: Tensor) -> Tensor:
    """Mean over perturbations I of (I . A - (f(x) - f(x - I)))^2, lower is better. Source: Yeh et al. 2019, eq. 1.

    Args:
        score: values (B, ...) to the explained scores (B,).
        values: (B, ...) x.
        attribution: (B, ...) A, signed and not normalised.
        perturbations: (S, B, ...) I, in the values' own units.

    Returns:
        (B,) at least 0, in squared units of the score.
    """
    if attribution.shape != values.shape or perturbations.shape[1:] != values.shape:
        raise InputError(
            f"attribution {tuple(attribution.shape)} and perturbations {tuple(perturbations.shape)} do not fit values "
            f"{tuple(values.shape)}; give (B, ...) and (S, B, ...)"
        )
    before = score(values)
    total = torch.zeros_like(before)
    for change in perturbations:
        predicted = (change * attribution).flatten(1).sum(1)
        total += (predicted - (before - score(values - change))).square()
    return total / len(perturbations)


def max_sensitivity(
    explainer: Explainer,
    waveform: WaveformLike,
    target: TargetLike = None,
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> Tensor:
    """Largest ||A(x + d) - A(x)|| / ||A(x)|| over noise d on the waveform, lower is better. Source: Yeh et al. 2019.

    The target is that of the clip itself, so that a changed prediction does not count as a changed explanation, unless
    the explainer knows no other than the predicted class.

    Args:
        explainer: fitted.
        waveform: (T,) or (B, T).
        target: see :mod:`audioxai.classifiers.targets`; default each clip's predicted class.
        radius: d is drawn evenly from [-radius, radius] times each clip's peak.
        samples: draws.
        seed: of the draws.

    Returns:
        (B,) at least 0; NaN for a clip whose attribution is zero.
    """
    if not radius > 0 or samples < 1:
        raise ConfigError(f"radius={radius} must be positive and samples={samples} at least 1")
    clips = as_waveform(waveform, explainer.classifier.sample_rate).to(explainer.classifier.device)
    if target is None and explainer.any_target:
        with torch.no_grad(), explainer.classifier.frozen():
            target = explainer.classifier(clips).argmax(1)
    plain = explainer.attribute(clips, target).flatten(1)
    # Each clip has draws of its own, whatever the clips beside it.
    generators = [torch.Generator().manual_seed(seed) for _ in clips]
    peak = clips.abs().amax(1, keepdim=True)
    largest = torch.zeros(len(plain), device=plain.device)
    for _ in range(samples):
        noise = torch.stack([2 * torch.rand(clips.shape[1], generator=g) - 1 for g in generators]).to(clips)
        moved = explainer.attribute(clips + radius * peak * noise, target).flatten(1)
        largest = torch.maximum(largest, (moved - plain).norm(dim=1))
    return largest / torch.where(plain.norm(dim=1) > 0, plain.norm(dim=1), torch.nan)
