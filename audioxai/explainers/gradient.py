"""Gradient methods over Captum: how the score changes with the values that a mask multiplies.

Silence is the zero of every space and scale, so it is the baseline of integrated gradients.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from audioxai.classifier import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError, InputError
from audioxai.explainers.base import Explainer, Score

__all__ = ["InputXGradient", "IntegratedGradients", "Saliency", "SmoothGrad"]

_LARGEST_GAP = 0.05


class _Gradient(Explainer):
    """Base of the gradient methods: one that writes ``_captum`` needs nothing else."""

    def _captum(self, values: Tensor, score: Score, rows: Tensor) -> Tensor:
        raise NotImplementedError

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        rows = torch.arange(len(values), device=values.device)
        try:
            # A leaf of our own: Captum warns when it has to ask for the gradient itself.
            return self._captum(values.detach().clone().requires_grad_(), score, rows)
        except RuntimeError as error:
            if "does not require grad" not in str(error) and "not have been used" not in str(error):
                raise
            raise ClassifierError(
                f"{self.name} needs a score that is differentiable in the clip, and this one is not: {error}. "
                "Look for detach(), argmax or NumPy in the network or the target, or use a method without gradients"
            ) from error


class Saliency(_Gradient):
    """The gradient of the score, signed. Source: Simonyan et al. 2014; Captum's ``Saliency`` with ``abs=False``."""

    def _captum(self, values: Tensor, score: Score, rows: Tensor) -> Tensor:
        from captum.attr import Saliency as Method

        return _checked(Method(score).attribute(values, abs=False, additional_forward_args=(rows,)))


class InputXGradient(_Gradient):
    """The values times the gradient of the score. Source: Shrikumar et al. 2017; Captum's ``InputXGradient``."""

    def _captum(self, values: Tensor, score: Score, rows: Tensor) -> Tensor:
        from captum.attr import InputXGradient as Method

        return _checked(Method(score).attribute(values, additional_forward_args=(rows,)))


class SmoothGrad(_Gradient):
    """The mean gradient over noisy copies of the values. Source: Smilkov et al. 2017.

    Captum's ``NoiseTunnel`` takes no seed, so the draws are ours; each gradient is Captum's ``Saliency``.

    Args:
        classifier: the wrapped network.
        n_samples: noisy copies.
        noise: standard deviation of the noise as a share of each clip's range, max - min.
        **base: see :class:`Explainer`.
    """

    def __init__(self, classifier: AudioClassifier, *, n_samples: int = 25, noise: float = 0.15, **base: Any) -> None:
        super().__init__(classifier, **base)
        self.n_samples = _at_least_one("n_samples", n_samples)
        if not noise > 0:
            raise ConfigError(f"noise={noise} must be positive")
        self.noise = noise

    def _captum(self, values: Tensor, score: Score, rows: Tensor) -> Tensor:
        from captum.attr import Saliency as Method

        method, generators = Method(score), score.generators
        flat = values.detach().flatten(1)
        spread = self.noise * (flat.amax(1) - flat.amin(1))
        total = torch.zeros_like(values)
        for _ in range(self.n_samples):
            drawn = torch.stack([torch.randn(values.shape[1:], generator=g) for g in generators]).to(values)
            noisy = values.detach() + drawn * spread.reshape(-1, *[1] * (values.ndim - 1))
            if self.space.name != "waveform":
                noisy = noisy.clamp(min=0)  # no spectrum has negative values
            total += _checked(method.attribute(noisy.requires_grad_(), abs=False, additional_forward_args=(rows,)))
        return total / self.n_samples


class IntegratedGradients(_Gradient):
    """The gradient integrated along the straight line from a baseline. Source: Sundararajan et al. 2017; Captum's.

    The attributions should add up to the score's rise over the baseline; after each call :attr:`gap_` holds how far
    each clip's miss is, as a share of that rise, and a warning is given when one exceeds 5 %.

    Args:
        classifier: the wrapped network.
        n_steps: points of the Gauss-Legendre rule.
        baseline: values to start from, a number or a tensor shaped like one clip's values; default 0, silence.
        **base: see :class:`Explainer`.

    Attributes:
        gap_: (B,) completeness gap of the clips of the last batch, at least 0.
    """

    def __init__(
        self, classifier: AudioClassifier, *, n_steps: int = 50, baseline: float | Tensor = 0.0, **base: Any
    ) -> None:
        super().__init__(classifier, **base)
        self.n_steps = _at_least_one("n_steps", n_steps)
        self.baseline = baseline
        self.gap_: Tensor | None = None

    def _captum(self, values: Tensor, score: Score, rows: Tensor) -> Tensor:
        from captum.attr import IntegratedGradients as Method

        baseline = self.baseline
        if isinstance(baseline, Tensor) and baseline.shape != values.shape[1:]:
            raise InputError(
                f"baseline has shape {tuple(baseline.shape)}; give a number or values {tuple(values.shape[1:])}"
            )
        start = torch.zeros_like(values.detach()) + torch.as_tensor(baseline, device=values.device)
        attribution = _checked(
            Method(score).attribute(
                values,
                start,
                additional_forward_args=(rows,),
                n_steps=self.n_steps,
                internal_batch_size=max(self.max_batch, len(values)),
            )
        )
        with torch.no_grad():
            rise = score(values, rows) - score(start, rows)
            self.gap_ = (attribution.flatten(1).sum(1) - rise).abs() / rise.abs().clamp(min=1e-3)
        if (self.gap_ > _LARGEST_GAP).any():
            warnings.warn(
                f"integrated gradients miss the score's rise by {100 * float(self.gap_.max()):.0f} % on a clip; "
                f"raise n_steps={self.n_steps}",
                stacklevel=2,
            )
        return attribution


def _checked(attribution: Any) -> Tensor:
    assert isinstance(attribution, Tensor)  # one tensor in, one out
    return attribution.detach()


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name}={value} must be at least 1")
    return value
