import datetime
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import DIMENSION, HashEncoder, assert_same_hits, brute_force, corpus

from glot_rag.errors import (
    DatasetError,
    FingerprintMismatchError,
    IndexDiskError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    IndexReadOnlyError,
    IndexRecoveryWarning,
    IndexVersionError,
    InputError,
)
from glot_rag.index import Document, GlotIndex
from glot_rag.index.store import connection
from glot_rag.index.store.manifest import Manifest
from glot_rag.index.store.schema import checksum


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


class TestSearch:
    def test_equals_brute_force(self, index, encoder):
        documents = corpus(100)
        index.add(documents)
        for k in (1, 7, 100, 10**9):
            for query in ("text 3", "something else", "text 3\0 with NUL"):
                assert_same_hits(index.search(query, k), brute_force(encoder, documents, query, k))
        hit = index.search("text 3", 1)[0]
        assert (hit.id, hit.text, hit.metadata) == ("d3", "text 3", {"lang": "fr", "n": 3, "even": False})
        assert hit.score == pytest.approx(1.0, abs=1e-6)

    def test_batch_and_vectors_equal_single_searches(self, index, encoder):
        documents = corpus(60)
        index.add(documents)
        queries = [f"query {i}" for i in range(25)]  # FAISS takes another path (BLAS) from 20 queries on
        batch = index.search_batch(queries, 5, filter={"even": True})
        long = index.search_vectors(encoder.vectors(queries).astype(np.float64) * 1e-200, 5, filter={"even": True})
        for query, hits, same in zip(queries, batch, long, strict=True):
            expected = brute_force(encoder, documents, query, 5, lambda metadata: metadata["even"])
            assert_same_hits(hits, expected)
            assert_same_hits(same, expected)

    def test_empty(self, index):
        assert index.search("anything") == []
        assert index.search_batch([]) == []
        assert index.search_batch(["a", "b"]) == [[], []]
        assert index.search_vectors(np.ones((2, DIMENSION))) == [[], []]
        assert index.search_vectors(np.ones((0, DIMENSION))) == []
        index.add(corpus(3))
        assert index.search("anything", filter={"lang": "xx"}) == []

    @pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
    def test_bad_k(self, index, k):
        with pytest.raises(InputError, match="k must be an int of 1 or more"):
            index.search("a", k)

    def test_bad_queries(self, index):
        with pytest.raises(InputError, match="use search"):
            index.search_batch("a")
        with pytest.raises(InputError, match="lone surrogate"):
            index.search("\ud800")
        with pytest.raises(InputError, match=r"shape \(N, 16\), got \(16,\)"):
            index.search_vectors(np.ones(DIMENSION))
        for bad, message in [(np.nan, "NaN"), (np.inf, "infinity"), (0.0, "all zeros")]:
            with pytest.raises(InputError, match=message):
                index.search_vectors(np.full((1, DIMENSION), bad))


