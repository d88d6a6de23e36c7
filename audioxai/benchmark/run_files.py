"""Results kept by what they depend on: a killed run goes on, a changed setting redoes only what hangs on it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from audioxai.errors import OutputError
from audioxai.metrics import Results
from audioxai.support.files import alone, write_bytes

__all__ = ["BusyError", "Store", "key_of"]


class BusyError(Exception):
    """Another process is making the result that was asked for; told to the run itself alone."""


def key_of(inputs: Mapping[str, Any]) -> str:
    """A short name for everything that a result depends on (JSON types)."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """A folder of results, each under the key of its inputs and beside a JSON that tells them.

    Args:
        folder: created if needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: (kind, what, facts, new to this run) of every result that was asked for, by its path.
        self.log: dict[Path, tuple[str, str, dict[str, Any], bool]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the folder; the lock goes with the process, however it ends.

        Raises:
            OutputError: another run is at work there, or the folder cannot be written.
        """
        made = not self.folder.exists()
        with ExitStack() as held:
            try:
                mine = held.enter_context(alone(self.folder / ".lock", wait=False))
            except OSError as error:
                raise OutputError(
                    f"{str(self.folder)!r} cannot be written ({error.strerror or error}); choose another --out"
                ) from error
            if not mine:
                raise OutputError(
                    f"another run is writing into {str(self.folder)!r}; wait for it, or choose another --out"
                )
            try:
                yield
            finally:
                if made and [path.name for path in self.folder.iterdir()] == [".lock"]:  # nothing came of it
                    held.close()
                    (self.folder / ".lock").unlink()
                    self.folder.rmdir()

    def place(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        """Where a result of these inputs is, or will be."""
        return self.folder / kind / key_of(inputs)

    def made(self, kind: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What :meth:`record` wrote for a finished result, or ``None``."""
        try:
            facts: dict[str, Any] = json.loads(self._record(kind, inputs).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(self._record(kind, inputs))!r} cannot be read ({error}); delete it") from error
        return facts

    def make(
        self,
        kind: str,
        what: str,
        inputs: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any] | None],
        *,
        wait: bool = True,
    ) -> tuple[Path, dict[str, Any]]:
        """A result, made now unless it is there. One process makes it, however many ask.

        Args:
            kind: subfolder.
            what: in words, for the log.
            inputs: all that it depends on.
            work: writes it to the path that it is given, each file whole; returns facts to keep.
            wait: for another process that is making it.

        Returns:
            Its path, and its facts with ``"seconds"``.

        Raises:
            BusyError: another process is making it, with ``wait=False``.
        """
        place = self.place(kind, inputs)
        facts = self.made(kind, inputs)
        fresh = facts is None
        if facts is None:
            # Once the result is there, the lock may go: whoever waited finds it.
            with alone(place.with_suffix(".lock"), wait=wait, remove=True) as mine:
                if not mine:
                    raise BusyError(str(place))
                facts = self.made(kind, inputs)  # while this process waited
                if facts is None:
                    start = time.perf_counter()
                    found = dict(work(place) or {})
                    # The record comes last: without it the result does not count.
                    facts = {"what": what, "inputs": dict(inputs), "seconds": time.perf_counter() - start, **found}
                    write_bytes(self._record(kind, inputs), json.dumps(facts, indent=1).encode())
        self.log.setdefault(place, (kind, what, facts, fresh))
        return place, facts

    def scores(
        self,
        what: str,
        inputs: Mapping[str, Any],
        work: Callable[[], tuple[Results, Mapping[str, Any]] | str],
        *,
        wait: bool = True,
    ) -> Results | str:
        """Scores of one explainer on one test set, evaluated now unless they are there; or why there are none.

        Args:
            what, inputs, wait: see :meth:`make`.
            work: returns the scores and facts to keep, or the reason why there are none.
        """

        def save(place: Path) -> Mapping[str, Any]:
            found = work()
            if isinstance(found, str):
                return {"reason": found}
            results, facts = found
            results.save(place.with_suffix(".scores.npz"))
            return facts

        place, facts = self.make("scores", what, inputs, save, wait=wait)
        if "reason" in facts:
            return str(facts["reason"])
        try:
            return Results.load(place.with_suffix(".scores.npz"))
        except OutputError as error:
            raise OutputError(f"{error}; delete {str(self._record('scores', inputs))!r} to make them anew") from error

    def _record(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        return self.place(kind, inputs).with_suffix(".json")
