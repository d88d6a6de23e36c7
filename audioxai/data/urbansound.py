"""UrbanSound8K in the layout of the published archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audioxai.data.clips import LabelledClips, check_folds, find_same_stem, read_table
from audioxai.data.registry import Split, register, split_by_folds
from audioxai.errors import AudioFileError
from audioxai.support.files import PathLike

__all__ = ["UrbanSound8K"]


class UrbanSound8K(LabelledClips):
    """Clips of UrbanSound8K with their classes; an item is (waveform (T,), class).

    Clips last up to 4 seconds. The ten folds are not to be reshuffled: clips of one recording share a fold.

    Args:
        root: folder with ``metadata/UrbanSound8K.csv`` and ``audio/fold1`` to ``audio/fold10``.
        folds: which of the folds 1 to 10.
        sample_rate: clips are resampled to it, in Hz.
        seconds: clips are cut or zero-padded to it; the L-MAC tables use 5.0.
        cache: folder for the decoded clips.
        skip_bad: leave out clips that are missing or cannot be read. Cache, errors and ``bad``: see :class:`ClipSet`.

    Attributes:
        labels: class names, sorted; a class is also the table's ``classID``.
        classes: of the clips.
        files: of the clips.

    Raises:
        AudioFileError: no such folder, one without the data set, or missing clips.

    Source: J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM Multimedia 2014.
    """

    def __init__(
        self,
        root: PathLike,
        *,
        folds: Sequence[int] = tuple(range(1, 11)),
        sample_rate: int = 16000,
        seconds: float = 4.0,
        cache: PathLike | None = None,
        skip_bad: bool = False,
    ) -> None:
        check_folds(folds, 10, "UrbanSound8K")
        home = Path(root)
        table = home / "metadata" / "UrbanSound8K.csv"
        if not table.is_file():
            raise AudioFileError(
                f"{str(root)!r} holds no UrbanSound8K: expected metadata/UrbanSound8K.csv and audio/fold1 to fold10 "
                "there. Get the archive from https://urbansounddataset.weebly.com and pass its folder"
            )
        rows = read_table(table, ("slice_file_name", "fold", "class"))
        labels = sorted({row["class"] for row in rows})
        chosen = [row for row in rows if row["fold"] in {str(int(fold)) for fold in folds}]
        super().__init__(
            home,
            find_same_stem([home / "audio" / f"fold{row['fold']}" / row["slice_file_name"] for row in chosen]),
            [labels.index(row["class"]) for row in chosen],
            labels,
            sample_rate=sample_rate,
            seconds=seconds,
            cache=cache,
            skip_bad=skip_bad,
        )


@register("us8k")
def _us8k(root: Path, **options: Any) -> Split:
    """Folds 1 to 8 train, fold 10 is explained, fold 9 contaminates it and is for choosing settings."""
    return split_by_folds(
        lambda folds: UrbanSound8K(root, folds=folds, **options), train=range(1, 9), test=10, others=9
    )