class TestChanges:
    def test_upsert_delete_and_search(self, index, encoder):
        documents = {document.id: document for document in corpus(40)}
        index.add(documents.values())
        for step in range(10):
            changed = [Document(f"changed {step} {i}", f"d{i}", {"step": step}) for i in range(step, step + 5)]
            changed += [Document(f"new {step}", f"n{step}")]
            assert index.add(changed) == [document.id for document in changed]
            documents |= {document.id: document for document in changed}
            assert index.delete([f"d{step * 3}", "missing"]) == (1 if documents.pop(f"d{step * 3}", None) else 0)
            for query in (f"changed {step} {step + 1}", "text 30", "x"):
                assert_same_hits(index.search(query, 8), brute_force(encoder, list(documents.values()), query, 8))
        assert len(index) == len(documents)
        assert {document.id: document for document in index} == documents
        assert index.verify().ok

    @pytest.mark.parametrize("index_type", ["flat", "hnsw"])
    def test_delete_by_filter(self, path, encoder, index_type):
        documents = [Document(f"text {i}", f"d{i}", {"source": {"file": f"f{i % 4}"}, "n": i}) for i in range(40)]
        with GlotIndex.create(path, encoder, index_type) as index:
            index.add(documents)
            commits = index.stats().sequence
            assert index.delete(filter={"source.file": "f1"}) == 10
            assert index.delete(filter={"source.file": "f1"}) == 0
            assert index.delete(filter={"n": {"$gte": 38}}) == 2
            assert index.stats().sequence == commits + 2
            kept = [each for each in documents if each.metadata["n"] % 4 != 1 and each.metadata["n"] < 38]
            assert list(index) == kept
            assert_same_hits(index.search("text 1", 40), brute_force(encoder, kept, "text 1", 40))
            for arguments, message in (
                ({}, "either ids or filter"),
                ({"ids": ["d0"], "filter": {"n": 0}}, "either ids or filter"),
                ({"filter": {}}, "an empty filter matches every document"),
                ({"filter": {"n": {"$near": 1}}}, "unknown operator"),
                ({"filter": "n"}, "must be a dict"),
                ({"ids": 5}, "ids must be a list of str, got the int 5"),
            ):
                with pytest.raises(InputError, match=message):
                    index.delete(**arguments)
            assert list(index) == kept
            assert index.delete(filter={"$and": []}) == len(kept)
            assert index.verify().problems == ()
        with GlotIndex.open(path, encoder, read_only=True) as reader:
            with pytest.raises(IndexReadOnlyError, match="for reading only"):
                reader.delete(filter={"n": 1})
            assert len(reader) == 0

    def test_dates_and_paths_are_stored_and_found(self, index):
        when = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)
        index.add([Document("a", "a", {"when": when, "path": Path("x"), "pair": (1, 2)}), Document("b", "b")])
        assert index.get(["a"])[0].metadata == {"when": "2026-01-31T00:00:00+00:00", "path": "x", "pair": [1, 2]}
        assert (
            index.ids({"when": when}) == index.ids({"path": Path("x")}) == index.ids({"pair": {"$any": [2]}}) == ["a"]
        )
        assert index.ids({"when": {"$lt": when + datetime.timedelta(days=1)}}) == ["a"]
        index.update_metadata({"b": {"n": np.float32(0.5)}})
        assert index.ids({"n": {"$in": [np.float64(0.5)]}}) == ["b"]

    def test_ids_in_order_and_last_duplicate_wins(self, index):
        batch = [Document("one", "a"), Document("two", "b"), Document("three", "a")]
        assert index.add(batch, batch_size=2) == ["a", "b", "a"]
        assert index.add(batch) == ["a", "b", "a"]
        assert index.get(["b", "x", "a", "b"]) == [batch[1], batch[2], batch[1]]

    def test_generated_id(self, index):
        (id,) = index.add([Document("text", id=None)])
        assert index.get([id]) == [Document("text", id)]
        assert len(id) == 36

    def test_unchanged_texts_are_not_encoded_again(self, index, encoder):
        index.add(corpus(5))
        sequence = index.stats().sequence
        encoder.encoded.clear()
        index.add(corpus(5))
        assert encoder.encoded == []
        assert index.stats().sequence == sequence
        index.add([Document("text 0", "d0", {"new": 1}), Document("other", "d1")])
        assert encoder.encoded == ["other"]
        assert index.get(["d0"]) == [Document("text 0", "d0", {"new": 1})]
        assert index.search("text 0", 1, filter={"new": 1})[0].id == "d0"

    def test_given_vectors(self, index):
        vectors = np.eye(DIMENSION)[:2] * 5
        assert index.add_vectors([Document("a", "a"), Document("b", "b")], vectors) == ["a", "b"]
        assert [(hit.id, hit.score) for hit in index.search_vectors(vectors[1:], 2)[0]] == [("b", 1.0), ("a", 0.0)]
        index.add_vectors([Document("a", "a")], vectors[1:])
        assert {hit.score for hit in index.search_vectors(vectors[1:], 2)[0]} == {1.0}
        with pytest.raises(InputError, match=r"shape \(1, 16\), got \(2, 16\)"):
            index.add_vectors([Document("a", "a")], vectors)

    def test_what_goes_in_comes_out(self, index):
        metadata = {
            "π": [1, 2.5, None, True, {"x": []}],
            'a"b': "ü\u2028\n",
            "": -0.1,
            "big": 2**63 - 1,
            "s": "\\u0000",
        }
        document = Document("\ufeffline\r\nzero\0 𝔘 ‮", "ünï/cøde'\"", metadata)
        index.add([document])
        assert index.get([document.id]) == [document]
        assert next(iter(index)) == document

    def test_generator_is_committed_in_batches(self, path, encoder):
        seen = []

        def documents():
            for document in corpus(7):
                seen.append(len(GlotIndex.open(path, read_only=True)))
                yield document

        with GlotIndex.create(path, encoder) as index:
            assert index.add(documents(), batch_size=3) == [f"d{i}" for i in range(7)]
        assert seen == [0, 0, 0, 3, 3, 3, 6]

    def test_a_generator_larger_than_what_is_held(self, path):
        """45 MB of texts pass through; what is held at once is a few batches of 0.6 MB."""

        class Forgetful(HashEncoder):
            def encode_documents(self, texts, *, show_progress=False):
                return self.vectors(texts)

        def documents():
            for i in range(1_500):
                yield Document(f"{i} " + "x" * 30_000, f"d{i}")

        with GlotIndex.create(path, Forgetful()) as index:
            index.add([Document("first", "first")])  # what is loaded once
            tracemalloc.start()
            try:
                index.add(documents(), batch_size=20)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert len(index) == 1_501
        assert peak < 8 << 20

    def test_error_says_what_was_committed(self, index, encoder):
        bad = [*corpus(5), Document("", "")]
        with pytest.raises(InputError, match=r"id must not be empty.*\(the 4 documents before this batch"):
            index.add(bad, batch_size=2)
        assert [document.id for document in index] == ["d0", "d1", "d2", "d3"]

        def failing():
            yield from corpus(3)
            raise DatasetError("broken file")

        with pytest.raises(DatasetError, match=r"broken file \(the 2 documents"):
            index.add(failing(), batch_size=2)

    def test_progress_is_on_stderr(self, index, capsys):
        index.add(corpus(3), show_progress=True)
        assert capsys.readouterr().out == ""


