"""Words to the terminal."""

from __future__ import annotations

import os
import sys

__all__ = ["on_terminal", "say", "tell"]


def say(text: str) -> None:
    """A line on stdout; work goes on when nobody reads it any more."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)


def tell(text: str) -> None:
    """A line on stderr."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def on_terminal() -> bool:
    """Whether somebody watches: progress is shown only then."""
    return sys.stderr is not None and sys.stderr.isatty()
