"""How long audio files are: what their headers tell, and where that is missing, or more than there is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from audioxai.errors import AudioFileError
from audioxai.support.files import PathLike

__all__ = ["count_samples", "cut_short", "open_audio", "read_blocks"]

_UNKNOWN_FRAMES = 2**62  # libsndfile gives "unknown length" as the largest frame count
_BLOCK = 1 << 18
_OGG_PAGE = 65307  # the longest possible
_STREAMED_BYTES = 0x7F000000  # FFmpeg writes 0xFFFFFFFF into a pipe, SoX 0x7FFFF000 or 0x7F000000, arecord 0x80000000


@contextmanager
def open_audio(path: PathLike) -> Iterator[tuple[Any, int | None]]:
    """A ``soundfile.SoundFile``, to be read from its start on, and how many samples its header tells, if it does.

    Raises:
        AudioFileError: missing, empty, cut short or not audio, also while it is read inside.
    """
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise AudioFileError(f"{str(path)!r} is not a file; check the path")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{str(path)!r} is empty (0 bytes)")
    with ExitStack() as opened:
        try:
            file = opened.enter_context(soundfile.SoundFile(os.fsencode(path)))  # as bytes: names need not be UTF-8
            announced = int(file.frames) if file.frames < _UNKNOWN_FRAMES else None
            if missing := _cut_off(path, file.format):
                raise AudioFileError(f"{str(path)!r} is truncated: {missing}; copy or download it again")
            if file.format == "MP3" and (promise := _promise_length(path, int(file.samplerate))):
                whole = opened.enter_context(tempfile.TemporaryFile())
                whole.write(promise[0])
                with path.open("rb") as raw:
                    raw.seek(promise[1])
                    shutil.copyfileobj(raw, whole)
                whole.seek(0)
                file, announced = opened.enter_context(soundfile.SoundFile(whole)), None
            # soundfile seeks after every read where it can, and a seek in an MP3 spoils the frame that comes next.
            file.seekable = lambda: False
            yield file, announced
        except soundfile.SoundFileError as error:
            formats = "WAV, FLAC, Ogg or MP3"
            raise AudioFileError(f"{str(path)!r} cannot be read as audio ({error}); expected {formats}") from error


def read_blocks(file: Any) -> Iterator[np.ndarray[Any, Any]]:
    """Samples (T, C) of an open file, in blocks to its end."""
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        yield block


def count_samples(path: PathLike) -> tuple[int, int]:
    """Samples of a file and its rate in Hz, by its header, or by reading it where that does not tell.

    Raises:
        AudioFileError: as for :func:`open_audio`.
    """
    with open_audio(path) as (file, announced):
        count = sum(map(len, read_blocks(file))) if announced is None else announced
        return count, int(file.samplerate)


def cut_short(path: PathLike, announced: int, read: int) -> AudioFileError:
    """The error for a file with fewer samples than its header announces."""
    return AudioFileError(f"{str(path)!r} is truncated: its header announces {announced} samples, {read} could be read")


def _promise_length(path: Path, rate: int) -> tuple[bytes, int] | None:
    """For an MP3 without a length in its first frame: a frame that promises too many, and where it goes.

    libsndfile guesses a missing length from the bit rate and stops there, which cuts clips of variable rate short.
    """
    with path.open("rb") as raw:
        head, start = raw.read(10), 0
        if head[:3] == b"ID3":
            start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        raw.seek(start)
        data = raw.read(_BLOCK)
    first = data.find(b"\xff")
    frame = bytearray(data[first : first + 4]) if first >= 0 else bytearray()
    if len(frame) < 4 or any(tag in data[first : first + 200] for tag in (b"Xing", b"Info", b"VBRI")):
        return None
    mpeg1, mono = frame[1] & 0x18 == 0x18, frame[3] & 0xC0 == 0xC0
    frame[1] |= 1  # no checksum
    frame[2] = 0x90 | frame[2] & 0x0C  # same rate; 128 or 80 kbit/s, whence the frame's length
    side = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    frames = path.stat().st_size // 24 + 1  # no frame is shorter
    info = bytes(frame) + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return info.ljust((144 * 128_000 if mpeg1 else 72 * 80_000) // rate, b"\0"), start + first


def _cut_off(path: Path, kind: str) -> str:
    """What a file cut short lacks, where libsndfile shortens the clip in silence; "" for a whole file."""
    size = path.stat().st_size
    with path.open("rb") as raw:
        if kind == "OGG":
            raw.seek(max(0, size - 2 * _OGG_PAGE))
            tail = raw.read()
            page = tail[tail.rfind(b"OggS") :]
            lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
            whole = len(page) > 26 and len(lacing) == page[26] and len(page) >= 27 + len(lacing) + sum(lacing)
            return "" if whole else "its last Ogg page is not complete"
        head = raw.read(24)
        if kind in ("WAV", "WAVEX") and head[:4] == b"RIFF":
            announced = _end_of_data(raw, 12, 4, "little")
        elif kind == "CAF":
            announced = _end_of_data(raw, 8, 8, "big")
        elif kind == "AIFF":
            announced = _end(8, int.from_bytes(head[4:8], "big"))
        elif kind == "AU" and head[:4] == b".snd":
            announced = _end(int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big"))
        elif kind == "W64":
            announced = int.from_bytes(head[16:24], "little")
        else:
            return ""
    return f"its header announces {announced} bytes, it has {size}" if announced > size else ""


def _end_of_data(raw: BinaryIO, start: int, width: int, order: Literal["little", "big"]) -> int:
    """Where the data chunk should end: chunks follow each other from ``start``, their sizes in ``width`` bytes."""
    raw.seek(start)
    while len(head := raw.read(4 + width)) == 4 + width:
        size = int.from_bytes(head[4:], order)
        if head[:4] == b"data":
            return _end(raw.tell(), size)
        raw.seek(raw.tell() + size + (size % 2 if width == 4 else 0))  # WAV pads chunks to even sizes
    return 0


def _end(start: int, size: int) -> int:
    """End of ``size`` bytes from ``start``; 0 where the size is what programs write that do not know it yet."""
    return 0 if size == 0 or size >= _STREAMED_BYTES else start + size