BAD_DOCUMENTS = [
    ("a", "expected a Document, got str"),
    (Document("t", ""), "must not be empty"),
    (Document("t", "a\0"), "NUL"),
    (Document("t", "\ud800"), "lone surrogate"),
    (Document("t", 7), "must be a str, got int"),
    (Document("t", "x" * 1025), "1025 bytes"),
    (Document(None, "a"), "text of document 'a' must be a str"),
    (Document("ab\udc80", "a"), "lone surrogate '\\\\udc80' at position 2"),
    (Document("t", "a", {1: 2}), "use str keys"),
    (Document("t", "a", {"x": float("nan")}), r"document 'a'\['x'\] must be a finite number, got nan"),
    (Document("t", "a", {"x": [{"y": b""}]}), r"'a'\['x'\]\[0\]\['y'\] must be a str, .*got bytes"),
    (Document("t", "a", {"x": {1, 2}}), r"'a'\['x'\] must be a str, .*got set"),
    (Document("t", "a", {"x": "\ud800"}), "lone surrogate"),
    (Document("t", "a", {"x": ["\0"]}), "NUL"),
    (Document("t", "a", {"x": {"y": 2**63}}), r"'a'\['x'\]\['y'\] must fit in 64 bits, got an int of 65"),
    (Document("t", "a", {"x": 10**5000}), "must fit in 64 bits"),
    (Document("t", "a", ["x"]), "must be a dict"),
    (Document("t", "a", {"x": "y" * 2**20}), "more than the 1048576 allowed; the largest value is that of 'x'"),
]


