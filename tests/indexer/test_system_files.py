"""Files and folders that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from factcensus.indexer.errors import DiskFullError, InputError
from factcensus.indexer.system.files import (
    create_file,
    explain_full_disk,
    new_folder,
    replaced_file,
    write_atomically,
    write_json,
)
from factcensus.indexer.system.locks import lock_folder, locked


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, a partial file would take space that is needed."""

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "x", b"new content")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_two_writers_of_one_path_do_not_mix_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    with replaced_file(path, shared=True) as first, replaced_file(path, shared=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last
    assert names(tmp_path) == ["counts.csv"]


def test_json_is_indented_and_paths_become_text(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"path": Path("a/b"), "name": "é"})
    assert (tmp_path / "x.json").read_text() == '{\n  "path": "a/b",\n  "name": "\\u00e9"\n}\n'


def test_a_new_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with new_folder(out) as partial:
        (partial / "a").touch()
        assert names(out) == []
    assert names(tmp_path) == ["out"]
    assert names(out) == ["a"]


def test_a_folder_with_content_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write() -> None:
        with new_folder(out) as partial:
            (partial / "new").touch()
            out.mkdir()
            (out / "old").touch()

    with pytest.raises(OSError, match="not empty"):
        write()
    assert names(tmp_path) == ["out"]
    assert names(out) == ["old"]


def test_a_failed_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "out") as partial:
            (partial / "a").touch()
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert names(tmp_path) == []


def test_a_created_file_is_private_and_never_overwrites(tmp_path: Path) -> None:
    create_file(tmp_path / "x", "one")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "x", "two")
    assert (tmp_path / "x").read_text() == "one"


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    message = "run the same command again: it starts over"
    with pytest.raises(DiskFullError, match=message), explain_full_disk(tmp_path, "it starts over"):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_a_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, wait=True), pytest.raises(BlockingIOError), locked(path, wait=False):
        raise AssertionError
    with locked(path, wait=False):
        pass


def test_a_locked_folder_is_refused_and_so_is_a_removed_one(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(InputError, match="another process is changing"), lock_folder(tmp_path):
        raise AssertionError
    with lock_folder(tmp_path):
        pass


def test_files_of_killed_writers_are_removed_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factcensus.indexer.system.files._cleaned", set())
    hexadecimal = "0123456789abcdef" * 2
    killed, used, fresh, other = (
        tmp_path / name
        for name in (
            f"a.csv.{hexadecimal}.partial",
            f"b.{hexadecimal}.partial",
            f"c.{hexadecimal}.partial",
            "d.partial",
        )
    )
    for path in (killed, used, fresh, other):
        path.write_text("half")
        if path != fresh:
            os.utime(path, (1, 1))
    with locked(used, wait=False):
        write_atomically(tmp_path / "x", b"new", shared=True)
    assert names(tmp_path) == sorted(["x", used.name, fresh.name, other.name])


def test_shared_files_have_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        write_atomically(tmp_path / "x", b"new", shared=True)
        (tmp_path / "y").write_bytes(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_a_file_that_is_being_written_is_locked(tmp_path: Path) -> None:
    with replaced_file(tmp_path / "x", shared=True) as temporary:
        temporary.write_text("half")
        with pytest.raises(BlockingIOError), locked(temporary, wait=False):
            pass
