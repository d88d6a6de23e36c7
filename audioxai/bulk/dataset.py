"""Explain a whole data set: shards that several processes share, that a killed run goes on with."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from audioxai.bulk.shard import Shard, Work
from audioxai.bulk.shard_files import INDEX, RUN, read_dataset, shard_name, write_index
from audioxai.bulk.sources import SourceLike, open_source
from audioxai.bulk.streaming import check_windows
from audioxai.classifiers.targets import TargetLike, parse_target
from audioxai.errors import ConfigError, OutputError
from audioxai.explainers.base import at_least_one
from audioxai.support.files import PathLike, write_bytes, write_whole
from audioxai.support.identity import describe, differences, digest_of
from audioxai.version import __version__

if TYPE_CHECKING:
    from audioxai.explainers.base import Explainer

__all__ = ["DatasetReport", "explain_dataset", "read_dataset"]

_FORMAT = 2
_IDLE = 0.2  # seconds between looks at the shards of other processes


@dataclass(frozen=True)
class DatasetReport:
    """What became of a data set.

    Args:
        folder: of the results.
        clips: how many the data set has.
        failed: name and reason of those that could not be read or explained.
        made: shards that this process wrote.
    """

    folder: Path
    clips: int
    failed: tuple[tuple[str, str], ...]
    made: int

    @property
    def index(self) -> Path:
        """The CSV with one line a clip."""
        return self.folder / INDEX


def explain_dataset(
    explainer: Explainer,
    source: SourceLike,
    out: PathLike,
    *,
    target: TargetLike = None,
    shard_size: int = 100,
    longest: float = 60.0,
    window: float = 10.0,
    overlap: float = 1.0,
    progress: bool = True,
) -> DatasetReport:
    """Explain every clip of a data set into shards and an index; a second call goes on where the first was stopped.

    Any number of processes may work on one folder, started by ``accelerate launch``, torchrun or one by one, on one
    machine or on several that share a disk: each takes a shard that no other is at, and all return when all is done.
    The files are the same for any number of processes with the same number of threads each. A process that is killed
    loses the shard that it was at.

    ``out`` then holds ``index.csv``, one line a clip with the probability of its target in the input, in what is kept
    and in what is removed; ``shard-000000.tar`` and so on, in WebDataset's layout, with the kept and the removed sound
    (16-bit FLAC at the classifier's rate), the mask (16-bit floats) and a JSON for each clip; and a record of each
    shard and of the run. :func:`audioxai.read_dataset` reads them.

    Args:
        explainer: fitted. Its classifier's device is where the work is done.
        source: a folder, searched with all below it; a list of files; a data set of the library datasets with a column
            ``"audio"``, or the folder where it was saved.
        out: folder; new, or of the same run.
        target: one for all clips, see :mod:`audioxai.classifiers.targets`; default the predicted class of each clip.
        shard_size: clips in a shard. For recordings of hours, 1.
        longest: in s; longer recordings are explained window by window in flat memory, see
            :func:`audioxai.bulk.streaming.explain_long`.
        window: of long recordings, in s.
        overlap: of their windows, in s.
        progress: show a bar.

    Returns:
        What was done, with the clips that failed; these do not stop the others, and are not tried again.

    Raises:
        ConfigError: an option out of range, or ``out`` holds the run of another explainer, source, version or options.
        TargetError: a target that is not one for all clips.
        AudioFileError: no audio in the folder.
        OutputError: ``out`` cannot be written.
        Any other error that is not a clip's own, such as a lost device: it has a note with the clip's name, and the
            shard is left unfinished.
    """
    out = Path(out)
    size = at_least_one("shard_size", shard_size)
    check_windows(window, overlap)
    if not longest > 0:
        raise ConfigError(f"longest={longest} must be a positive length in seconds")
    parse_target(target, 1, explainer.classifier.for_targets([target]).labels)
    clips = open_source(source, out)
    shards = [range(first, min(first + size, clips.size)) for first in range(0, clips.size, size)]
    options = {"target": _told(target), "shard_size": size, "longest": longest, "window": window, "overlap": overlap}
    _begin(
        out,
        {
            "format": _FORMAT,
            "version": __version__,
            "explainer": explainer.identity(),
            "source": {"clips": clips.size, "fingerprint": clips.fingerprint},
            "options": options,
        },
    )
    made = _share(out, shards, Work(explainer, clips, target, longest, window, overlap), progress)
    records = [(shard_name(number), _record(out, number)) for number in range(len(shards))]
    write_index(out, records)
    failed = [(row["name"], row["error"]) for _, record in records for row in record["clips"] if "error" in row]
    return DatasetReport(out, clips.size, tuple(failed), made)


def _told(target: TargetLike) -> Any:
    """A target in a word: as it is, or its name and what tells it from others of that name."""
    plain = describe(target)
    if not isinstance(plain, list):
        return plain
    return f"{getattr(target, '__name__', type(target).__name__)} {digest_of(target)[:16]}"


def _begin(out: Path, run: dict[str, Any]) -> None:
    """Note what is done in a folder, or find the same noted there."""
    note = out / RUN
    try:
        with _alone(out, ".run", wait=True):
            if not note.is_file():
                if found := sorted(path.name for path in out.iterdir() if not path.name.startswith(".")):
                    raise OutputError(
                        f"{str(out)!r} already holds {found[0]!r} and is no explained data set; choose another"
                    )
                write_bytes(note, json.dumps(run, indent=1).encode())
                return
            before = json.loads(note.read_text())
            written = before.get("format")
            other = differences(before, json.loads(json.dumps(run)))
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{str(out)!r} cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    except (ValueError, AttributeError) as error:
        raise OutputError(f"{str(note)!r} cannot be read ({error}); choose another folder") from error
    if written != _FORMAT:
        raise ConfigError(
            f"{str(out)!r} holds a run that another version of audioxai began, in format {written!r}; this one goes on "
            f"with format {_FORMAT} only. Finish it with that version, or choose another folder"
        )
    if other:
        raise ConfigError(f"{str(out)!r} holds another run: {'; '.join(other)}. Choose another folder for this one")


@contextmanager
def _alone(out: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Hold a lock, which goes with the process however it ends; gives whether it could be had."""
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / f"{name}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _share(out: Path, shards: Sequence[range], work: Work, progress: bool) -> int:
    """Make all shards that no other process is making, and wait for those; how many were made here."""
    from tqdm.auto import tqdm

    made, pending = 0, dict(enumerate(shards))
    with tqdm(desc="explain", unit="clip", total=work.source.size, disable=not progress) as bar:
        while pending:
            before = len(pending)
            for number, indices in list(pending.items()):
                if _finished(out, number):
                    bar.update(len(indices))
                else:
                    with _alone(out, f".{shard_name(number)}", wait=False) as mine:
                        if not mine:
                            continue
                        if not _finished(out, number):  # by whoever had the lock before
                            _make(out, number, indices, work, bar.update)
                            made += 1
                        (out / f".{shard_name(number)}.lock").unlink(missing_ok=True)
                del pending[number]
            if len(pending) == before:
                time.sleep(_IDLE)
    return made


def _make(out: Path, number: int, indices: range, work: Work, tick: Callable[[], object]) -> None:
    """Write a shard and the record beside it. The tar comes last: without it the shard does not count."""
    name = shard_name(number)
    for left in out.glob(f".{name}.*"):  # by a process that was killed
        if left.is_dir():
            shutil.rmtree(left)
        elif left.suffix != ".lock":
            left.unlink()

    def write(file: BinaryIO) -> None:
        with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}.") as folder:
            rows = Shard(work, file, Path(folder), tick).write(indices)
        write_bytes(out / f"{name}.json", json.dumps({"clips": rows}, indent=1).encode())

    write_whole(out / f"{name}.tar", write)


def _finished(out: Path, number: int) -> bool:
    return (out / f"{shard_name(number)}.tar").is_file()


def _record(out: Path, number: int) -> dict[str, Any]:
    path = out / f"{shard_name(number)}.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    except (OSError, ValueError) as error:
        tar = path.with_suffix(".tar")
        raise OutputError(f"{str(path)!r} cannot be read ({error}); delete {str(tar)!r} to make both anew") from error