class TestRejection:
    @pytest.mark.parametrize(("bad", "message"), BAD_DOCUMENTS)
    def test_bad_document_changes_nothing(self, index, encoder, bad, message):
        index.add(corpus(3))
        before, encoder.encoded = list(index), []
        with pytest.raises(InputError, match=message):
            index.add([Document("new", "new"), bad])
        assert list(index) == before
        assert encoder.encoded == []

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (np.ones((2, 3)), r"shape \(2, 16\), got \(2, 3\)"),
            (np.ones((1, DIMENSION)), r"shape \(2, 16\), got \(1, 16\)"),
            (np.array([np.ones(DIMENSION), np.zeros(DIMENSION)]), "of document 'b' is all zeros"),
            (np.array([np.full(DIMENSION, np.nan), np.ones(DIMENSION)]), "of document 'a' has a NaN"),
        ],
    )
    def test_bad_vectors_of_an_encoder_change_nothing(self, index, encoder, vectors, message):
        encoder.encode_documents = lambda texts: vectors
        with pytest.raises(InputError, match=message):
            index.add([Document("a", "a"), Document("b", "b")])
        assert len(index) == 0

    def test_arguments_that_look_like_lists(self, index):
        for call in (index.delete, index.get):
            with pytest.raises(InputError, match="write \\['abc'\\]"):
                call("abc")
        with pytest.raises(InputError, match="write add"):
            index.add(Document("a"))
        with pytest.raises(InputError, match="batch_size"):
            index.add([], batch_size=0)
        assert "\ud800" not in index
        assert 3 not in index


