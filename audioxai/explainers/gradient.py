"""Gradient methods over Captum: how the score changes with the values that a mask multiplies."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError
from audioxai.explainers.base import Explainer, Score, at_least_one
from audioxai.explainers.baseline import WithBaseline
from audioxai.explainers.registry import register

__all__ = ["InputXGradient", "IntegratedGradients", "Saliency", "SmoothGrad"]

_LARGEST_GAP = 0.05
_UNDIFFERENTIABLE = ("does not require grad", "not have been used", "numpy() on Tensor that requires grad")


@register("saliency")
class Saliency(Explainer):
    """The gradient of the score, signed. Source: Simonyan et al. 2014; Captum's ``Saliency`` with ``abs=False``."""

    _published: ClassVar[Mapping[str, Any]] = {}

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        from captum.attr import Saliency as Method

        with differentiable(self.name):
            return one_tensor(Method(score).attribute(leaf(values), abs=False, additional_forward_args=(each(values),)))


@register("input-x-gradient")
class InputXGradient(Explainer):
    """The values times the gradient of the score. Source: Shrikumar et al. 2017; Captum's ``InputXGradient``."""

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        from captum.attr import InputXGradient as Method

        with differentiable(self.name):
            return one_tensor(Method(score).attribute(leaf(values), additional_forward_args=(each(values),)))


@register("smoothgrad")
class SmoothGrad(Explainer):
    """The mean gradient over noisy copies of the values. Source: Smilkov et al. 2017.

    Captum's ``NoiseTunnel`` takes no seed, so the draws are ours; each gradient is Captum's ``Saliency``.

    Args:
        classifier: the wrapped network.
        n_samples: noisy copies.
        noise: standard deviation of the noise as a share of each clip's range, max - min.
        folded: add the noise's absolute value, as the published tables do, instead of cutting spectra off at 0.
        **base: see :class:`Explainer`.

    :meth:`reference` adds one draw only: the published loop repeats the same one 50 times.
    """

    _published: ClassVar[Mapping[str, Any]] = {"n_samples": 1, "folded": True}

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        n_samples: int = 25,
        noise: float = 0.15,
        folded: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(classifier, **base)
        self.n_samples = at_least_one("n_samples", n_samples)
        if not noise > 0:
            raise ConfigError(f"noise={noise} must be positive")
        self.noise = noise
        self.folded = folded

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        from captum.attr import Saliency as Method

        method, generators, rows = Method(score), score.generators, each(values)
        flat = values.detach().flatten(1)
        spread = self.noise * (flat.amax(1) - flat.amin(1))
        total = torch.zeros_like(values)
        for _ in range(self.n_samples):
            drawn = torch.stack([torch.randn(values.shape[1:], generator=g) for g in generators]).to(values)
            drawn = drawn.abs() if self.folded else drawn
            noisy = values.detach() + drawn * spread.reshape(-1, *[1] * (values.ndim - 1))
            if self.space.name != "waveform":
                noisy = noisy.clamp(min=0)  # no spectrum has negative values
            with differentiable(self.name):
                found = method.attribute(noisy.requires_grad_(), abs=False, additional_forward_args=(rows,))
            total += one_tensor(found)
        return total / self.n_samples


@register("integrated-gradients")
class IntegratedGradients(WithBaseline):
    """The gradient integrated along the straight line from a baseline. Source: Sundararajan et al. 2017; Captum's.

    The attributions should add up to the score's rise over the baseline; after each call :attr:`gap_` holds how far
    each clip's miss is, as a share of that rise, and a warning is given when one exceeds 5 %. Several baselines, such
    as drawn clips, are averaged.

    Args:
        classifier: the wrapped network.
        n_steps: points of the Gauss-Legendre rule.
        **baseline: see :class:`audioxai.explainers.baseline.WithBaseline`.

    Attributes:
        gap_: (B,) completeness gap of the last call's clips, at least 0.
    """

    _published: ClassVar[Mapping[str, Any]] = {"n_steps": 50}

    def __init__(self, classifier: AudioClassifier, *, n_steps: int = 50, **baseline: Any) -> None:
        super().__init__(classifier, **baseline)
        self.n_steps = at_least_one("n_steps", n_steps)

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        from captum.attr import IntegratedGradients as Method

        starts, rows = self._baselines(values, score), each(values)
        total = torch.zeros_like(values)
        for start in starts:
            with differentiable(self.name):
                found = Method(score).attribute(
                    leaf(values),
                    start,
                    additional_forward_args=(rows,),
                    n_steps=self.n_steps,
                    internal_batch_size=self.max_batch,
                )
            total += one_tensor(found) / len(starts)
        completeness_gap(self, values, starts, total, score, f"raise n_steps={self.n_steps}")
        return total


def completeness_gap(
    explainer: WithBaseline, values: Tensor, starts: Tensor, attribution: Tensor, score: Score, fix: str
) -> None:
    """Note in ``gap_`` how far attributions (B, ...) miss the score's mean rise over the baselines (S, B, ...).

    Warns, with the ``fix``, when a clip's miss exceeds 5 % of the rise.
    """
    rows = each(values)
    with torch.no_grad():
        floor = torch.stack([score(start, rows) for start in starts]).mean(0)
        rise = score(values, rows) - floor
        gap: Tensor = (attribution.flatten(1).sum(1) - rise).abs() / rise.abs().clamp(min=1e-3)
    if (gap > _LARGEST_GAP).any():
        warnings.warn(
            f"{explainer.name}: the attributions miss the score's rise over the baseline by "
            f"{100 * float(gap.max()):.0f} % on a clip; {fix}",
            stacklevel=2,
        )
    explainer._gaps.append(gap)


@contextmanager
def differentiable(method: str) -> Iterator[None]:
    """Say which method needs gradients when the score has none."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _UNDIFFERENTIABLE):
            raise
        raise ClassifierError(
            f"{method} needs a score that is differentiable in the clip, and this one is not: {error}. "
            "Look for detach(), argmax or NumPy in the network or the target, or use a method without gradients: "
            "Occlusion, LIME, KernelSHAP or ScoreCAM"
        ) from error


def leaf(values: Tensor) -> Tensor:
    """A leaf of our own: Captum warns when it has to ask for the gradient itself."""
    return values.detach().clone().requires_grad_()


def each(values: Tensor) -> Tensor:
    """Row numbers (B,) of the clips."""
    return torch.arange(len(values), device=values.device)


def one_tensor(attribution: Any) -> Tensor:
    assert isinstance(attribution, Tensor)  # one tensor in, one out
    return attribution.detach()
