"""Several processes at one run: each takes what no other is making, and all find it in the store."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from audioxai.benchmark.run_files import BusyError

__all__ = ["drain", "helpers"]

_LAST = 10.0  # seconds in which a worker that finds nothing more to do ends by itself


@contextmanager
def helpers(
    target: Callable[..., None], arguments: Sequence[Any], count: int, say: Callable[[str], None]
) -> Iterator[None]:
    """While the block runs, ``count`` processes call ``target(*arguments, number)``, number from 1.

    One that fails is told; its work is left to the others.
    """
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=target, args=(*arguments, n), daemon=True) for n in range(1, count + 1)]
    try:
        for process in started:
            process.start()
        yield
        for process in started:
            process.join(_LAST)
    finally:
        failed = sum(bool(process.exitcode) for process in started)
        for process in started:
            process.kill()
        if failed:
            say(f"{failed} of {count} workers failed; the others did their work")


def drain(jobs: Sequence[Callable[[], Any]], *, leader: int | None = None, idle: float = 0.2) -> None:
    """Do all jobs that no other process is doing, and wait until those are done too.

    Args:
        jobs: each raises :class:`BusyError` while another process is at it, and returns at once when it is done.
        leader: process that this one helps; when it has ended, the rest is left.
        idle: seconds between looks when all that is left is busy.
    """
    pending = list(jobs)
    while pending:
        left = []
        for job in pending:
            if leader is not None and os.getppid() != leader:
                raise SystemExit(0)
            try:
                job()
            except BusyError:
                left.append(job)
        if len(left) == len(pending):
            time.sleep(idle)
        pending = left
