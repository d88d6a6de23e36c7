"""Which layers of a network for images carry maps, where the size of its pictures is fixed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from audioxai.adapters.check import probe_clip
from audioxai.adapters.tokens import as_it_is, spread
from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.latents import module_shapes

__all__ = ["fixed_maps", "patches"]


def patches(network: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Blocks of a vision transformer in timm's form, and how their tokens become maps; empty for other networks."""
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    blocks = getattr(network, "blocks", None)
    if grid is None or not isinstance(blocks, nn.Sequential | nn.ModuleList):
        return {}
    prefix = int(getattr(network, "num_prefix_tokens", 1))
    # With class tokens, the last block's patches may no longer reach the logits.
    chosen = spread(len(blocks), None, len(blocks) - (2 if prefix else 1))
    return {f"network.blocks.{number}": partial(_grid, size=tuple(grid), prefix=prefix) for number in chosen}


def _grid(tokens: Tensor, size: tuple[int, int], prefix: int) -> Tensor:
    """Tokens (B, prefix + H * W, D), row by row, to a map (B, D, H, W)."""
    return tokens[:, prefix:].reshape(len(tokens), *size, -1).permute(0, 3, 1, 2)


def fixed_maps(
    classifier: AudioClassifier, size: tuple[int, int], seconds: float
) -> dict[str, Callable[[Tensor], Tensor]]:
    """The deepest map of each resolution, at most four: all axes are fixed, so their proportion tells them."""
    clip = probe_clip(classifier.sample_rate, seconds).to(classifier.device).expand(2, -1)
    with classifier.frozen(), torch.no_grad():
        shapes = module_shapes(classifier.network, lambda: classifier(clip))
    read: dict[str, Callable[[Tensor], Tensor]] = {}
    deepest: dict[tuple[int, ...], str] = {}
    for name, shape in shapes.items():
        if len(shape) != 4 or "attn" in name:  # weights (B, heads, L, L) are no maps
            continue
        for place, function in ((tuple(shape[2:]), as_it_is), (tuple(shape[1:3]), _channels_last)):
            if place[1] > 1 and round(place[1] * size[0] / size[1]) == place[0]:
                read[name] = function
                deepest.pop(place, None)
                deepest[place] = name
                break
    return {name: read[name] for name in list(deepest.values())[-4:]}


def _channels_last(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2)
