"""Infidelity and max-sensitivity: does the attribution predict the score's change, and does it hold still?"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from audioxai.classifiers.targets import TargetLike
from audioxai.errors import ConfigError, InputError
from audioxai.explainers.base import Explainer
from audioxai.metrics.base import Case, Metric
from audioxai.sound.inputs import WaveformLike, as_waveform
from audioxai.support.options import at_least_one, positive

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
    positive("radius", radius)
    at_least_one("samples", samples)
    clips = as_waveform(waveform, explainer.classifier.sample_rate).to(explainer.classifier.device)
    target = explainer.target_of(clips, target)
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


def _infidelity(case: Case) -> Tensor:
    """Over 16 draws in which half of the cells are silenced."""
    attribution = case.explanation.attribution
    if attribution is None:  # a mask is in no units of the score
        return torch.full((len(case.explanation),), math.nan)
    values, logits = case.ask()
    generator = torch.Generator().manual_seed(0)
    cells = values.shape[1:]  # the same cells for every clip, whatever the clips beside it
    silenced = torch.stack([torch.rand(cells, generator=generator) < 0.5 for _ in range(16)]).to(values)
    rows = torch.arange(len(values), device=values.device)

    def score(changed: Tensor) -> Tensor:
        found = logits(changed, rows)
        return found.gather(1, case.target.to(found.device)[:, None])[:, 0]

    return infidelity(score, values, attribution, silenced[:, None] * values)


def _sensitivity(case: Case) -> Tensor:
    if case.explainer is None:
        raise ConfigError("max-sensitivity explains changed clips again; give the explainer")
    target: TargetLike = case.target
    if case.explanation.labels is not None:  # a prompt has no number in the classifier
        target = case.explanation.target_names
    return max_sensitivity(case.explainer, case.explanation.input, target if case.explainer.any_target else None)


ENTRIES = (
    Metric("infidelity", _infidelity, -1, 0, function=infidelity, class_name="Infidelity"),
    Metric("max-sensitivity", _sensitivity, -1, 0, function=max_sensitivity, class_name="MaxSensitivity"),
)
