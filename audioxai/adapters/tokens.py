"""Tokens of a transformer as maps over time and frequency, for CAMs and decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.classifiers.latents import name_of
from audioxai.errors import ClassifierError, ConfigError

__all__ = ["ShownBlocks", "TokenMaps", "as_it_is", "blocks_of", "find_blocks", "spread"]

_MOST = 4


class ShownBlocks(nn.Module):
    """Base of wrapped networks: while they run, chosen blocks show what they give as maps.

    The maps are the outputs of the modules ``maps.0``, ``maps.1`` ..., shallowest first.

    Args:
        blocks: modules whose outputs (or the first of them) become maps.
        **modules: that come before the maps.
    """

    def __init__(self, blocks: Sequence[nn.Module], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.maps = nn.ModuleList(nn.Identity() for _ in blocks)
        self._blocks = tuple(blocks)

    @property
    def layers(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """For ``AudioClassifier(layers=...)``."""
        return {f"maps.{number}": as_it_is for number in range(len(self.maps))}

    @contextmanager
    def through(self, show: Callable[[nn.Module, Tensor], Tensor]) -> Iterator[None]:
        """Inside, a block's output passes ``show``, with the module of its maps, on the way to the next block."""

        def hook_of(place: nn.Module) -> Callable[[nn.Module, Any, Any], Any]:
            def hook(_block: nn.Module, _inputs: Any, output: Any) -> Any:
                if isinstance(output, Tensor):
                    return show(place, output)
                return show(place, output[0]), *output[1:]

            return hook

        pairs = zip(self._blocks, self.maps, strict=True)
        # First in line, so that hooks of the model's own, which collect hidden states, see what is put in place.
        handles = [block.register_forward_hook(hook_of(place), prepend=True) for block, place in pairs]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class TokenMaps(ShownBlocks):
    """Base of wrapped transformers, whose blocks show their tokens as maps (B, D, F, N).

    They hold the cells of the clip alone: class tokens and padding are left out, so that a map resized to the clip is
    not stretched. What is read of a map, or put in its place, is what the next block receives.

    Args:
        model: its output is logits, has ``logits``, or is a tuple that begins with them.
        blocks: modules of it whose outputs (or the first of them) are tokens (B, L, D).
    """

    model: nn.Module

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__(blocks, model=model)

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return f"blocks={[name_of(self.model, block) for block in self._blocks]}"

    def run(self, inputs: Tensor, *, rows: int = 1, prefix: int = 0, steps: int | None = None) -> Tensor:
        """The model's logits.

        Args:
            inputs: what the model eats.
            rows: rows F of the token grid; tokens come row by row.
            prefix: tokens before the grid.
            steps: time steps that belong to the clip; default all.
        """
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), inputs.dtype)
        with self.through(lambda place, tokens: _through(place, tokens, rows, prefix, steps)):
            output = self.model(inputs.to(dtype))
        logits = getattr(output, "logits", output[0] if isinstance(output, tuple) else output)
        if not isinstance(logits, Tensor):
            raise ClassifierError(
                f"{type(self.model).__name__} returns no logits, so it is no classifier; load one with a head, such as "
                "transformers.AutoModelForAudioClassification"
            )
        return logits


def _through(place: nn.Module, tokens: Tensor, rows: int, prefix: int, steps: int | None) -> Tensor:
    """Tokens (B, prefix + rows * N, D), with the clip's part of the grid passed through ``place`` as (B, D, F, N)."""
    size, _, width = tokens.shape
    grid = tokens[:, prefix:].reshape(size, rows, -1, width).permute(0, 3, 1, 2)
    shown = place(grid[..., :steps])
    grid = torch.cat([shown, grid[..., shown.shape[-1] :]], -1)
    return torch.cat([tokens[:, :prefix], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def as_it_is(maps: Tensor) -> Tensor:
    """A layer's output that is a map (B, C, F, N) already."""
    return maps


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """A transformer's blocks: the last ``ModuleList`` called ``layers``, ``layer`` or ``blocks``.

    Raises:
        ClassifierError: there is none.
    """
    lists = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and name.split(".")[-1] in ("layers", "layer", "blocks")
    ]
    if not lists:
        raise ClassifierError(f"{type(model).__name__} has no list of blocks whose tokens could be read")
    return list(lists[-1])


def blocks_of(model: nn.Module, asked: Sequence[int] | None) -> list[nn.Module]:
    """Those of :func:`find_blocks` that :func:`spread` chooses, up to the last."""
    found = find_blocks(model)
    return [found[number] for number in spread(len(found), asked, len(found) - 1)]


def spread(count: int, asked: Sequence[int] | None, last: int) -> list[int]:
    """The blocks to read of ``count``: those asked for, or at most four, evenly spread and ending with ``last``.

    Raises:
        ConfigError: a number out of range, or none.
    """
    if asked is None:
        last = max(0, last)
        return sorted({round((last + 1) * part / _MOST) - 1 for part in range(1, _MOST + 1)} - {-1})
    numbers = [number + count if number < 0 else number for number in asked]
    if not numbers or any(not 0 <= number < count for number in numbers):
        raise ConfigError(f"blocks={list(asked)!r}: the model has blocks 0 to {count - 1}; choose one or more of them")
    return sorted(set(numbers))
