"""Class activation maps without gradients: each channel is weighed by the score of the clip seen through it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.explainers.base import Score, at_least_one
from audioxai.explainers.cam import CAM
from audioxai.explainers.registry import register
from audioxai.support.progress import bar

__all__ = ["GScoreCAM", "ScoreCAM"]


@register("scorecam")
class ScoreCAM(CAM):
    """Channels weighted by the softmax of their scores. Source: Wang et al. 2020, eq. 7 and algorithm 1.

    One forward pass per channel. The score of the baseline, which the paper subtracts from all, cancels in the softmax.

    Args:
        classifier: the wrapped network.
        progress: show a bar on a terminal.
        **cam: see :class:`audioxai.explainers.cam.CAM`.
    """

    def __init__(self, classifier: AudioClassifier, *, progress: bool = True, **cam: Any) -> None:
        super().__init__(classifier, **cam)
        self.progress = progress

    def _channels(self, values: Tensor, score: Score) -> tuple[Tensor, Tensor]:
        """The maps (B, C, F, N), and the channels to weigh, (B, k)."""
        maps = self._maps(values, score)
        return maps, torch.arange(maps.shape[1], device=maps.device).expand(len(maps), -1)

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        maps, chosen = self._channels(values, score)
        cams = []
        with torch.no_grad(), bar(self.name, chosen.numel(), self.progress) as advance:
            for clip, channels in enumerate(chosen):
                own, scores = values[clip : clip + 1], []
                picked = maps[clip, channels]
                for part in torch.split(picked, self.max_batch):
                    # One map after the other, since all at the size of the values would be many gigabytes.
                    seen = _min_max(self.space.from_grid(part[None], own, self.resize)[0])
                    rows = torch.full((len(part),), clip, device=values.device)
                    scores.append(score(own * seen, rows))
                    advance(len(part))
                weight = torch.cat(scores).softmax(0)
                cams.append((weight[:, None, None] * picked).sum(0))
        return self.space.from_grid(torch.stack(cams)[:, None], values, self.resize)[:, 0]


@register("gscorecam")
class GScoreCAM(ScoreCAM):
    """ScoreCAM on the channels with the largest mean gradient only. Source: Chen et al. 2022, section 3.2.

    The softmax runs over the chosen channels; in the authors' code the others keep a small weight.

    Args:
        classifier: the wrapped network.
        k: channels to weigh; all, when the layer has fewer.
        **score_cam: see :class:`ScoreCAM`.
    """

    def __init__(self, classifier: AudioClassifier, *, k: int = 300, **score_cam: Any) -> None:
        super().__init__(classifier, **score_cam)
        self.k = at_least_one("k", k)

    def _channels(self, values: Tensor, score: Score) -> tuple[Tensor, Tensor]:
        maps, gradients = self._maps_and_gradients(values, score)
        k = min(self.k, maps.shape[1])
        return maps, gradients.mean((2, 3)).topk(k, dim=1).indices


def _min_max(maps: Tensor) -> Tensor:
    """Each map (k, ...) stretched to [0, 1]; a constant one becomes 0."""
    flat = maps.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / torch.where(high > low, high - low, 1.0)).reshape(maps.shape)
