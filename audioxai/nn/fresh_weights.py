"""Fresh weights for a trained network, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["NORMS", "randomise", "weights_kept"]

#: Normalisation layers, which keep their weights.
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@torch.no_grad()
def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Fresh values for a module's own parameters: Xavier-uniform, and 0.01 for those of one dimension.

    Normalisation is left as it is, and so are the modules inside, but for those of attention, which uses their weights
    without calling them.
    """
    if isinstance(module, NORMS):
        return
    for parameter in module.parameters(recurse=isinstance(module, nn.MultiheadAttention)):
        fresh = torch.full(parameter.shape, 0.01)
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(fresh, generator=generator)
        parameter.copy_(fresh)


@contextmanager
def weights_kept(network: nn.Module) -> Iterator[None]:
    """Whatever happens inside, parameters and buffers are afterwards what they were, after an error too."""
    kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in network.state_dict().items():
                value.copy_(kept[name])
