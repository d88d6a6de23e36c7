"""Every explainer by the name that people type: of ``--method``, of the benchmark's rows, of what the tests check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from audioxai.errors import ConfigError
from audioxai.explainers.base import Explainer
from audioxai.support.registry import add_named

__all__ = ["EXPLAINERS", "register"]

#: Name to class, in the order of help and tables. The package's own come from ``audioxai/explainers/__init__.py``.
EXPLAINERS: dict[str, type[Explainer]] = {}

Kind = TypeVar("Kind", bound=type[Explainer])


def register(name: str) -> Callable[[Kind], Kind]:
    """Class decorator that makes an explainer known everywhere, at once and whenever it is used.

    Args:
        name: such as ``"gradcam++"``: lower-case letters, digits, ``+``, ``-`` and ``.``.

    Raises:
        ConfigError: not an explainer, a name that cannot be typed, or a name, class or class's name that is taken.
    """

    def known(kind: Kind) -> Kind:
        if not (isinstance(kind, type) and issubclass(kind, Explainer)):
            raise ConfigError(f"register({name!r}) is for subclasses of audioxai.Explainer; got {kind!r}")
        for other, one in EXPLAINERS.items():
            if other != name and one is not kind and one.__name__ == kind.__name__:
                raise ConfigError(
                    f"{other!r} is a class {kind.__name__} too, and rows of tables are named by class; "
                    f"give {kind.__module__}.{kind.__qualname__} another name"
                )
        add_named(EXPLAINERS, name, kind, "explainer")
        return kind

    return known
