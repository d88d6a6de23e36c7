"""Something to give to the function of every registered metric, by the names of its arguments.

A metric whose function takes these needs no inputs of its own: the tests of the registry and of the torchmetrics
classes find it. :func:`clip` is one clip of a batch in plain numbers, for the function's oracle.
"""

from __future__ import annotations

import inspect
from typing import Any

import networks
import torch

import audioxai as ax
from audioxai.metrics.registry import CLASSES

SIZES = (1, 4, 2, 3)


class Squared(ax.Explainer):
    """Values times their size."""

    def _attribute(self, values, score):
        return values * values.abs() + 0.1


def batches(seed: int = 0) -> list[dict[str, Any]]:
    """Four of unequal size. The second has an empty mask; the last two have ties, certain and impossible classes, full
    and empty cells, and one that is hardly heard."""
    generator = torch.Generator().manual_seed(seed)
    explainer = Squared(networks.waveform_cnn(), space="waveform")
    made = []
    for place, size in enumerate(SIZES):
        p, kept, removed = torch.rand(3, size, 5, generator=generator, dtype=torch.float64).softmax(2)
        mask = torch.rand(size, 42, generator=generator, dtype=torch.float64)
        values, other = 1 + mask.roll(1, 1), mask.flip(1) + 0.8
        stem = values.clone()
        if place == 1:
            mask[0] = 0
        if place > 1:
            p[0], kept[0] = torch.eye(5)[1], torch.eye(5)[1]
            p[1], kept[1] = torch.tensor([0, 0.5, 0.5, 0, 0]), torch.eye(5)[seed % 5]
            mask = (4 * mask).round() / 4
            stem, other = stem * (mask.roll(2, 1) > 0.2), other * (mask.roll(3, 1) > 0.2)
            stem[:, 0], other[:, 0] = 1e-5, 0
        made.append({
            "probs": p, "probs_kept": kept, "probs_removed": removed, "mask": mask, "values": values, "stem": stem,
            "other": other, "estimate": mask, "reference": values, "kept": mask, "clip": values,
            "predict": lambda changed, _rows: changed.mean(1) / 2, "score": lambda x: (x**3 - x).sum(1),
            "attribution": mask, "perturbations": torch.stack([mask, values]), "explainer": explainer,
            "waveform": 0.3 * torch.randn(size, 400, generator=generator),
        })  # fmt: skip
    return made


def clip(batch: dict[str, Any], i: int) -> dict[str, Any]:
    """A clip of a batch: numbers, lists, and functions of lists."""
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    tensors["perturbations"] = tensors["perturbations"].transpose(0, 1)
    rows = {name: value[i].tolist() for name, value in tensors.items()}
    generator = torch.Generator().manual_seed(0)
    peak = float(batch["waveform"][i].abs().max())
    return rows | {
        "predict": lambda values: sum(values) / len(values) / 2,
        "score": lambda values: sum(v**3 - v for v in values),
        "explain": lambda values: [v * abs(v) + 0.1 for v in values],
        "noises": [(0.02 * peak * (2 * torch.rand(400, generator=generator) - 1)).tolist() for _ in range(10)],
        "shuffled": torch.randperm(42, generator=torch.Generator().manual_seed(0)).tolist(),
    }


def given(function: Any, inputs: dict[str, Any]) -> list[Any]:
    """The function's positional arguments; what has a default keeps it where the inputs lack it."""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.KEYWORD_ONLY]
    return [inputs[one.name] for one in parameters if one.default is one.empty or one.name in inputs]


def means(parts: list[dict[str, Any]]) -> dict[str, float]:
    """Of every torchmetrics class, updated with one batch after the other."""
    made = {name: getattr(ax.metrics, name)() for name in CLASSES}
    for part in parts:
        for name, metric in made.items():
            metric.update(*given(CLASSES[name].function, part))
    return {name: float(metric.compute()) for name, metric in made.items()}
