"""Calls that change a network for their length (its mode, its hooks) take turns between threads.

Modules that belong together share a lock, however many classifiers wrap them or parts of them. The locks stand here and
not in the modules, which so can be copied and pickled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import nn

__all__ = ["turn_of"]

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


@contextmanager
def turn_of(module: nn.Module) -> Iterator[None]:
    """Inside, no other thread is in the turn of a module that shares a part with this one; a thread may nest turns."""
    with _guard:
        parts = list(module.modules())
        known = {id(lock): lock for part in parts if (lock := _locks.get(part)) is not None}
        # What was wrapped in parts and now as a whole has several, always taken in one order.
        locks = [lock for _, lock in sorted(known.items())] or [threading.RLock()]
        for part in parts:
            _locks.setdefault(part, locks[0])
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        yield


def _start_anew() -> None:
    """In a forked process there are no other threads, which could give a lock back."""
    global _guard
    _guard = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
