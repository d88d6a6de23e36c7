"""Checks of options: each gives the value back, or says by the option's name what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, TypeVar

from audioxai.errors import ConfigError

__all__ = ["at_least_one", "one_of", "positive", "share", "whole_number"]

T = TypeVar("T")


def whole_number(name: str, value: Any) -> int:
    """A whole number, or a ConfigError."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name}={value!r} must be a whole number")
    return int(value)


def at_least_one(name: str, value: Any) -> int:
    """A whole number of at least 1, or a ConfigError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"{name}={value!r} must be a whole number of at least 1")
    return int(value)


def one_of(name: str, value: T, known: Iterable[Any]) -> T:
    """A value that is among those known, or a ConfigError that lists them."""
    if value not in (choices := tuple(known)):
        raise ConfigError(f"{name}={value!r} is not known; choose one of {', '.join(map(repr, choices))}")
    return value


def positive(name: str, value: float) -> float:
    """A number above 0, or a ConfigError."""
    if not value > 0:
        raise ConfigError(f"{name}={value!r} must be positive")
    return value


def share(name: str, value: float, interval: str = "[0, 1]") -> float:
    """A number between 0 and 1, or a ConfigError; round brackets leave an end out."""
    if not 0 <= value <= 1 or (interval[0] == "(" and value == 0) or (interval[-1] == ")" and value == 1):
        raise ConfigError(f"{name}={value} must lie in {interval}")
    return value