class TestDirectory:
    def test_create_refuses_what_is_there(self, index, path, encoder, tmp_path):
        with pytest.raises(IndexExistsError, match="There is an index"):
            GlotIndex.create(path, encoder)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "file").touch()
        with pytest.raises(IndexExistsError, match="not an index and not empty"):
            GlotIndex.create(tmp_path / "other", encoder)
        assert [file.name for file in (tmp_path / "other").iterdir()] == ["file"]
        with pytest.raises(IndexExistsError, match="is a file"):
            GlotIndex.create(tmp_path / "other" / "file", encoder)
        with pytest.raises(InputError, match=r"must be one of flat, hnsw, .*got 'tree'"):
            GlotIndex.create(tmp_path / "new", encoder, index_type="tree")

    def test_creation_cut_off_can_be_repeated(self, path, encoder):
        path.mkdir()
        (path / "store.sqlite").touch()
        (path / "writer.lock").touch()
        with pytest.raises(IndexNotFoundError, match="no index"):
            GlotIndex.open(path)
        GlotIndex.create(path, encoder).close()

    def test_open_where_there_is_none(self, path):
        with pytest.raises(IndexNotFoundError, match=r"make one with `glot-rag index … --out DIR` or GlotIndex.create"):
            GlotIndex.open(path)
        assert not path.exists()

    def test_one_writer(self, index, path, encoder):
        with pytest.raises(IndexLockedError, match="Another process is writing"):
            GlotIndex.open(path, encoder)
        index.close()
        GlotIndex.open(path, encoder).close()

    def test_readers_write_nothing(self, path, encoder):
        with GlotIndex.create(path, encoder) as index:
            index.add(corpus(3))
        with GlotIndex.open(path, encoder, read_only=True) as reader:
            for change in (lambda: reader.add([]), lambda: reader.delete([]), reader.checkpoint):
                with pytest.raises(IndexReadOnlyError, match="for reading only"):
                    change()
            assert reader.search("text 1", 1)[0].id == "d1"

    def test_read_only_file_system(self, path, encoder, monkeypatch):
        with GlotIndex.create(path, encoder) as index:
            index.add(corpus(3))
        before = files(path)
        monkeypatch.setattr(connection, "_on_read_only_file_system", lambda directory: True)
        with GlotIndex.open(path, encoder, read_only=True) as reader:
            assert reader.search("text 1", 1)[0].id == "d1"
            assert files(path) == before

    def test_closed(self, index):
        index.close()
        index.close()
        for call in (lambda: len(index), lambda: index.search("a"), lambda: index.add([]), lambda: list(index)):
            with pytest.raises(IndexReadOnlyError, match="is closed"):
                call()

    def test_without_encoder(self, path, encoder):
        with GlotIndex.create(path, encoder) as index:
            index.add(corpus(3))
        with GlotIndex.open(path) as index:
            assert index.get(["d1"])[0].text == "text 1"
            assert index.search_vectors(encoder.vectors(["text 1"]), 1)[0][0].id == "d1"
            for call in (lambda: index.search("a"), lambda: index.add([])):
                with pytest.raises(InputError, match="needs an encoder"):
                    call()

    def test_other_encoder(self, path, encoder):
        GlotIndex.create(path, encoder).close()
        with pytest.raises(FingerprintMismatchError, match=r"'hash-encoder-1'.*'another'"):
            GlotIndex.open(path, HashEncoder(fingerprint="another"))
        with pytest.raises(InputError, match="16 components, the encoder makes 8"):
            GlotIndex.open(path, HashEncoder(dimension=8))
        GlotIndex.open(path, encoder).close()  # the refusals let go of the lock

    def test_newer_format(self, path, encoder):
        GlotIndex.create(path, encoder).close()
        with sqlite3.connect(path / "store.sqlite") as connection:
            body = b'{"format_version": 99}'
            connection.execute("UPDATE manifest SET body = ?, checksum = ?", [body.decode(), checksum(body)])
            connection.execute("CREATE TABLE of_that_version (key INTEGER PRIMARY KEY)")
        connection.close()
        with pytest.raises(IndexVersionError, match=r"version 99.*reads 4.*pip install"):
            GlotIndex.open(path)
        with sqlite3.connect(path / "store.sqlite") as connection:
            connection.execute("DROP TABLE of_that_version")
            body = Manifest(16, "f", "tree").to_json()
            connection.execute("UPDATE manifest SET body = ?, checksum = ?", [body, checksum(body.encode())])
        connection.close()
        with pytest.raises(IndexVersionError, match=r"does not know a setting of the index: .*'tree'.*Upgrade"):
            GlotIndex.open(path)

    def test_names_that_mean_something_in_a_uri(self, tmp_path, encoder):
        path = tmp_path / "a?mode=memory#b%20 é'" / "deep"
        with GlotIndex.create(str(path), encoder) as index:
            index.add(corpus(3))
        with GlotIndex.open(path, encoder, read_only=True) as reader:
            assert reader.search("text 1", 1)[0].id == "d1"

    def test_closing_stops_an_addition_under_way(self, index, path, encoder):
        def documents():
            yield from corpus(4)
            index.close()
            yield from corpus(9)

        with pytest.raises(IndexReadOnlyError, match=r"is closed.*\(the 4 documents"):
            index.add(documents(), batch_size=4)
        with GlotIndex.open(path, encoder) as again:
            assert len(again) == 4

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_child_of_a_fork_is_refused(self, index):
        def child(queue):
            try:
                len(index)
            except IndexReadOnlyError as error:
                index.close()
                queue.put(str(error))

        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=child, args=[queue])
        process.start()
        process.join()
        assert "before a fork" in queue.get()
        assert len(index) == 0

    def test_import_is_light(self):
        code = "import sys, glot_rag.index; print({'torch', 'faiss', 'selectolax', 'trafilatura'} & set(sys.modules))"
        assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


