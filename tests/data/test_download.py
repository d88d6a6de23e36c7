"""Fetching from a server that cuts connections, and unpacking archives that mean ill."""

import hashlib
import http.server
import io
import re
import stat
import tarfile
import threading
import zipfile

import pytest
import torch

import audioxai.data.download as module
import audioxai.data.esc50 as esc50
from audioxai.data import ESC50, fetch, unpack
from audioxai.errors import AudioFileError, ConfigError, OutputError

CONTENT = hashlib.shake_256(b"archive").digest(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content`` and notes the Range of each request; ``cut`` bytes end the first answers early."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.cuts, self.knows_ranges, self.says_length = CONTENT, [], [], True, True
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}/data.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.knows_ranges else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    target = tmp_path / "new" / "data.zip"
    assert fetch(server.url, target, sha256=SHA256.upper()) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["data.zip"]
    fetch(server.url, target, sha256=SHA256)
    assert server.ranges == [None]
    target.write_bytes(b"changed")
    fetch(server.url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kept", "cuts", "knows_ranges", "asked"),
    [
        (b"", [100_000, 50_000], True, [None, "bytes=100000-", "bytes=150000-"]),
        (b"", [100_000], False, [None, "bytes=100000-"]),  # starts over
        (CONTENT, [], True, ["bytes=300000-"]),  # needs no more
        (CONTENT * 2, [], True, ["bytes=600000-", None]),  # of another file
    ],
)
def test_a_part_is_resumed_in_the_same_call(server, tmp_path, kept, cuts, knows_ranges, asked):
    if kept:
        (tmp_path / "data.zip.part").write_bytes(kept)
    server.cuts, server.knows_ranges = list(cuts), knows_ranges
    fetch(server.url, tmp_path / "data.zip", sha256=SHA256)
    assert server.ranges == asked
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_what_was_kept_is_resumed_in_a_later_call(server, tmp_path):
    server.cuts = [100_000, 0, 0]
    with pytest.raises(AudioFileError, match=r"ended after 100000 of 300000 bytes; run it again to resume at 100000"):
        fetch(server.url, tmp_path / "data.zip", sha256=SHA256, tries=2)
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:100_000]
    assert not (tmp_path / "data.zip").exists()
    server.ranges.clear()
    fetch(server.url, tmp_path / "data.zip", sha256=SHA256)
    assert server.ranges == ["bytes=100000-"]
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_server_that_always_cuts_is_given_up(server, tmp_path):
    server.knows_ranges, server.cuts = False, [100_000] * 50
    with pytest.raises(AudioFileError, match="ended after 100000"):
        fetch(server.url, tmp_path / "data.zip", sha256=SHA256, tries=3)
    assert len(server.ranges) == 4


def test_a_wrong_checksum_keeps_nothing(server, tmp_path):
    wrong = "0" * 64
    with pytest.raises(AudioFileError, match=rf"expected sha256 {wrong}, got {SHA256}"):
        fetch(server.url, tmp_path / "data.zip", sha256=wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_checksum_is_said_once(server, tmp_path):
    server.says_length = False
    with pytest.warns(UserWarning, match="checksum of .* is not known") as warned:
        fetch(server.url, tmp_path / "data.zip")
    assert len(warned) == 1
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    fetch(server.url, tmp_path / "data.zip")  # nothing to fetch, nothing to say


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 3)])
def test_a_server_that_refuses(server, tmp_path, status, requests):
    server.status = status
    with pytest.raises(AudioFileError, match=str(status)):
        fetch(server.url, tmp_path / "data.zip", sha256=SHA256, tries=3)
    assert len(server.ranges) == requests


def test_what_cannot_be_fetched(server, tmp_path):
    for url in ("file:///etc/passwd", "data.zip"):
        with pytest.raises(ConfigError, match="http"):
            fetch(url, tmp_path / "x")
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        fetch(server.url, tmp_path / "x", sha256="abc")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"could not write .*x\.part"):
        fetch(server.url, tmp_path / "file" / "x", sha256=SHA256)
    (tmp_path / "taken.part").mkdir()
    with pytest.raises(OutputError, match=r"could not write .*taken\.part"):
        fetch(server.url, tmp_path / "taken", sha256=SHA256)
    server.shutdown()
    server.server_close()
    with pytest.raises(AudioFileError, match="refused"):
        fetch(server.url, tmp_path / "x", sha256=SHA256, tries=2)


