"""Files that are written whole: their permissions, and what is left when writing fails."""

from __future__ import annotations

import os
import stat

import pytest

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


def test_write_whole_passes_other_errors_on_and_cleans_up(tmp_path):
    def fail(file):
        file.write(b"half")
        assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.json", fail)
    assert list(tmp_path.iterdir()) == []
    write_whole(tmp_path / ("long" * 50 + ".json"), lambda file: file.write(b"whole") and None)
    assert (tmp_path / ("long" * 50 + ".json")).read_bytes() == b"whole"
