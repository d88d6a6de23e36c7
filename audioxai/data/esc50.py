"""ESC-50, and its ten-class subset ESC-10, in the layout of the published archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audioxai.data.clips import LabelledClips, check_folds, find_same_stem, read_table
from audioxai.data.download import fetch, unpack
from audioxai.data.registry import Split, register, split_by_folds
from audioxai.errors import AudioFileError
from audioxai.support.files import PathLike

__all__ = ["ESC50"]

ARCHIVE_URL = "https://github.com/karolpiczak/ESC-50/archive/master.zip"
ARCHIVE_FOLDER = "ESC-50-master"
ARCHIVE_SHA256: str | None = None  # GitHub makes the archive on request, so its bytes may change


class ESC50(LabelledClips):
    """Clips of ESC-50 with their classes; an item is (waveform (T,), class).

    The clips may be in any format that libsndfile reads: for ``1-100032-A-0.wav`` in the table, a file
    ``1-100032-A-0.ogg`` is taken where there is no such WAV.

    Args:
        root: folder with ``meta/esc50.csv`` and ``audio/``, or the folder above ``ESC-50-master``.
        folds: which of the folds 1 to 5.
        esc10: only the ten-class subset.
        sample_rate: clips are resampled to it, in Hz.
        seconds: clips are cut or zero-padded to it.
        download: fetch and unpack the published archive (600 MB) into ``root`` if the data set is not there.
        sha256: of that archive. ``None``, the default, is unknown, since the archive is made on request; it is
            then checked only by the checksums inside, and a warning says so.
        cache: folder for the decoded clips.
        skip_bad: leave out clips that are missing or cannot be read. Cache, errors and ``bad``: see :class:`ClipSet`.

    Attributes:
        labels: class names, sorted.
        classes: of the clips.
        files: of the clips.

    Raises:
        AudioFileError: no such folder, one without the data set, missing clips, or a failed download.

    Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
    """

    def __init__(
        self,
        root: PathLike,
        *,
        folds: Sequence[int] = (1, 2, 3, 4, 5),
        esc10: bool = False,
        sample_rate: int = 16000,
        seconds: float = 5.0,
        download: bool = False,
        sha256: str | None = ARCHIVE_SHA256,
        cache: PathLike | None = None,
        skip_bad: bool = False,
    ) -> None:
        check_folds(folds, 5, "ESC-50")
        home = _home(Path(root))
        if home is None and download:
            archive = fetch(ARCHIVE_URL, Path(root) / f"{ARCHIVE_FOLDER}.zip", sha256=sha256)
            unpack(archive, root)
            archive.unlink()
            home = _home(Path(root))
        if home is None:
            raise AudioFileError(
                f"{str(root)!r} holds no ESC-50: expected meta/esc50.csv and audio/ there. Pass download=True, or get "
                "the archive from https://github.com/karolpiczak/ESC-50 and pass its folder"
            )
        table = read_table(home / "meta" / "esc50.csv", ("filename", "fold", "category", "esc10"))
        rows = [row for row in table if not esc10 or row["esc10"] == "True"]
        labels = sorted({row["category"] for row in rows})
        chosen = [row for row in rows if row["fold"] in {str(int(fold)) for fold in folds}]
        super().__init__(
            home,
            find_same_stem([home / "audio" / row["filename"] for row in chosen]),
            [labels.index(row["category"]) for row in chosen],
            labels,
            sample_rate=sample_rate,
            seconds=seconds,
            cache=cache,
            skip_bad=skip_bad,
        )


def _home(root: Path) -> Path | None:
    return next((f for f in (root, root / ARCHIVE_FOLDER) if (f / "meta" / "esc50.csv").is_file()), None)


@register("esc50")
def _esc50(root: Path, **options: Any) -> Split:
    """Folds 1 to 3 train, fold 5 is explained, fold 4 contaminates it and is for choosing settings."""
    return split_by_folds(
        lambda folds: ESC50(root, folds=folds, **options), train=(1, 2, 3), test=5, others=4, published="ESC-50"
    )


@register("esc10")
def _esc10(root: Path, **options: Any) -> Split:
    """The ten-class subset, divided likewise."""
    return _esc50(root, esc10=True, **options)
