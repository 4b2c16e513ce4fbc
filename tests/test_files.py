"""Files and directories that are there as a whole or not at all, whoever else writes them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from glot_rag.errors import InputError
from glot_rag.files import new_directory, replace_directory, sync_tree, write_atomically


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    contents = [bytes([number]) * 50_000 for number in range(8)]
    write_atomically(path, contents[0])
    problems: list[object] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                write_atomically(path, content)
                if path.read_bytes() not in contents:
                    problems.append("half a file")
        except OSError as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_a_new_directory_gets_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with new_directory(target) as folder:
        (folder / "file").write_bytes(b"1")
        sync_tree(folder)
        assert not target.exists()
    assert (target / "file").read_bytes() == b"1"
    assert [file.name for file in target.parent.iterdir()] == ["target"]
    with pytest.raises(InputError, match="exists and is not an empty directory; choose another"), new_directory(target):
        pass
    (tmp_path / "empty").mkdir()
    with new_directory(tmp_path / "empty") as folder:
        (folder / "file").touch()
    assert (tmp_path / "empty" / "file").exists()


def test_a_new_directory_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with new_directory(tmp_path / "target") as folder:
            (folder / "file").touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []


def make(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_a_directory_takes_anothers_place(tmp_path: Path) -> None:
    target = make(tmp_path / "target", "old")
    (target / "more").write_text("of the old one")
    replace_directory(make(tmp_path / "new", "new"), target)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert {path.name: path.read_text() for path in target.iterdir()} == {"file": "new"}


def test_a_directory_gets_a_free_name(tmp_path: Path) -> None:
    replace_directory(make(tmp_path / "new", "new"), tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_old_one_is_back_where_a_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, new = make(tmp_path / "target", "old"), make(tmp_path / "new", "new")
    rename = os.rename

    def fail(source: Path, destination: Path) -> None:
        if Path(source) == new:
            assert not target.exists()  # it stands aside
            raise OSError("the disk is full")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="the disk is full"):
        replace_directory(new, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target"]
    assert (target / "file").read_text() == "old"
