"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from posesplat.files import whole_file, write_text


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "result.npz"
    with whole_file(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".npz"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert [path.name for path in target.parent.iterdir()] == ["result.npz"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), whole_file(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "name.txt", "café 5°\n")
    assert (tmp_path / "name.txt").read_bytes() == b"caf\xc3\xa9 5\xc2\xb0\n"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
