"""Measures that need to know the parts of a mixture."""

from __future__ import annotations

import torch
from torch import Tensor

from audioxai.classifiers.targets import TargetLike
from audioxai.explainers.base import Explainer
from audioxai.metrics.base import Case
from audioxai.metrics.localisation import interference

__all__ = ["follow"]


@torch.no_grad()
def follow(explainer: Explainer, mixture: Tensor, stem: Tensor, target: TargetLike) -> tuple[Tensor, Tensor]:
    """Explain ``target`` in mixtures and ask whether the mask keeps its part and drops the rest.

    The mask is applied to the parts' magnitudes one by one, in the explainer's space.

    Args:
        explainer: fitted.
        mixture: (B, T).
        stem: (B, T), the part that the target names; everything else is ``mixture - stem``.
        target: see :mod:`audioxai.classifiers.targets`.

    Returns:
        Gain in signal-to-interference ratio over the mixture's own, in dB, and kept share of the stem's energy, both
        (B,).
    """
    return interference(Case(explainer.explain(mixture, target), explainer, stem))
