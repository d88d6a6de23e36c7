"""Files that are written whole or not at all, and safe names for them."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from audioxai.errors import AudioXAIError, OutputError

__all__ = ["PathLike", "alone", "folder_names", "write_bytes", "write_whole"]

PathLike = str | os.PathLike[str]

_LONGEST_NAME = 120  # bytes; systems take 255


def write_whole(path: PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Call ``write`` on a temporary file beside ``path``, then move it into place in one step.

    Raises:
        OutputError: a full disk, a folder that cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex}.part")
        with temporary.open("x+b") as file:  # with the permissions that the user's files have
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except AudioXAIError:  # some are OSErrors, but tell already what went wrong
        raise
    except OSError as error:
        raise OutputError(f"could not write {str(path)!r}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all; see :func:`write_whole`."""

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_whole(path, write)


@contextmanager
def alone(lock: Path, *, wait: bool, remove: bool = False) -> Iterator[bool]:
    """Hold a lock file, whose folder is created, and which goes with the process however that ends.

    Args:
        lock: the file.
        wait: until whoever holds it lets go.
        remove: delete it after a block that ran through, whose result then tells that the work is done.

    Returns:
        Whether it could be had.
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, timeout=-1 if wait else 0)
    try:
        held.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
        if remove:
            lock.unlink(missing_ok=True)
    finally:
        held.release()


def folder_names(names: Sequence[str]) -> list[str]:
    """Safe, distinct folder names: path separators and odd characters become underscores."""
    taken: set[str] = set()
    result = []
    for name in names:
        safe = re.sub(r"[^\w.()-]+", "_", name).encode()[:_LONGEST_NAME].decode(errors="ignore").strip("._") or "clip"
        place = safe
        number = 1
        while place.casefold() in taken:  # some file systems do not tell case apart
            number += 1
            place = f"{safe}_{number}"
        taken.add(place.casefold())
        result.append(place)
    return result
