"""Shapley values: by gradients as shap takes them, and by shap itself on coalitions of tiles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.explainers.base import Score, at_least_one
from audioxai.explainers.baseline import WithBaseline
from audioxai.explainers.gradient import differentiable
from audioxai.explainers.perturbation import Game, Tiled
from audioxai.explainers.registry import register

__all__ = ["GradientSHAP", "KernelSHAP"]


def _folded_noise(values: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Three draws of |N(0, 1)| per cell: the baselines of the published tables, akin to no sound."""
    drawn = [torch.randn((3, *values.shape[1:]), generator=generator).abs() for generator in generators]
    return torch.stack(drawn, 1)


@register("gradient-shap")
class GradientSHAP(WithBaseline):
    """Expected gradients: (x - x0) times the gradient at random points between. Source: Erion et al. 2021, eq. 3.

    Equal to shap's ``GradientExplainer``, whose draws these are. That takes one clip, since each has its own phase, and
    moves every gradient to the CPU; here the points of all clips share the passes.

    Args:
        classifier: the wrapped network.
        n_samples: random points per clip.
        **baseline: see :class:`audioxai.explainers.baseline.WithBaseline`.

    :meth:`reference` starts from three draws of noise and takes five points.
    """

    _published: ClassVar[Mapping[str, Any]] = {"n_samples": 5, "baseline": _folded_noise}

    def __init__(self, classifier: AudioClassifier, *, n_samples: int = 50, **baseline: Any) -> None:
        super().__init__(classifier, **baseline)
        self.n_samples = at_least_one("n_samples", n_samples)

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        starts, values = self._baselines(values, score), values.detach()
        drawn = torch.cat([self._draw(len(starts), generator) for generator in score.generators]).to(values)
        total = torch.zeros_like(values)
        for part in torch.split(torch.arange(len(drawn), device=values.device), self.max_batch):
            clip, start = part // self.n_samples, drawn[part, 0].long()
            end, begin = values[clip], starts[start, clip]
            share = drawn[part, 1].reshape(-1, *[1] * (values.ndim - 1))
            point = (share * end + (1 - share) * begin).requires_grad_()
            with differentiable(self.name):
                (gradient,) = torch.autograd.grad(score(point, clip).sum(), point)
            total.index_add_(0, clip, gradient * (end - begin))
        return total / self.n_samples

    def _draw(self, starts: int, generator: torch.Generator) -> Tensor:
        """Of each point of a clip its baseline's number and its place on the way from there, (n_samples, 2)."""
        draws = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
        return torch.tensor(
            [[draws.choice(starts), draws.uniform()] for _ in range(self.n_samples)], dtype=torch.float64
        )


@register("kernel-shap")
class KernelSHAP(Tiled):
    """Shapley values of tiles, by a weighted regression on coalitions. Source: Lundberg and Lee 2017, theorem 2.

    By shap's ``KernelExplainer``, without its default of keeping ten features only.

    Args:
        classifier: the wrapped network.
        n_samples: coalitions per clip; at least the number of tiles is advisable.
        **tiled: see :class:`audioxai.explainers.perturbation.Tiled`.
    """

    def __init__(self, classifier: AudioClassifier, *, n_samples: int = 500, **tiled: Any) -> None:
        super().__init__(classifier, **tiled)
        self.n_samples = at_least_one("n_samples", n_samples)

    @property
    def passes(self) -> int:
        return self.n_samples + 2

    def _weights(self, game: Game, count: int, generator: torch.Generator) -> Tensor:
        def scores(present: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return game(torch.as_tensor(present)).cpu().numpy()

        with _seeded(int(torch.randint(2**31, (), generator=generator))):
            method = _shap().KernelExplainer(scores, np.zeros((1, count)))
            found = method.shap_values(np.ones((1, count)), nsamples=self.n_samples, l1_reg=0, silent=True)
        return torch.as_tensor(np.asarray(found)).reshape(count)


def _shap() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import uses deprecated parts of Matplotlib
        import shap
    return shap


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global state seeded for shap, and as it was afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
