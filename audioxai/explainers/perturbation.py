"""Explanations from the score alone: what happens when tiles of the clip are replaced by the baseline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError
from audioxai.explainers.base import Score, at_least_one
from audioxai.explainers.baseline import WithBaseline
from audioxai.explainers.registry import register
from audioxai.masking.spaces import Space
from audioxai.support.progress import bar

__all__ = ["LIME", "Occlusion", "Tiled"]

#: Scores (S,) of the coalitions (S, P) of present tiles.
Game: TypeAlias = Callable[[Tensor], Tensor]


class Tiled(WithBaseline):
    """Base of the methods on tiles: a method writes ``_weights``, from a game of tiles to a weight per tile.

    Tiles are equally wide in time and, between 0 and half the sample rate, equally high in mel. In waveform space they
    are stretches of time. An absent tile takes the baseline's values (the mean of several).

    Args:
        classifier: the wrapped network.
        tiles: (bands, stretches of time).
        progress: show a bar on a terminal.
        **baseline: see :class:`audioxai.explainers.baseline.WithBaseline`.
    """

    def __init__(
        self, classifier: AudioClassifier, *, tiles: tuple[int, int] = (6, 10), progress: bool = True, **baseline: Any
    ) -> None:
        super().__init__(classifier, **baseline)
        try:
            bands, stretches = tiles
        except (TypeError, ValueError) as error:
            raise ConfigError(f"tiles={tiles!r} must be two numbers, (bands, stretches of time)") from error
        self.tiles = (at_least_one("bands of tiles", bands), at_least_one("stretches of tiles", stretches))
        self.progress = progress

    @property
    def passes(self) -> int | None:
        """Coalitions asked about per clip; ``None`` when they follow from the number of tiles."""
        return None

    @abstractmethod
    def _weights(self, game: Game, count: int, generator: torch.Generator) -> Tensor:
        """A weight for each of ``count`` tiles, (count,), from the scores of coalitions."""

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        tile = tile_of(self.space, values, self.tiles)
        count = int(tile.max()) + 1
        start = self._baselines(values, score).mean(0)
        maps = []
        total = len(values) * (self.passes or count + 1)
        with torch.no_grad(), bar(self.name, total, self.progress) as advance:
            for clip, generator in enumerate(score.generators):

                def game(present: Tensor, clip: int = clip) -> Tensor:
                    scores = []
                    for part in torch.split(present.to(values), self.max_batch):
                        rows = torch.full((len(part),), clip, device=values.device)
                        scores.append(score(torch.lerp(start[clip], values[clip], part[:, tile]), rows))
                        advance(len(part))
                    return torch.cat(scores).double()

                maps.append(self._weights(game, count, generator).to(values)[tile])
        return torch.stack(maps)


def tile_of(space: Space, values: Tensor, tiles: tuple[int, int]) -> Tensor:
    """The number of the tile that each cell belongs to, shaped like one clip's values. None is empty.

    Args:
        space: of the values.
        values: (B, F, N), (B, M, N) or (B, T).
        tiles: (bands, stretches of time).
    """
    cells = values.shape[-1]
    stretch = (torch.arange(cells) * tiles[1]).div(cells, rounding_mode="floor")
    if values.ndim == 2:
        number = stretch
    else:
        band = (space.pitch * tiles[0]).floor().long()
        number = band[:, None] * tiles[1] + stretch
    used: Tensor = torch.unique(number, return_inverse=True)[1]  # a band may be narrower than a bin
    return used.to(values.device)


@register("occlusion")
class Occlusion(Tiled):
    """How far the score falls when one tile is replaced by the baseline. Source: Zeiler and Fergus 2014, section 4.2.

    Equal to Captum's ``FeatureAblation`` on the same tiles.

    Args:
        classifier: the wrapped network.
        **tiled: see :class:`Tiled`.
    """

    def _weights(self, game: Game, count: int, generator: torch.Generator) -> Tensor:
        absent = 1 - torch.eye(count)
        return game(torch.ones(1, count)) - game(absent)


@register("lime")
class LIME(Tiled):
    """Weights of a linear model of the score around the clip. Source: Ribeiro et al. 2016, eq. 1 and section 3.4.

    Half of the tiles are present in a random coalition. Coalitions close to the whole clip count more: exp(-d^2 / w^2)
    with the cosine distance d. The linear model is a ridge regression with an intercept.

    Args:
        classifier: the wrapped network.
        n_samples: coalitions, the whole clip among them.
        kernel_width: w.
        ridge: weight of the squared coefficients.
        **tiled: see :class:`Tiled`.
    """

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        n_samples: int = 500,
        kernel_width: float = 0.25,
        ridge: float = 1.0,
        **tiled: Any,
    ) -> None:
        super().__init__(classifier, **tiled)
        self.n_samples = at_least_one("n_samples", n_samples)
        if not kernel_width > 0 or not ridge > 0:
            raise ConfigError(f"kernel_width={kernel_width} and ridge={ridge} must be positive")
        self.kernel_width = kernel_width
        self.ridge = ridge

    @property
    def passes(self) -> int:
        return self.n_samples

    def _weights(self, game: Game, count: int, generator: torch.Generator) -> Tensor:
        present = torch.randint(2, (self.n_samples, count), generator=generator).double()
        present[0] = 1
        scores = game(present).cpu()
        distance = 1 - (present.mean(1)).sqrt()  # of a 0/1 vector to all ones
        weight = torch.exp(-distance.square() / self.kernel_width**2)
        return ridge_regression(present, scores, weight, self.ridge)


def ridge_regression(x: Tensor, y: Tensor, weight: Tensor, ridge: float) -> Tensor:
    """Coefficients (P,) of a weighted ridge regression with an intercept, of y (S,) on x (S, P)."""
    weight = weight / weight.sum()
    x, y = x - weight @ x, y - weight @ y
    gram = x.T @ (weight[:, None] * x) + ridge / len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    solved: Tensor = torch.linalg.solve(gram, x.T @ (weight * y))
    return solved
