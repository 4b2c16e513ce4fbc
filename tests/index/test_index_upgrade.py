"""Format 1, as the first version wrote it: documents and vectors in one table, with one checksum."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import warnings
from pathlib import Path

import pytest
from hash_encoder import HashEncoder, assert_same_hits, brute_force
from numpy.testing import assert_allclose

from glot_rag.errors import IndexCorruptedError, IndexVersionError
from glot_rag.index import Document, GlotIndex, backup_index, upgrade

ENCODER = HashEncoder()


def expected():
    """It holds replaced and deleted documents, and a commit after the FAISS file."""
    kept = [number for number in range(30) if number % 7]
    kept.sort(key=lambda number: number % 5 == 0)  # those were replaced
    return [Document(f"text {n}" if n % 5 else f"new {n}", f"d{n}", {"n": n}) for n in kept]


@pytest.fixture
def path(tmp_path):
    return shutil.copytree(Path(__file__).parent / "data" / "format-1", tmp_path / "index")


def execute(path, sql):
    connection = sqlite3.connect(path / "store.sqlite")
    with connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def assert_is_upgraded(path):
    """To format 2, with all documents and vectors, and the FAISS file still good."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with GlotIndex.open(path, ENCODER) as index:
            assert index.manifest.format_version == 2
            assert list(index) == expected()
            assert index.verify().problems == ()
            assert_allclose(index.vectors(["d1", "d5"]), ENCODER.vectors(["text 1", "new 5"]), atol=1e-6)
            assert_same_hits(index.search("text 3", 7), brute_force(ENCODER, expected(), "text 3", 7))


def test_a_writer_brings_it_to_this_format(path, tmp_path):
    assert_is_upgraded(path)
    with GlotIndex.open(path, ENCODER, read_only=True) as reader:
        assert list(reader) == expected()
        backup_index(reader, tmp_path / "copy")
    assert_is_upgraded(tmp_path / "copy")
    with GlotIndex.open(path, ENCODER) as index:
        index.add([Document("late", "late")])
        index.compact()
        index.reindex("hnsw")
        assert index.verify().ok
        assert list(index) == [*expected(), Document("late", "late")]


def test_a_reader_says_what_to_do_and_changes_nothing(path):
    before = (path / "store.sqlite").read_bytes()
    with pytest.raises(IndexVersionError, match=r"format version 1, .* reads 2\. Open it for writing.*compact"):
        GlotIndex.open(path, read_only=True)
    assert (path / "store.sqlite").read_bytes() == before


@pytest.mark.parametrize("column", ["text = 'forged'", "vector = zeroblob(64)", "metadata = '{}'", "sequence = 9"])
def test_what_was_damaged_stays_refused_and_can_be_repaired(path, column):
    execute(path, f"UPDATE documents SET {column} WHERE id = 'd8'")
    with pytest.raises(IndexCorruptedError, match="'d8'"):
        GlotIndex.open(path)
    with GlotIndex.open(path, ENCODER, check=False) as index:
        assert index.manifest.format_version == 2
        with pytest.raises(IndexCorruptedError, match="'d8'"):
            index.get(["d8"])
        assert [problem for problem in index.verify().problems if "'d8'" in problem]
        index.add([Document("text 8", "d8", {"n": 8})])
        assert index.verify().ok


def test_tables_that_are_not_of_its_format_are_refused(path):
    execute(path, "CREATE TABLE vectors (key INTEGER PRIMARY KEY, seal BLOB NOT NULL, vector BLOB NOT NULL)")
    with pytest.raises(IndexCorruptedError, match="'vectors' in it is none"):
        GlotIndex.open(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("after", [0, 1, 13, 25])
def test_killed_on_the_way_it_is_what_it_was(path, after, monkeypatch):
    """In the last case after the last document, before the commit."""

    def seal(*fields):
        nonlocal after
        after -= 1
        if after < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return sealed(*fields)

    sealed = upgrade.seal
    rows = execute(path, "SELECT * FROM documents")
    assert len(rows) == len(expected()) == 25
    after *= 2  # the old checksum and the vector's
    monkeypatch.setattr(upgrade, "seal", seal)
    child = multiprocessing.get_context("fork").Process(target=GlotIndex.open, args=[path])
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert execute(path, "SELECT * FROM documents") == rows
    monkeypatch.undo()
    assert_is_upgraded(path)
