"""Intercept activation functions wherever a network calls them: in modules, as functions, in place.

Hooks on modules, as in Captum and shap, miss ``torch.relu(x)`` without a word and mix up a module that is called
twice. Here each call is seen by itself, and the caller's network is not touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["ACTIVATIONS", "ELEMENTWISE", "MAXIMA", "Intercept", "functions_of"]

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
    "hardtanh", "hardswish", "hardsigmoid", "sigmoid", "tanh", "logsigmoid", "softsign",
)  # fmt: skip
ELEMENTWISE = (
    *ACTIVATIONS, "log", "log1p", "log10", "log2", "exp", "expm1", "sqrt", "rsqrt", "square", "pow", "reciprocal",
    "abs", "clamp", "clamp_min", "clamp_max",
)  # fmt: skip
MAXIMA = (
    "amax", "max", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d",
)  # fmt: skip


def functions_of(names: Iterable[str]) -> dict[Any, tuple[str, bool]]:
    """Every torch function under these names, to (name, whether it works in place)."""
    found: dict[Any, tuple[str, bool]] = {}
    for name in names:
        for place in (torch, F, Tensor):
            for suffix in ("", "_"):
                function = getattr(place, name + suffix, None)
                if function is not None:
                    found[function] = (name, suffix == "_")
    if "pow" in names:
        found[Tensor.__pow__] = ("pow", False)
    return found


class Intercept(TorchFunctionMode):
    """Replace calls of some functions on tensors that require gradients.

    Args:
        names: functions to replace.
        replacement: gets (the function's name, a call of one tensor, that tensor) and gives the result.
        watched: further functions that are only counted.

    Attributes:
        count: calls per function name, watched ones included.
    """

    def __init__(
        self,
        names: Iterable[str],
        replacement: Callable[[str, Callable[[Tensor], Tensor], Tensor], Tensor],
        watched: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self._replacement = replacement
        self._names = set(names)
        self._known = functions_of({*watched, *self._names})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        known = self._known.get(func)
        x = args[0] if args else kwargs.get("input")
        if known is None or not isinstance(x, Tensor) or not x.requires_grad:
            return func(*args, **kwargs)
        name, in_place = known
        self.count[name] += 1
        if name not in self._names:
            return func(*args, **kwargs)
        kwargs.pop("input", None)
        rest = args[1:]
        if kwargs.pop("inplace", False) or (len(rest) == 1 and rest[0] is True):
            rest, in_place = (), True
        call = lambda y: func(y.clone() if in_place else y, *rest, **kwargs)  # noqa: E731
        if name == "max":
            return self._maximum(func, x, rest, kwargs)
        if in_place:
            # The caller may go on with the tensor itself rather than with the result.
            return x.copy_(self._replacement(name, call, x.clone()))
        return self._replacement(name, call, x)

    def _maximum(self, func: Any, x: Tensor, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``max`` along one dimension gives values and indices; the other two kinds are no maximum over cells."""
        found = func(x, *rest, **kwargs)
        if isinstance(found, Tensor):
            return found
        dim = kwargs.get("dim", rest[0] if rest else 0)
        keep = kwargs.get("keepdim", rest[1] if len(rest) > 1 else False)
        values = self._replacement("amax", lambda y: y.amax(dim, keep), x)
        return torch.return_types.max((values, found.indices))
