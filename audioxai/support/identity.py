"""What results depend on, as short JSON that is the same in every process, so that those of two are never mixed.

What counts, and what does not:

* Of a network the names of its modules in order, their types' names, what ``extra_repr`` tells of each, and the
  weights. Not the mode, the device or ``requires_grad``; nor a setting that ``extra_repr`` does not tell, nor what else
  ``repr`` shows, which changes with the versions of libraries.
* Of a function its source text, comments and all, its defaults, the values that it closes over, and the values and
  functions among the globals that it names; modules and classes count by name. Of functions of Python's own library,
  NumPy and torch only the name and captured values count. Where no source can be had, as after ``exec``, the bytecode
  stands in for it, and another Python version takes the function for another one.
* Of any other object its type's name, its attributes, and the function behind ``__call__``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import logging
import re
import sys
import textwrap
from collections.abc import Collection, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError

__all__ = ["describe", "differences", "digest_of", "option_names", "options_of"]

_LIBRARIES = {*sys.stdlib_module_names, "numpy", "torch"}  # whose source changes with their versions, not ours
_ADDRESS = re.compile(" at 0x[0-9a-f]+", re.IGNORECASE)  # another in each process


def digest_of(value: Any) -> str:
    """SHA-256 of :func:`describe`."""
    return _digest(describe(value))


def describe(value: Any) -> Any:
    """A value as JSON types: numbers and texts as they are, the rest by what the head of this module says."""
    return _describe(value, [])


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two descriptions differ, in words such as ``options.width=8, now 16``; mappings entry by entry."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = {**before, **now}
        return [t for k in keys for t in differences(before.get(k), now.get(k), f"{name}.{k}" if name else k)]
    return [] if before == now else [f"{name}={before!r}, now {now!r}"]


# Options --------------------------------------------------------------------------------------------------------------


def option_names(kind: type) -> list[str]:
    """What the constructors of a class and of its bases take by name, beside their first argument; the bases' first."""
    found: dict[str, None] = {}
    for one in reversed(kind.__mro__):
        if isinstance(init := vars(one).get("__init__"), FunctionType):
            own = list(inspect.signature(init).parameters.values())[2:]  # without self and what is wrapped
            found |= {p.name: None for p in own if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return list(found)


def options_of(value: object, left_out: Collection[str] = ()) -> dict[str, Any]:
    """An object's options by :func:`option_names`, as its attributes of these names hold them.

    Raises:
        ConfigError: an option that is kept under no such name.
    """
    names = [name for name in option_names(type(value)) if name not in left_out]
    if missing := [name for name in names if not hasattr(value, name)]:
        raise ConfigError(
            f"{type(value).__name__} keeps no attribute {missing[0]!r} for its option of that name; set it in the "
            "constructor, so that it can be saved, and told from others"
        )
    return {name: getattr(value, name) for name in names}


# Values ---------------------------------------------------------------------------------------------------------------


def _describe(value: Any, seen: list[Any]) -> Any:
    """With ``seen``, each function and object is described once, however often and by whatever way it is reached."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        return _digest([[_told(name, part) for name, part in value.named_modules()], _weights(value, seen)])
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        return [str(plain.dtype), list(plain.shape), _sha(plain.flatten().view(torch.uint8).numpy().tobytes())]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return [str(value.dtype), list(value.shape), _sha(value.tobytes())]
    if isinstance(value, bytes):
        return _sha(value)
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
        return ["function", value.__name__, _digest(_function(value, seen))]
    if hasattr(value, "__qualname__"):  # a class, or a function that is not written in Python
        name, owner = f"{getattr(value, '__module__', None)}.{value.__qualname__}", getattr(value, "__self__", None)
        return name if owner is None or isinstance(owner, ModuleType | type) else [name, _describe(owner, seen)]
    kind = type(value).__qualname__
    if isinstance(value, logging.Logger):  # whose attributes lead to all others
        return [kind, value.name]
    if hasattr(value, "__dict__"):
        called = inspect.getattr_static(type(value), "__call__", None)
        called = _describe(called, seen) if isinstance(called, FunctionType) else None
        return [kind, _describe(vars(value), seen), called]
    told = repr(value)
    return [kind, None if _ADDRESS.search(told) else told]


def _told(name: str, module: nn.Module) -> list[str]:
    """A module's name, its type's, and its settings; lists of parameters tell their device, and no settings."""
    plain = isinstance(module, nn.ParameterList | nn.ParameterDict)
    return [name, type(module).__name__, "" if plain else _ADDRESS.sub("", module.extra_repr())]


def _weights(module: nn.Module, seen: list[Any]) -> list[Any]:
    return [[name, _describe(entry, seen)] for name, entry in sorted(module.state_dict().items())]


def _digest(described: Any) -> str:
    return _sha(json.dumps(described, sort_keys=True).encode())


def _sha(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


# Functions ------------------------------------------------------------------------------------------------------------


def _function(function: FunctionType, seen: list[Any]) -> list[Any]:
    """Text, defaults, captured values, and the plain values and functions of its module that it names."""
    code = function.__code__
    captured = []
    for cell in function.__closure__ or ():
        try:
            captured.append(_describe(cell.cell_contents, seen))
        except ValueError:  # not assigned yet
            captured.append(None)
    home = str(function.__globals__.get("__name__"))
    if home.partition(".")[0] in _LIBRARIES:
        return [f"{home}.{code.co_qualname}", captured]
    text, names = _source(code) or (_bytecode(code), set(_names(code)))
    reached = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
    named = {k: _describe(v, seen) for k, v in reached.items() if not isinstance(v, ModuleType | type)}
    return [text, _describe([function.__defaults__, function.__kwdefaults__], seen), captured, named]


def _source(code: CodeType) -> tuple[str, set[str]] | None:
    """A function's text and the global names in it; ``None`` where they cannot be had."""
    try:
        whole = "".join(inspect.findsource(code)[0])
        written = _written(whole)
    except (OSError, SyntaxError, ValueError):
        return None
    found = written.get((code.co_name, code.co_firstlineno), [])
    if len(found) > 1:
        found = [node for node in found if isinstance(node, ast.Lambda) and _is_of(node.body, code)]
    if not found:
        return None
    node = found[-1]  # the innermost
    text = ast.get_source_segment(whole, node, padded=True) or ""
    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return textwrap.dedent(text), names.intersection(_names(code))


_Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@functools.lru_cache(maxsize=16)
def _written(text: str) -> dict[tuple[str, int], list[_Node]]:
    """All functions in a file by name and first line; those on one line from left to right."""
    found: dict[tuple[str, int], list[_Node]] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _Node):
            name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
            above = [] if isinstance(node, ast.Lambda) else [d.lineno for d in node.decorator_list]
            found.setdefault((name, min([node.lineno, *above])), []).append(node)
    return {key: sorted(nodes, key=lambda node: node.col_offset) for key, nodes in found.items()}


def _is_of(body: ast.expr, code: CodeType) -> bool:
    """Whether code was made from the body of a lambda: all its instructions that have a place have it there."""
    first, last = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    places: list[Any] = [((at[0], at[2]), (at[1], at[3])) for at in code.co_positions() if None not in at]
    places = [(start, end) for start, end in places if start != end]
    return bool(places) and all(first <= start and end <= last for start, end in places)


def _names(code: CodeType) -> list[str]:
    """What a function and those inside it look up by name."""
    inner = [name for item in code.co_consts if isinstance(item, CodeType) for name in _names(item)]
    return [*code.co_names, *inner]


def _bytecode(code: CodeType) -> list[Any]:
    constants = [_bytecode(item) if isinstance(item, CodeType) else describe(item) for item in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]
