"""Damage on disk is refused, or repaired from what is intact: a search never gives a wrong result silently."""

import hashlib
import os
import pickle
import random
import shutil
import sqlite3
import warnings

import pytest
from hash_encoder import HashEncoder, assert_all_searches, corpus

from glot_rag.errors import IndexCorruptedError, IndexNotFoundError, IndexRecoveryWarning, IndexStoreError
from glot_rag.index import Document, GlotIndex
from glot_rag.index.replica import files
from glot_rag.index.store.snapshot import Snapshot

SIZE = 250
DOCUMENTS = corpus(SIZE)
QUERIES = ["text 1", "text 17", "nothing like it"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A closed index with replaced and deleted documents behind it, so that free pages and tombstones exist."""
    path = tmp_path_factory.mktemp("original") / "index"
    with GlotIndex.create(path, HashEncoder()) as index:
        index.add(corpus(20, prefix="old"))
        index.checkpoint()
        index.add([*DOCUMENTS, Document("gone", "gone")])
        index.delete(["gone"])
    assert sorted(os.listdir(path)) == ["index.faiss", "index.keywords", "store.commit", "store.sqlite", "writer.lock"]
    return path


@pytest.fixture
def path(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def outcome(path):
    """ "refused", or "right" after comparing everything that can be asked with the oracle."""
    encoder = HashEncoder()
    try:
        with GlotIndex.open(path, encoder, read_only=True) as index:
            assert sorted(index, key=lambda d: d.metadata["n"]) == DOCUMENTS
            assert index.get([document.id for document in DOCUMENTS]) == DOCUMENTS
            for query in QUERIES:
                assert_all_searches(index, DOCUMENTS, query, SIZE)
            assert_all_searches(index, DOCUMENTS, "text 1", SIZE, lambda m: m["n"] < 50, {"n": {"$lt": 50}})
    except IndexStoreError:
        return "refused"
    return "right"


def flip(file, generator):
    data = bytearray(file.read_bytes())
    position = generator.randrange(len(data))
    data[position] ^= 1 << generator.randrange(8)
    file.write_bytes(data)


def test_flipped_bits_in_the_store(original, path, figures):
    generator, outcomes = random.Random(1), []
    for _ in range(80):
        shutil.copyfile(original / "store.sqlite", path / "store.sqlite")
        flip(path / "store.sqlite", generator)
        outcomes.append(outcome(path))
    # A flip that changes nothing hits unused space in a page; all others are refused.
    assert outcomes.count("refused") > 35
    figures(f"one bit flipped in the store: {outcomes.count('refused')} of {len(outcomes)} refused, wrong answers 0")


@pytest.mark.parametrize("name", ["index.faiss", "index.keywords"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap", "empty", "garbage", "folder"])
def test_damaged_derived_file_is_rebuilt_with_a_warning(original, path, name, damage, tmp_path):
    file, generator = path / name, random.Random(2)
    for _ in range(12 if damage in ("flip", "truncate") else 1):
        shutil.copyfile(original / name, file)
        if damage == "flip":
            flip(file, generator)
        elif damage == "truncate":
            os.truncate(file, generator.randrange(file.stat().st_size))
        elif damage == "delete":
            file.unlink()
        elif damage == "swap":
            with GlotIndex.create(tmp_path / "other", HashEncoder()) as other:
                other.add(corpus(60, prefix="other"))
            shutil.copyfile(tmp_path / "other" / name, file)
        elif damage == "folder":
            file.unlink()
            file.mkdir()
        else:
            file.write_bytes(b"" if damage == "empty" else b"IxFI" * 500)
        with pytest.warns(
            IndexRecoveryWarning, match=f"{name} .*rebuilding it from the stored (vectors|counts of terms)"
        ):
            assert outcome(path) == "right"
    if damage == "folder":
        return
    with pytest.warns(IndexRecoveryWarning):
        GlotIndex.open(path).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the writer put a new file in place
        assert outcome(path) == "right"


@pytest.mark.parametrize("name", ["index.faiss", "index.keywords"])
def test_verify_reports_a_damaged_file_and_leaves_it(path, name):
    os.truncate(path / name, 100)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.warns(IndexRecoveryWarning), GlotIndex.open(path, read_only=True) as index:
        report = index.verify()
    assert (report.documents, report.vectors, report.keywords, report.ok) == (SIZE, SIZE, SIZE, False)
    assert [problem for problem in report.problems if f"{name} is not the file that was written" in problem]
    assert before.items() <= {file.name: file.read_bytes() for file in path.iterdir()}.items()


def test_truncated_or_replaced_store_is_refused(path):
    size = (path / "store.sqlite").stat().st_size
    for length in [size - 1, size - 4096, size // 2, 4096, 100, 1, 0]:
        os.truncate(path / "store.sqlite", length)
        with pytest.raises(IndexCorruptedError, match=r"store\.sqlite|SQLite: |checksum"):
            GlotIndex.open(path)
    (path / "store.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(IndexCorruptedError, match="damaged or not an index"):
        GlotIndex.open(path)
    (path / "store.sqlite").unlink()
    with pytest.raises(IndexCorruptedError, match="is gone"):
        GlotIndex.open(path)
    (path / "index.faiss").unlink()
    with pytest.raises(IndexCorruptedError, match="is gone"):
        GlotIndex.open(path)
    (path / "index.keywords").unlink()
    with pytest.raises(IndexNotFoundError, match="no index"):
        GlotIndex.open(path)


def test_store_of_another_index_is_served_as_that_index(path, tmp_path):
    """Once it is said that the older store is wanted; the FAISS file that does not belong to it is not believed."""
    encoder, documents = HashEncoder(), corpus(60, prefix="other")
    with GlotIndex.create(tmp_path / "other", encoder) as other:
        other.add(documents)
    shutil.copyfile(tmp_path / "other" / "store.sqlite", path / "store.sqlite")
    with pytest.raises(IndexCorruptedError, match=r"Commit 3 was .* ends at commit 1.*delete store\.commit"):
        GlotIndex.open(path, encoder)
    (path / "store.commit").unlink()
    with pytest.warns(IndexRecoveryWarning), GlotIndex.open(path, encoder) as index:
        assert_all_searches(index, documents, "other 3", 60)


D7 = "(SELECT key FROM documents WHERE id = 'd7')"
CHANGES = [
    ("UPDATE documents SET text = 'forged' WHERE id = 'd7'", "Document .*d7.* does not match its checksum"),
    (f"UPDATE vectors SET vector = zeroblob(64) WHERE key = {D7}", "d7.* does not match"),
    (f"UPDATE vectors SET key = 10000 WHERE key = {D7}", "vector of document 'd7'.* does not match"),
    (f"DELETE FROM vectors WHERE key = {D7}", "vector of document 'd7'.* does not match"),
    (
        "INSERT INTO vectors SELECT 10000, vector_checksum, vector FROM vectors LIMIT 1",
        "1 vectors are stored of documents that",
    ),
    ("UPDATE vectors SET vector = NULL || 'x' WHERE 0", None),
    (
        f"UPDATE term_counts SET counts = zeroblob(1) WHERE key = {D7}",
        "counts of terms of document 'd7'.* do not match",
    ),
    (f"UPDATE term_counts SET key = 10000 WHERE key = {D7}", "counts of terms of document 'd7'.* do not match"),
    (f"DELETE FROM term_counts WHERE key = {D7}", "counts of terms of document 'd7'.* do not match"),
    (
        "INSERT INTO term_counts SELECT 10000, counts_checksum, counts FROM term_counts LIMIT 1",
        "1 counts of terms are stored of documents that",
    ),
    ("UPDATE documents SET metadata = 5 WHERE id = 'd7'", "d7.* does not match"),
    ("UPDATE documents SET key = 10000 WHERE id = 'd7'", "does not match"),
    ("DELETE FROM documents WHERE id = 'd7'", "249 documents are stored, 250 were committed"),
    ("UPDATE state SET sequence = 1", "bookkeeping"),
    ("DELETE FROM state", "counters are gone"),
    ("UPDATE tombstones SET key = key + 1000", "bookkeeping|UNIQUE"),
    ("UPDATE checkpoints SET sequence = sequence + 1", "bookkeeping"),
    ("UPDATE manifest SET body = replace(body, '16', '17')", "manifest"),
    ("DROP TABLE checkpoints", "no such table"),
]


@pytest.mark.parametrize(("sql", "message"), CHANGES)
def test_changes_behind_the_index_are_refused(path, sql, message):
    with GlotIndex.open(path) as index:
        index.delete(["d59"])  # a tombstone that the file does not hold
        index.add_vectors([DOCUMENTS[59]], HashEncoder().vectors(["text 59"]))
        index._replicas.write_files = lambda: None
    connection = sqlite3.connect(path / "store.sqlite")
    connection.execute(sql)
    connection.commit()
    connection.close()
    if message is None:
        assert outcome(path) == "right"
        return
    with pytest.raises(IndexCorruptedError, match=message) as told:
        GlotIndex.open(path)
    assert "backup" in str(told.value)  # the way out


def test_what_sqlite_finds_is_refused_with_the_way_out(path, monkeypatch):
    monkeypatch.setattr(Snapshot, "integrity_problems", lambda self: ["SQLite: row 71 missing from index x"])
    with pytest.raises(IndexCorruptedError, match=r"row 71 missing from index x\. Run verify\(\) .* a backup"):
        GlotIndex.open(path)


def test_lost_tombstone_is_noticed(path):
    """The FAISS file holds a vector that was deleted since; without its tombstone the counts do not add up."""
    with GlotIndex.open(path) as index:
        index.delete(["d59"])
        index.add_vectors([DOCUMENTS[59]], HashEncoder().vectors(["text 59"]))
        index._replicas.write_files = lambda: None
    assert outcome(path) == "right"
    with sqlite3.connect(path / "store.sqlite") as connection:
        connection.execute("DELETE FROM tombstones")
    connection.close()
    with pytest.warns(IndexRecoveryWarning):
        assert outcome(path) == "right"


def test_unchecked_open_still_checks_what_it_gives_back_and_can_repair(path):
    with sqlite3.connect(path / "store.sqlite") as connection:
        connection.execute("UPDATE documents SET text = 'forged' WHERE id = 'd7'")
    connection.close()
    encoder = HashEncoder()
    with GlotIndex.open(path, encoder, check=False) as index:
        assert index.get(["d6"]) == [DOCUMENTS[6]]
        for ask in (lambda: index.get(["d7"]), lambda: index.search("text 7", 1), lambda: list(index)):
            with pytest.raises(IndexCorruptedError, match="d7"):
                ask()
        report = index.verify()
        assert report.documents == SIZE - 1
        assert len(report.problems) == 1
        assert "d7" in report.problems[0]
        index.add([DOCUMENTS[7]])
        assert index.verify().ok
        assert index.search("text 7", 1)[0].id == "d7"
    assert outcome(path) == "right"


def test_a_large_index_is_opened_without_a_walk_over_its_rows(path, monkeypatch):
    with sqlite3.connect(path / "store.sqlite") as connection:
        connection.execute("UPDATE documents SET text = 'forged' WHERE id = 'd7'")
    connection.close()
    with pytest.raises(IndexCorruptedError, match="d7"):
        GlotIndex.open(path)
    monkeypatch.setattr("glot_rag.index.maintenance.CHECKED_AT_OPENING", SIZE - 1)
    with GlotIndex.open(path, HashEncoder()) as index:
        with pytest.raises(IndexCorruptedError, match="d7"):
            index.search("text 7", 1)
        assert not index.verify().ok
    with pytest.raises(IndexCorruptedError, match="d7"):
        GlotIndex.open(path, check=True)


def test_a_large_index_is_refused_that_lost_a_commit(path, monkeypatch):
    monkeypatch.setattr("glot_rag.index.maintenance.CHECKED_AT_OPENING", 0)
    GlotIndex.open(path).close()
    with sqlite3.connect(path / "store.sqlite") as connection:
        connection.execute("UPDATE state SET documents = documents + 1")
    connection.close()
    with pytest.raises(IndexCorruptedError, match="bookkeeping"):
        GlotIndex.open(path)


def test_vectors_changed_in_memory_are_found(path):
    with GlotIndex.open(path, read_only=True) as index:
        index._replicas.vectors._part.remove(range(100))
        report = index.verify()
    assert (report.documents, report.vectors) == (SIZE, SIZE - len(report.problems))
    assert "FAISS holds no vector for document" in report.problems[0]


def test_keywords_changed_in_memory_are_found(path):
    with GlotIndex.open(path, read_only=True) as index:
        index._replicas.keywords._part.remove(range(100))
        report = index.verify()
        gone = len(report.problems)
        assert gone > 0
        assert (report.documents, report.vectors, report.keywords) == (SIZE, SIZE, SIZE - gone)
        assert "The keywords of document 'd0' are not those that are stored" in report.problems


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize(
    "name", ["index.faiss", "index.keywords", "index.pkl", "store.pkl", "index.faiss.tmp", "store.sqlite"]
)
def test_planted_pickle_is_not_executed(path, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (path / name).write_bytes(pickle.dumps(Payload()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexRecoveryWarning)
        assert outcome(path) == ("refused" if name == "store.sqlite" else "right")
        if name != "store.sqlite":
            GlotIndex.open(path).close()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250, 1000])
def test_a_digest_is_that_of_the_parts(tmp_path, monkeypatch, size):
    """Hashed on the way to the disk, in blocks of any size, and from the disk, side by side."""
    monkeypatch.setattr(files, "PART", 100)
    monkeypatch.setattr(files, "BLOCK", 30)
    content = bytes(range(256)) * 4
    content = content[:size]
    parts = [hashlib.sha256(content[start : start + 100]).digest() for start in range(0, size, 100)]
    expected = hashlib.sha256(b"".join(parts)).hexdigest().encode()
    for step in (1, 30, 77, 100, 250):
        digest = files.Digest()
        for start in range(0, size, step):
            digest.update(content[start : start + step])
        assert digest.hex() == expected
    (tmp_path / "file").write_bytes(content)
    with open(tmp_path / "file", "rb") as file:
        file.read(1)
        assert files.digest_of(file) == expected
        assert file.read() == content
