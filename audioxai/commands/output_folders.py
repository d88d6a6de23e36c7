"""Folders that a command writes into: nothing half-written, nothing overwritten unasked, fits that can be resumed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioxai.errors import ConfigError, OutputError
from audioxai.support.files import write_bytes

if TYPE_CHECKING:
    from audioxai.explainers.explanation import Explanation

__all__ = ["FitRun", "distinct_names", "output_folder", "save_clip"]

_LONGEST = 120  # bytes of a name; systems take 255, and suffixes follow


@contextmanager
def output_folder(out: Path, *, overwrite: bool = False) -> Iterator[None]:
    """Make sure that ``out`` can be written before any work starts; remove it if it was made here and stayed empty.

    Raises:
        OutputError: it holds files and ``overwrite`` is off, is a file, or cannot be written.
    """
    made = not out.exists()
    try:
        if not made and not out.is_dir():
            raise OutputError(f"--out {str(out)!r} is a file; choose a folder")
        if not made and not overwrite and any(out.iterdir()):
            raise OutputError(f"--out {str(out)!r} already holds files; choose another folder or pass --overwrite")
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"--out {str(out)!r} cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    try:
        yield
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def distinct_names(files: Sequence[Path]) -> list[str]:
    """One name per file that also names its folder of results; those that repeat get their parent folder or a number.

    Case and characters that folders replace do not make names distinct.
    """
    from audioxai.support.files import folder_names

    names: list[str] = []
    taken: set[str] = set()

    def free(name: str) -> bool:
        return folder_names([name])[0].casefold() not in taken

    for file in files:
        short = file.name.encode(errors="surrogateescape")[:_LONGEST].decode(errors="ignore")
        name, number = short, 2
        if not free(name) and file.absolute().parent.name:
            parent = file.absolute().parent.name.encode(errors="surrogateescape")[:_LONGEST].decode(errors="ignore")
            name = f"{parent}_{short}"
        base = name
        while not free(name):
            name, number = f"{base}_{number}", number + 1
        taken.add(folder_names([name])[0].casefold())
        names.append(name)
    return names


def save_clip(explanation: Explanation, out: Path) -> None:
    """Write the files of one clip below ``out``: all of them or none.

    Raises:
        OutputError: they could not be written.
    """
    place: Path | None = None
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".audioxai-") as beside:
            try:
                explanation.save(beside)
            except OutputError as error:  # named after where the file was to go
                raise OutputError(str(error).replace(beside, str(out))) from error.__cause__
            for folder in sorted(Path(beside).iterdir()):
                place = out / folder.name
                place.mkdir(exist_ok=True)
                for file in sorted(folder.iterdir()):
                    os.replace(file, place / file.name)
    except FileExistsError as error:
        raise OutputError(f"{str(place)!r} is a file, but results go there; choose another --out") from error
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"could not write into {str(out)!r}: {error.strerror or error}") from error


class FitRun:
    """A fit into a folder: its options, and the checkpoints that live there until it is finished.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.classifier_checkpoint = folder / "classifier-checkpoint.safetensors"
        self.explainer_checkpoint = folder / "lmac-checkpoint.safetensors"
        self._record = folder / "fit.json"

    @property
    def classifier_saved(self) -> bool:
        return (self.folder / "classifier.json").is_file()

    @property
    def finished(self) -> bool:
        return (self.folder / "explainer.json").is_file()

    def require_interrupted(self) -> None:
        """There is a run to resume.

        Raises:
            OutputError: nothing was started here.
        """
        if not self._record.is_file():
            raise OutputError(f"--resume: no fit was started in {str(self.folder)!r}; run it without --resume")

    def start(self, options: dict[str, Any], *, resume: bool) -> None:
        """Begin with ``options``, or go on with the run that was begun with the same.

        A new run removes an older model of this folder, so that its parts never mix with the new ones.

        Raises:
            ConfigError: the run to resume had other options or clips.
            OutputError: the record cannot be read or written.
        """
        if resume:
            self.require_interrupted()
            try:
                before = json.loads(self._record.read_text())
                other = [f"{k}={before.get(k)!r}, now {v!r}" for k, v in options.items() if before.get(k) != v]
            except (OSError, ValueError, AttributeError) as error:
                raise OutputError(
                    f"{str(self._record)!r} cannot be read ({error}); start anew with --overwrite"
                ) from error
            if other:
                raise ConfigError(
                    f"--resume: the run in {str(self.folder)!r} was started with {'; '.join(other)}; "
                    "give the same options and clips, or start anew with --overwrite"
                )
            return
        old = ("classifier.json", "classifier.safetensors", "explainer.json", "decoder.safetensors")
        for path in (*(self.folder / name for name in old), self.classifier_checkpoint, self.explainer_checkpoint):
            _remove(path)
        write_bytes(self._record, json.dumps(options, indent=2).encode())

    def finish(self) -> None:
        """The model is saved: its checkpoints are no longer needed."""
        _remove(self.classifier_checkpoint)
        _remove(self.explainer_checkpoint)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot remove {str(path)!r}: {error.strerror}") from error