class TestFaissFile:
    def test_replay_of_newer_rows(self, path, encoder):
        documents = {document.id: document for document in corpus(30)}
        with GlotIndex.create(path, encoder) as index:
            index.add(documents.values())
            index.checkpoint()
            old = (path / "index.faiss").read_bytes()
            changed = [Document("changed", "d3"), Document("text 4", "d4", {"lang": "it"}), Document("new", "new")]
            index.add(changed)
            index.delete(["d5", "d6"])
            del documents["d5"], documents["d6"]
            documents |= {document.id: document for document in changed}
            index._closed = True  # as if it had died: no file is written
            index._store.close()
            index._file_lock.release()
        assert (path / "index.faiss").read_bytes() == old
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with GlotIndex.open(path, encoder) as index:
                for query in ("changed", "new", "text 5", "text 4"):
                    assert_same_hits(index.search(query, 30), brute_force(encoder, list(documents.values()), query, 30))
                assert index.verify().ok

    def test_written_after_many_changes_and_on_close(self, path, encoder, monkeypatch):
        monkeypatch.setattr("glot_rag.index.api.CHECKPOINT_EVERY", 10)
        with GlotIndex.create(path, encoder) as index:
            index.add(corpus(9))
            assert not (path / "index.faiss").exists()
            index.add([Document("x", "x")])
            assert index.stats().file_sequence == 2
            index.delete(["x"])
        with GlotIndex.open(path, read_only=True) as reader:
            assert reader.stats().file_sequence == reader.stats().sequence == 3
        written = os.stat(path / "index.faiss").st_mtime_ns
        GlotIndex.open(path, encoder).close()
        assert os.stat(path / "index.faiss").st_mtime_ns == written  # nothing changed, nothing written

    def test_orphans_are_swept_by_the_writer(self, path, encoder):
        GlotIndex.create(path, encoder).close()
        for name in ("index.faiss.tmp", "index.keywords.tmp"):
            (path / name).write_bytes(b"half")
        GlotIndex.open(path, read_only=True).close()
        assert len(list(path.glob("*.tmp"))) == 2
        GlotIndex.open(path, encoder).close()
        assert not list(path.glob("*.tmp"))

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_full_or_failing_disk_loses_no_document(self, path, encoder, monkeypatch, call):
        def fail(*_):
            raise OSError(28, "No space left on device")

        index = GlotIndex.create(path, encoder)
        index.add(corpus(5))
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OSError, match="No space left"):
                index.checkpoint()
            index.add([Document("more", "more")])
            with pytest.warns(IndexRecoveryWarning, match="were not written.*no document is lost"):
                index.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexRecoveryWarning)  # a record without its file: rebuilt, and said so
            index = GlotIndex.open(path, encoder)
        assert index.search("more", 1)[0].id == "more"
        assert len(index) == 6
        index.close()
        with GlotIndex.open(path, encoder) as index:
            assert index.verify().problems == ()

    def test_full_disk_during_a_commit(self, index, encoder):
        index.add(corpus(5))
        with index._store._connection() as (connection, _):
            connection.execute("PRAGMA max_page_count = 1")  # SQLite reports it as a full disk
        with pytest.raises(IndexDiskError, match=r"full.*free space of the disk"):
            index.add([Document("x" * 100_000, "large")])
        assert [document.id for document in index] == [f"d{i}" for i in range(5)]
        assert index.search("text 1", 1)[0].id == "d1"


def test_the_stored_vectors(tmp_path: Path) -> None:
    with GlotIndex.create(tmp_path / "index", encoder=HashEncoder(8)) as index:
        index.add_vectors([Document("a", "a"), Document("b", "b")], [[3.0] + [0.0] * 7, [0.0] * 7 + [2.0]])
        vectors = index.vectors(["b", "a", "b"])
        assert vectors.tolist() == [[0.0] * 7 + [1.0], [1.0] + [0.0] * 7, [0.0] * 7 + [1.0]]
        assert index.vectors([]).shape == (0, 8)
        with pytest.raises(InputError, match=r"no document 'c' in the index \(1 of 2 ids"):
            index.vectors(["a", "c"])
