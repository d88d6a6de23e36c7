"""A progress bar for methods that take many passes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]


@contextmanager
def bar(name: str, total: int, show: bool) -> Iterator[Callable[[int], object]]:
    """A bar over ``total`` passes, if wanted and if there is a terminal; yields the function that advances it."""
    from tqdm.auto import tqdm

    # None shows it on a terminal only; a notebook is none, and has a bar of its own.
    hidden = None if "ipykernel" not in sys.modules else False
    with tqdm(total=total, desc=name, unit="pass", leave=False, disable=hidden if show else True) as shown:
        yield shown.update
