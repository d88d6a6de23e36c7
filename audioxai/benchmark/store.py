"""Results kept by what they depend on: a killed run goes on, a changed setting redoes only what hangs on it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audioxai.errors import OutputError
from audioxai.files import write_bytes
from audioxai.metrics import Results

__all__ = ["Store", "key_of"]


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
        #: (kind, what, seconds, made now) of every result that was asked for, by its path.
        self.log: dict[Path, tuple[str, str, float, bool]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the folder; the lock goes with the process, however it ends.

        Raises:
            OutputError: another run is at work there, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", timeout=0)
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another run is writing into {str(self.folder)!r}; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise OutputError(
                f"{str(self.folder)!r} cannot be written ({error.strerror or error}); choose another --out"
            ) from error
        try:
            yield
        finally:
            lock.release()
            if made and [path.name for path in self.folder.iterdir()] == [".lock"]:  # nothing came of it
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
        self, kind: str, what: str, inputs: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any] | None]
    ) -> tuple[Path, dict[str, Any]]:
        """A result, made now unless it is there.

        Args:
            kind: subfolder.
            what: in words, for the log.
            inputs: all that it depends on.
            work: writes it to the path that it is given, each file whole; returns facts to keep.

        Returns:
            Its path, and its facts with ``"seconds"``.
        """
        place = self.place(kind, inputs)
        facts = self.made(kind, inputs)
        fresh = facts is None
        if facts is None:
            start = time.perf_counter()
            place.parent.mkdir(parents=True, exist_ok=True)
            found = dict(work(place) or {})
            # The record comes last: without it the result does not count.
            facts = {"what": what, "inputs": dict(inputs), "seconds": time.perf_counter() - start, **found}
            write_bytes(self._record(kind, inputs), json.dumps(facts, indent=1).encode())
        self.log.setdefault(place, (kind, what, float(facts["seconds"]), fresh))
        return place, facts

    def scores(self, what: str, inputs: Mapping[str, Any], work: Callable[[], Results | str]) -> Results | str:
        """Scores of one explainer on one test set, evaluated now unless they are there; or why there are none."""

        def save(place: Path) -> dict[str, Any]:
            found = work()
            if isinstance(found, str):
                return {"reason": found}
            found.save(place.with_suffix(".scores.npz"))
            return {}

        place, facts = self.make("scores", what, inputs, save)
        if "reason" in facts:
            return str(facts["reason"])
        try:
            return Results.load(place.with_suffix(".scores.npz"))
        except OutputError as error:
            raise OutputError(f"{error}; delete {str(self._record('scores', inputs))!r} to make them anew") from error

    def _record(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        return self.place(kind, inputs).with_suffix(".json")