def zip_of(path, entries, mode=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode is not None:
                info.external_attr = mode << 16
            pack.writestr(info, data)
    return path


def tar_of(path, entries, **attributes):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return path


GOOD = [("set/meta/a.csv", b"a,b\n"), ("set/audio/x.wav", b"sound" * 1000), ("readme", b"")]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_good_archives(make, tmp_path):
    folder = tmp_path / "out" / "deep"
    assert unpack(make(tmp_path / "archive", GOOD), folder) == folder
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == dict(GOOD)
    assert sorted(p.name for p in folder.iterdir()) == ["readme", "set"]
    with pytest.raises(AudioFileError, match=r"readme' exists already"):
        unpack(tmp_path / "archive", folder)


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize(
    "name", ["/etc/evil", "../evil", "set/../../evil", "..\\evil", "\\evil", "C:\\evil", "c:evil", "set/.."]
)
def test_entries_that_would_leave_the_folder(make, name, tmp_path):
    archive = make(tmp_path / "archive", [*GOOD, (name, b"evil")])
    with pytest.raises(AudioFileError, match="would lie outside"):
        unpack(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["archive", "out"]  # nothing is unpacked


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tar(kind, tmp_path):
    archive = tar_of(tmp_path / "archive", [("x", b"")], type=kind, linkname="/etc/passwd")
    with pytest.raises(AudioFileError, match="link or a device"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_zip(tmp_path):
    archive = zip_of(tmp_path / "archive", [("x", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777)
    with pytest.raises(AudioFileError, match="link or a device"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_bombs(make, tmp_path):
    archive = make(tmp_path / "archive", [(f"{i}", bytes(1_000_000)) for i in range(5)])
    assert archive.stat().st_size < 50_000
    with pytest.raises(AudioFileError, match="more than 4999999 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=4_999_999)
    with pytest.raises(AudioFileError, match="more than 4 entries"):
        unpack(archive, tmp_path / "out", max_files=4)
    assert list((tmp_path / "out").iterdir()) == []
    unpack(archive, tmp_path / "out", max_bytes=5_000_000, max_files=5)


def test_a_bomb_that_announces_little(tmp_path):
    archive = zip_of(tmp_path / "archive", [("x", bytes(1_000_000))])
    whole = archive.read_bytes()
    size = whole.index(b"PK\x01\x02") + 24  # of the entry, in the directory at the end
    archive.write_bytes(whole[:size] + (1).to_bytes(4, "little") + whole[size + 4 :])
    with pytest.raises(AudioFileError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_damaged_archives(make, tmp_path):
    whole = make(tmp_path / "archive", [("x", CONTENT)]).read_bytes()
    for number, data in enumerate((whole[:150_000], whole[:1000] + b"\0" * 1000 + whole[2000:], b"", b"no archive")):
        (tmp_path / f"{number}").write_bytes(data)
        with pytest.raises(AudioFileError, match=r"cannot be unpacked .*download it again"):
            unpack(tmp_path / f"{number}", tmp_path / "out")
    with pytest.raises(AudioFileError, match="not a file"):
        unpack(tmp_path / "missing", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_entry_that_is_there_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = zip_of(tmp_path / "archive", [("x", b"1"), ("x", b"2")])
    with pytest.raises(AudioFileError, match="twice"):
        unpack(archive, tmp_path / "out")


def test_esc50_downloads_itself(server, tmp_path, esc_folder, monkeypatch):
    made = esc_folder("ESC-50-master")
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as pack:
        for file in made.rglob("*"):
            pack.write(file, file.relative_to(tmp_path))
    server.content = (tmp_path / "made.zip").read_bytes()
    monkeypatch.setattr(esc50, "ARCHIVE_URL", server.url)
    root = tmp_path / "downloaded"
    with pytest.raises(AudioFileError, match="download=True"):
        ESC50(root)
    with pytest.raises(AudioFileError, match="wrong checksum"):
        ESC50(root, download=True, sha256="1" * 64)
    with pytest.warns(UserWarning, match="checksum"):
        data = ESC50(root, download=True, seconds=0.5)
    assert data.root == root / "ESC-50-master"
    assert torch.equal(data.tensors()[0], ESC50(made, seconds=0.5).tensors()[0])
    assert [p.name for p in root.iterdir()] == ["ESC-50-master"]
    requests = len(server.ranges)
    assert len(ESC50(root, download=True)) == 5  # it is there
    assert len(server.ranges) == requests
