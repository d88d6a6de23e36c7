"""Files that are written whole: their permissions, and what is left when writing fails."""

from __future__ import annotations

import os
import stat

import pytest

from audioxai.errors import OutputError
from audioxai.support.files import write_bytes, write_whole


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_user_gives_new_ones(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "new", b"x")
        (tmp_path / "plain").write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failure_leaves_what_was_there(tmp_path):
    write_bytes(tmp_path / "file", b"first")

    def write(file):
        file.write(b"sec")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="could not write .*file': No space left"):
        write_whole(tmp_path / "file", write)
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
