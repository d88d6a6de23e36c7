"""A progress bar for methods that take many passes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar", "disable"]


def disable(show: bool) -> bool | None:
    """tqdm's ``disable``: bars are shown, if wanted, on a terminal and in a notebook, which is no terminal."""
    ipython = sys.modules.get("IPython")
    # A kernel that runs, not the package imported: only the first has a widget to draw on.
    in_notebook = ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    return (False if in_notebook else None) if show else True


@contextmanager
def bar(name: str, total: int, show: bool) -> Iterator[Callable[[int], object]]:
    """A bar over ``total`` passes, if wanted and if there is a place for it; yields the function that advances it."""
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=name, unit="pass", leave=False, disable=disable(show)) as shown:
        yield shown.update
