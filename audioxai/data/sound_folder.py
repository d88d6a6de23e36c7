"""Folders of speech or noise, to contaminate clips with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from audioxai.data.clips import ClipSet
from audioxai.errors import AudioFileError, ConfigError
from audioxai.sound.files import find_audio
from audioxai.support.files import PathLike

__all__ = ["SoundFolder"]


class SoundFolder(ClipSet, Dataset[Tensor]):
    """Every audio file below a folder, sorted by path, without labels; an item is a waveform (T,).

    Args:
        root: the folder.
        limit: only the first so many files.
        sample_rate, seconds, cache, skip_bad: see :class:`ClipSet`, also for errors and ``bad``.

    Raises:
        AudioFileError: no such folder, or no audio in it.
    """

    def __init__(
        self,
        root: PathLike,
        *,
        sample_rate: int = 16000,
        seconds: float = 5.0,
        limit: int | None = None,
        cache: PathLike | None = None,
        skip_bad: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise ConfigError(f"limit={limit!r} must be a number of files from 1 up, or None for all")
        if not Path(root).is_dir():
            raise AudioFileError(f"{str(root)!r} is not a folder; check the path")
        files = find_audio([root])[:limit]
        super().__init__(root, files, sample_rate=sample_rate, seconds=seconds, cache=cache, skip_bad=skip_bad)

    def __getitem__(self, index: int) -> Tensor:
        return self.clip(index)

    def tensors(self) -> Tensor:
        """All clips (B, T)."""
        return self.clips()

    @classmethod
    def ljspeech(cls, root: PathLike, *, limit: int | None = 10_000, **options: Any) -> SoundFolder:
        """LJSpeech from its folder with ``wavs/``: the first 10 000 readings by name, as in the L-MAC tables.

        The options are those of the class.
        """
        if not (wavs := Path(root) / "wavs").is_dir():
            raise AudioFileError(
                f"{str(root)!r} holds no LJSpeech: expected wavs/ there. Get the archive from "
                "https://keithito.com/LJ-Speech-Dataset and pass its folder"
            )
        return cls(wavs, limit=limit, **options)

    @classmethod
    def wham(cls, root: PathLike, *, part: str = "tr", **options: Any) -> SoundFolder:
        """WHAM! noise from its folder: the subfolder ``part`` (``tr``, ``cv`` or ``tt``) if there is one, else all.

        The options are those of the class.
        """
        folder = inside if (inside := Path(root) / part).is_dir() else Path(root)
        return cls(folder, **options)
