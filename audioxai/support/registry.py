"""Things by name: what is registered is known to the command line, the tables and the tests."""

from __future__ import annotations

import re
from typing import Any

from audioxai.errors import ConfigError

__all__ = ["add_named"]


def add_named(registry: dict[str, Any], name: str, entry: Any, what: str) -> None:
    """Add a class or function to a registry under a name that people type.

    One that is defined anew, as a notebook's cell does that runs again, takes its own place.

    Args:
        registry: name to entry; the order of registration is that of tables and help.
        name: lower-case letters, digits, ``+``, ``-`` and ``.``; commas and slashes have a meaning on the command line.
        entry: the class or function.
        what: it is, for errors.

    Raises:
        ConfigError: the name cannot be typed, or the name or the entry is taken.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", name) or name == "all":
        raise ConfigError(
            f"{name!r} cannot name {what}: take lower-case letters, digits, '+', '-' and '.', and not 'all'"
        )
    before = registry.get(name)
    if before is not None and _origin(before) != _origin(entry):
        raise ConfigError(f"{what} {name!r} is {_origin(before)} already; register {_origin(entry)} by another name")
    for other, known in registry.items():
        if other != name and known is entry:
            raise ConfigError(f"{_origin(entry)} is registered already, as {other!r}; it cannot be {name!r} as well")
    registry[name] = entry


def _origin(entry: Any) -> str:
    return f"{entry.__module__}.{entry.__qualname__}"
