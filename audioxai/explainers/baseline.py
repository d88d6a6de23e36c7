"""Where attributions start from: silence, values of the caller's own, or clips drawn from data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self, TypeAlias

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, InputError, NotFittedError
from audioxai.explainers.base import Explainer, Score, at_least_one
from audioxai.sound.inputs import read_batch
from audioxai.support.identity import describe

__all__ = ["BaselineLike", "WithBaseline"]

BaselineLike: TypeAlias = (
    "Literal['silence', 'data'] | float | Tensor | Callable[[Tensor, Sequence[torch.Generator]], Tensor]"
)


class WithBaseline(Explainer):
    """Base of the methods that compare a clip with a baseline.

    Args:
        classifier: the wrapped network.
        baseline: ``"silence"``, the zero of every space and scale; a number; values shaped like one clip's (F, N),
            (M, N) or (T,); ``"data"``, clips drawn by :meth:`fit`; or a function from values (B, ...) and one generator
            per clip to S baselines a clip (S, B, ...).
        n_baselines: clips that ``"data"`` draws.
        **base: see :class:`Explainer`.
    """

    def __init__(
        self, classifier: AudioClassifier, *, baseline: BaselineLike = "silence", n_baselines: int = 8, **base: Any
    ) -> None:
        super().__init__(classifier, **base)
        if isinstance(baseline, str) and baseline not in ("silence", "data"):
            raise ConfigError(f"baseline={baseline!r} is not known; choose 'silence', 'data', a number or values")
        if not isinstance(baseline, str) and not callable(baseline):
            try:
                baseline = torch.as_tensor(baseline, dtype=torch.float32)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"baseline of type {type(baseline).__name__} is not known; give 'silence', 'data', a number, "
                    "values or a function"
                ) from error
            if not torch.isfinite(baseline).all():
                raise InputError("baseline holds NaN or infinite values; give finite ones")
        self.baseline = baseline
        self.n_baselines = at_least_one("n_baselines", n_baselines)
        self.drawn_: Tensor | None = None
        self._gaps: list[Tensor] = []

    @property
    def gap_(self) -> Tensor | None:
        """(B,) completeness gap of the last call's clips, for the methods that measure it."""
        return torch.cat(self._gaps) if self._gaps else None

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"drawn": describe(self.drawn_)}

    def _begin(self) -> None:
        self._gaps = []

    def fit(self, loader: Iterable[Any] | None = None, **options: Any) -> Self:
        """With ``baseline="data"``, draw ``n_baselines`` clips of the loader, each with the same chance; else nothing.

        Args:
            loader: batches as for a learned explainer.
            **options: of learned explainers; ignored.

        Raises:
            InputError: no clip to draw from.
        """
        if not (isinstance(self.baseline, str) and self.baseline == "data"):
            return self
        kept: list[Tensor] = []
        seen = 0
        generator = torch.Generator().manual_seed(self.seed)
        for batch in loader if loader is not None else ():
            for clip in read_batch(batch, self.classifier.sample_rate):
                seen += 1
                slot = len(kept) if len(kept) < self.n_baselines else int(torch.randint(seen, (), generator=generator))
                kept[slot : slot + 1] = [clip.cpu()] if slot < self.n_baselines else kept[slot : slot + 1]
        if not kept:
            raise InputError("baseline='data' draws clips from the loader, and this one yields none")
        longest = max(len(clip) for clip in kept)
        self.drawn_ = torch.stack([_to_length(clip, longest) for clip in kept])
        return self

    def _baselines(self, values: Tensor, score: Score) -> Tensor:
        """S baselines for each clip, (S, B, ...)."""
        given = self.baseline
        if callable(given):
            found = given(values, score.generators)
            if not isinstance(found, Tensor) or found.shape[1:] != values.shape or len(found) == 0:
                got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise InputError(f"the baseline function must return (S, *{tuple(values.shape)}); got {got}")
            return found.to(values)
        if isinstance(given, str) and given == "data":
            if self.drawn_ is None:
                raise NotFittedError(f"baseline='data' needs clips: call {self.name}(...).fit(loader) first")
            clips = _to_length(self.drawn_, score.analysis.waveform.shape[-1]).to(values.device)
            drawn = self.space.analyse(clips).values
            return drawn[:, None].expand(-1, *values.shape)
        start = torch.zeros((), device=values.device) if isinstance(given, str) else torch.as_tensor(given).to(values)
        if start.ndim and start.shape != values.shape[1:]:
            raise InputError(
                f"baseline has shape {tuple(start.shape)}; give a number or values {tuple(values.shape[1:])}"
            )
        return start.expand_as(values)[None]


def _to_length(clips: Tensor, samples: int) -> Tensor:
    """Cut or repeat clips (..., T) to a number of samples."""
    times = -(-samples // clips.shape[-1])
    return clips.repeat(*[1] * (clips.ndim - 1), times)[..., :samples]
