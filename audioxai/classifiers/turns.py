"""Calls on one network that change it for their length (its mode, its hooks) take turns between threads.

The locks stand here and not in the networks, which so can be copied and pickled, and belong to a network whatever wraps
it.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakKeyDictionary

from torch import nn

__all__ = ["turn_of"]

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


def turn_of(network: nn.Module) -> threading.RLock:
    """The lock of a network; a thread that holds it may take it again."""
    with _guard:
        return _locks.setdefault(network, threading.RLock())


def _start_anew() -> None:
    """In a forked process there are no other threads, which could give a lock back."""
    global _guard
    _guard = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
