"""Archives from the web: fetch with resume and checksum, unpack without trust."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from audioxai.errors import AudioFileError, ConfigError, OutputError
from audioxai.support.files import PathLike

__all__ = ["fetch", "sha256_of", "unpack"]

_BLOCK = 1 << 16
_PADDING = 16 << 20  # bytes after the last entry of a tar archive that are read at most
_TIMEOUT = 30.0  # seconds without a byte
_PAUSE = 1.0  # seconds before the next try
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError,
    ValueError,
)  # fmt: skip


def fetch(url: str, target: PathLike, *, sha256: str | None = None, tries: int = 5) -> Path:
    """Download a file, with a progress bar; what arrives is kept in ``target.part`` and resumed.

    Args:
        url: http or https.
        target: the file; one that is there and has the checksum, or any if that is unknown, is left as it is.
        sha256: 64 hexadecimal digits; ``None`` is unknown, which a warning says.
        tries: how often in a row the connection may fail without bringing anything new.

    Returns:
        ``target``.

    Raises:
        AudioFileError: no such file, no connection, or a wrong checksum; then nothing is kept.
        OutputError: ``target`` cannot be written.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ConfigError(f"url={url!r} must begin with http:// or https://")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"sha256={sha256!r} must be 64 hexadecimal digits, or None if it is not known")
    target = Path(target)
    if target.is_file() and sha256 in (None, sha256_of(target)):
        return target
    if sha256 is None:
        warnings.warn(f"the checksum of {url} is not known, so the download is not checked", stacklevel=2)
    part = target.with_name(target.name + ".part")
    with _on_disk(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    best, failures = 0, 0
    while problem := _receive(url, part):
        size = part.stat().st_size if part.exists() else 0
        best, failures = max(best, size), 0 if size > best else failures + 1
        if failures >= tries:
            raise AudioFileError(f"could not download {url}: {problem}; run it again to resume at {size} bytes")
        time.sleep(_PAUSE)
    if sha256 is not None and (found := sha256_of(part)) != sha256.lower():
        part.unlink()
        raise AudioFileError(
            f"{url} has the wrong checksum: expected sha256 {sha256.lower()}, got {found}; what came was deleted. "
            "Download it again, and look for a new checksum if the file has changed"
        )
    os.replace(part, target)
    return target


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receive(url: str, part: Path) -> str:
    """Get what is missing of a file; "" if it is whole, else what went wrong and may go better next time."""
    from tqdm import tqdm

    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "audioxai"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:  # nothing is missing, or what is here is not of this file
                if error.headers.get("Content-Range") == f"bytes */{start}":
                    return ""
                part.unlink()
                return "the part that was kept does not belong to it"
            if error.code >= 500 or error.code in (408, 429):
                return f"the server answers {error.code} {error.reason}"
            raise AudioFileError(f"could not download {url}: {error.code} {error.reason}; check the address") from error
    except (OSError, http.client.HTTPException) as error:
        return f"{getattr(error, 'reason', None) or error or type(error).__name__}"
    if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        start = 0  # the server sends the whole file again
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    shown = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
    with response, _on_disk(part), part.open("ab" if start else "wb") as file, shown as bar:
        while True:
            try:
                block = response.read(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                return f"{error or type(error).__name__}"
            if not block:
                return "" if total in (None, start) else f"the connection ended after {start} of {total} bytes"
            start += file.write(block)
            bar.update(len(block))


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"could not write {str(path)!r}: {error.strerror or error}") from error


def unpack(archive: PathLike, folder: PathLike, *, max_bytes: int = 16 << 30, max_files: int = 200_000) -> Path:
    """Unpack a ZIP or tar archive into a folder, whole or not at all.

    Args:
        archive: ``.zip``, ``.tar``, ``.tar.gz`` or the like, told by its content.
        folder: where its entries go; it is created, and entries that are there already are not overwritten.
        max_bytes: of all that comes out.
        max_files: entries.

    Returns:
        ``folder``.

    Raises:
        AudioFileError: damaged, or with an entry that is a link or a device, has an absolute path or ``..``, or
            exists already, or with more in it than allowed; nothing is unpacked then.
        OutputError: the folder cannot be written.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise AudioFileError(f"{str(archive)!r} is not a file; check the path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as temporary:
            _extract(archive, Path(temporary), max_bytes, max_files)
            entries = sorted(Path(temporary).iterdir())
            if there := [entry.name for entry in entries if (folder / entry.name).exists()]:
                raise _refused(archive, f"{str(folder / there[0])!r} exists already; move it away first")
            for entry in entries:
                shutil.move(entry, folder / entry.name)
    except _DAMAGED as error:
        raise AudioFileError(
            f"{str(archive)!r} cannot be unpacked ({error}); delete it and download it again"
        ) from error
    except AudioFileError:
        raise
    except OSError as error:
        raise OutputError(f"could not unpack {str(archive)!r} into {str(folder)!r}: {error}") from error
    return folder


def _extract(archive: Path, folder: Path, max_bytes: int, max_files: int) -> None:
    """Unpack all entries after a look at every one; neither library writes more of an entry than it announces."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as pack:
            _check(archive, pack.infolist(), max_bytes, max_files)
            pack.extractall(folder)
        return
    try:
        tar = tarfile.open(archive)  # noqa: SIM115 (see below)
    except tarfile.ReadError as error:
        raise tarfile.ReadError("it is neither ZIP nor tar, or cut off") from error
    with tar:
        _check(archive, tar, max_bytes, max_files)
        tar.extraction_filter = getattr(
            tarfile, "data_filter", lambda entry, _: entry
        )  # Python 3.11.0 to 3.11.3 has none
        tar.extractall(folder)
        for _ in range(_PADDING // _BLOCK):  # the checksum of a .tar.gz comes after its last entry
            if tar.fileobj is None or not tar.fileobj.read(_BLOCK):
                break


def _check(archive: Path, entries: Iterable[zipfile.ZipInfo | tarfile.TarInfo], max_bytes: int, max_files: int) -> None:
    seen: set[PurePosixPath] = set()
    total = 0
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, zipfile.ZipInfo):
            name, size, folder = entry.filename, entry.file_size, entry.is_dir()
            form = stat.S_IFMT(entry.external_attr >> 16)  # 0 if the archive was not made on Unix
            plain = folder or form in (0, stat.S_IFREG)
            entry.filename = name.replace("\\", "/")
        else:
            name, size, folder = entry.name, entry.size, entry.isdir()
            plain = folder or entry.isreg()
            entry.name = name.replace("\\", "/")
        path = PurePosixPath(name.replace("\\", "/"))
        total += size
        if number > max_files:
            raise _refused(archive, f"it has more than {max_files} entries")
        if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts):
            raise _refused(archive, f"its entry {name!r} would lie outside the folder")
        if not plain:
            raise _refused(archive, f"its entry {name!r} is a link or a device")
        if path in seen and not folder:
            raise _refused(archive, f"its entry {name!r} is there twice")
        if total > max_bytes:
            raise _refused(archive, f"it holds more than {max_bytes} bytes")
        seen.add(path)


def _refused(archive: Path, reason: str) -> AudioFileError:
    return AudioFileError(f"{str(archive)!r} is not unpacked: {reason}")
