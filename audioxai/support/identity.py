"""Values as short JSON that is the same in every process, so that results of two different ones are never mixed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["describe", "digest_of", "hash_weights"]


def digest_of(value: Any) -> str:
    """SHA-256 of :func:`describe`."""
    return hashlib.sha256(json.dumps(describe(value), sort_keys=True).encode()).hexdigest()


def describe(value: Any) -> Any:
    """A value as JSON types; functions by their code and by what they hold and name, objects by their attributes."""
    return _describe(value, [])


def _describe(value: Any, seen: list[Any]) -> Any:
    """With ``seen``, each function and object is described once, however often and by whatever way it is reached."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        digest = hashlib.sha256(repr(value).encode())
        hash_weights(digest, value)
        return digest.hexdigest()
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        return [str(plain.dtype), list(plain.shape), _bytes(plain.flatten().view(torch.uint8).numpy().tobytes())]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return [str(value.dtype), list(value.shape), _bytes(value.tobytes())]
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Mapping):
        return {str(key): _describe(entry, seen) for key, entry in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_describe(entry, seen) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted((_describe(entry, seen) for entry in value), key=json.dumps)
    if isinstance(value, functools.partial):
        return ["partial", *(_describe(part, seen) for part in (value.func, value.args, value.keywords))]
    if isinstance(value, MethodType):
        return ["method", _describe(value.__func__, seen), _describe(value.__self__, seen)]
    for number, one in enumerate(seen):
        if value is one:
            return ["seen", number]
    seen.append(value)
    if isinstance(value, FunctionType):
        return ["function", value.__module__, value.__qualname__, *_function(value, seen)]
    if hasattr(value, "__qualname__"):  # a class, or a function without code of its own
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__dict__"):
        return [kind, _describe(vars(value), seen)]
    told = repr(value)
    return [kind, None if " at 0x" in told else told]  # an address is another in each process


def hash_weights(digest: hashlib._Hash, module: nn.Module) -> None:
    """Add the names and values of a module's weights to a digest."""
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def _function(function: FunctionType, seen: list[Any]) -> list[Any]:
    """Code, defaults, captured values, and the plain values and functions of its module that it names."""
    captured = []
    for cell in function.__closure__ or ():
        try:
            captured.append(_describe(cell.cell_contents, seen))
        except ValueError:  # not assigned yet
            captured.append(None)
    named = {
        name: _describe(value, seen)
        for name, value in ((name, function.__globals__.get(name)) for name in _names(function.__code__))
        if not isinstance(value, ModuleType | type)
    }
    defaults = _describe([function.__defaults__, function.__kwdefaults__], seen)
    return [_code(function.__code__), defaults, captured, named]


def _names(code: CodeType) -> list[str]:
    """What a function and those inside it look up by name."""
    inner = [name for item in code.co_consts if isinstance(item, CodeType) for name in _names(item)]
    return sorted({*code.co_names, *inner})


def _code(code: CodeType) -> list[Any]:
    constants = [_code(item) if isinstance(item, CodeType) else describe(item) for item in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _bytes(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
