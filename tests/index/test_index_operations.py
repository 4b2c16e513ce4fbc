"""Looking after an index: export and import, backup, compaction, memory mapping, the commands."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import typer
from hash_encoder import HashEncoder, assert_same_hits, brute_force, corpus

from glot_rag.cli.app import app
from glot_rag.errors import (
    DatasetError,
    IndexExistsError,
    IndexNotFoundError,
    IndexReadOnlyError,
    InputError,
    MissingExtraError,
)
from glot_rag.index import Document, GlotIndex, export_index, import_index, transfer

DOCUMENTS = [*corpus(40), Document("lines\nand \u2028 ünï 🫖", "odd", {"nested": {"a": [1, None, 2.5]}})]
ENCODER = HashEncoder()


@pytest.fixture
def filled(index):
    index.add(DOCUMENTS)
    return index


def assert_is(path, documents, encoder=ENCODER):
    with GlotIndex.open(path, encoder) as index:
        assert list(index) == documents
        assert index.verify().problems == ()
        assert_same_hits(index.search("text 3", 7), brute_force(encoder, documents, "text 3", 7))


class TestTransfer:
    @pytest.mark.parametrize("format", ["jsonl", "parquet"])
    def test_there_and_back(self, filled, tmp_path, format):
        if format == "parquet":
            pytest.importorskip("pyarrow")
        filled.delete(["d7"])
        assert export_index(filled, tmp_path / "out", format) == 40
        assert import_index(tmp_path / "out", tmp_path / "copy") == 40
        left = [document for document in DOCUMENTS if document.id != "d7"]
        assert_is(tmp_path / "copy", left)
        with GlotIndex.open(tmp_path / "copy", read_only=True) as copy:
            ids = [document.id for document in left]
            np.testing.assert_allclose(copy.vectors(ids), filled.vectors(ids), rtol=2e-7)

    def test_the_files_are_what_other_tools_read(self, filled, tmp_path):
        export_index(filled, tmp_path / "out")
        matrix = np.load(tmp_path / "out" / "vectors.npy")
        np.testing.assert_array_equal(matrix, filled.vectors([document.id for document in DOCUMENTS]))
        lines = (tmp_path / "out" / "documents.jsonl").read_bytes().decode().split("\n")
        assert [json.loads(line)["text"] for line in lines if line] == [document.text for document in DOCUMENTS]
        assert json.loads((tmp_path / "out" / "index.json").read_text())["fingerprint"] == ENCODER.fingerprint

    def test_an_empty_index_its_type_and_the_encoder_beside_it(self, index, path, tmp_path):
        index.reindex("hnsw")
        (path / "encoder").mkdir()
        (path / "encoder" / "encoder.json").write_text("{}")
        assert export_index(index, tmp_path / "out") == 0
        assert import_index(tmp_path / "out", tmp_path / "copy") == 0
        assert (tmp_path / "copy" / "encoder" / "encoder.json").read_text() == "{}"
        with GlotIndex.open(tmp_path / "copy") as copy:
            assert copy.stats().index_type == "hnsw"

    @pytest.mark.parametrize(
        ("name", "damage", "error", "message"),
        [
            ("index.json", lambda data: b"[]", DatasetError, "does not describe an export"),
            ("index.json", lambda data: b"[" * 60_000, DatasetError, "does not describe an export"),
            ("index.json", lambda data: data.replace(b": 16", b": 17"), DatasetError, "must be float32"),
            ("index.json", lambda data: data.replace(b": 41", b": 40"), DatasetError, "must be float32"),
            ("index.json", lambda data: data.replace(b'port": 1', b'port": 2'), DatasetError, "version 2"),
            ("index.json", lambda data: data.replace(b"flat", b"tree"), InputError, "got 'tree'"),
            ("documents.jsonl", lambda data: data[:-20], DatasetError, r"documents.jsonl:41 is not a document"),
            (
                "documents.jsonl",
                lambda data: data[: data.rindex(b"{", 0, -30)],
                DatasetError,
                "not a document|holds 40",
            ),
            ("documents.jsonl", lambda data: data + data[:60], DatasetError, "jsonl:42 is not a document"),
            ("documents.jsonl", lambda data: data.replace(b'"d5"', b'"d6"'), DatasetError, "holds 41 with 40 ids"),
            ("documents.jsonl", lambda data: data.replace(b'"d5"', b"55"), InputError, "a document id must be a str"),
            ("vectors.npy", lambda data: data[:-4], DatasetError, "is not a NumPy matrix"),
            ("vectors.npy", lambda data: data[:-4] + b"\x00\x00\xc0\x7f", InputError, "'odd' has a NaN"),
            ("vectors.npy", lambda data: b"\x80\x04cos\nsystem\n", DatasetError, "is not a NumPy matrix"),
        ],
    )
    def test_a_damaged_export_leaves_nothing(self, filled, tmp_path, name, damage, error, message):
        export_index(filled, tmp_path / "out")
        file = tmp_path / "out" / name
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(error, match=message):
            import_index(tmp_path / "out", tmp_path / "copy")
        assert sorted(os.listdir(tmp_path)) == ["index", "out"]

    def test_damaged_parquet(self, filled, tmp_path):
        pytest.importorskip("pyarrow")
        export_index(filled, tmp_path / "out", "parquet")
        file = tmp_path / "out" / "documents.parquet"
        file.write_bytes(file.read_bytes()[:-30])
        with pytest.raises(DatasetError, match="is not what export_index writes"):
            import_index(tmp_path / "out", tmp_path / "copy")
        assert sorted(os.listdir(tmp_path)) == ["index", "out"]

    def test_what_is_refused(self, filled, path, tmp_path, monkeypatch):
        with pytest.raises(IndexExistsError, match="not an empty directory"):
            export_index(filled, path)
        with pytest.raises(InputError, match="must be 'jsonl' or 'parquet', got 'csv'"):
            export_index(filled, tmp_path / "out", "csv")
        with pytest.raises(IndexNotFoundError, match=r"holds no index\.json"):
            import_index(path, tmp_path / "copy")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtraError, match=r"glot-rag\[parquet\]"):
            export_index(filled, tmp_path / "out", "parquet")
        filled.close()
        with pytest.raises(IndexReadOnlyError, match="closed"):
            export_index(filled, tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == ["index"]

    def test_a_full_disk_leaves_nothing(self, filled, tmp_path, monkeypatch):
        def full(file):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(transfer, "_sync", full)
        with pytest.raises(OSError, match="No space"):
            export_index(filled, tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == ["index"]


class TestBackup:
    def test_it_is_an_index_of_its_own(self, filled, tmp_path, recwarn):
        filled.checkpoint()
        with GlotIndex.open(filled.path, read_only=True) as reader:
            reader.backup(tmp_path / "copy")
        filled.delete(["d1"])
        assert_is(tmp_path / "copy", DOCUMENTS)
        assert [str(warning.message) for warning in recwarn] == []  # its FAISS file came along
        with pytest.raises(IndexExistsError):
            filled.backup(tmp_path / "copy")

    def test_while_a_writer_changes_everything(self, index, path, tmp_path, recwarn):
        """Three documents of each commit belong together, in every copy."""
        copies, stop = 8, threading.Event()

        def write():
            number = 0
            while not stop.is_set():
                number += 1
                index.add([Document(f"generation {number}", id, {"generation": number}) for id in ("a", "b", "c")])
                if number % 3 == 0:
                    index.checkpoint()

        index.add([Document("generation 0", id, {"generation": 0}) for id in ("a", "b", "c")])
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(copies):
                with GlotIndex.open(path, read_only=True, check=False) as reader:
                    reader.backup(tmp_path / f"copy {number}")
        finally:
            stop.set()
            writer.join()
        for number in range(copies):
            with GlotIndex.open(tmp_path / f"copy {number}", ENCODER) as copy:
                assert len({document.metadata["generation"] for document in copy}) == 1
                assert copy.verify().problems == ()
                assert len(copy.search("generation 1", 5)) == 3
        assert [str(warning.message) for warning in recwarn] == []


class TestCompact:
    def test_it_gives_space_back_and_keeps_the_rest(self, path, recwarn):
        with GlotIndex.create(path, ENCODER, "hnsw") as index:
            index.add([Document(f"text {i} " + "x" * 2000, f"d{i}") for i in range(600)])
            index.delete([f"d{i}" for i in range(550)])
            before = index.stats().bytes
            index.compact()
            assert index.stats().bytes < before / 4
            assert index._replicas.vectors._part.dead == 0
            assert index.verify().problems == ()
            left = list(index)
            assert [document.id for document in left] == [f"d{i}" for i in range(550, 600)]
            index.add([Document("new", "new")])  # under a key that was never another's
            assert index.search("new", 1)[0].id == "new"
        assert_is(path, [*left, Document("new", "new")])
        assert [str(warning.message) for warning in recwarn] == []

    def test_too_few_to_train_is_no_obstacle(self, path):
        with GlotIndex.create(path, ENCODER, "ivf") as index:
            index.add(corpus(20))
            index.compact()
            assert index.stats().serving == "Flat"

    def test_beside_a_reader(self, filled, path):
        with GlotIndex.open(path, ENCODER, read_only=True) as reader:
            iterator = iter(reader)
            assert next(iterator) == DOCUMENTS[0]
            filled.delete(["d3"])
            filled.compact()
            assert list(iterator) == DOCUMENTS[1:]  # as of its start
            assert len(reader.search("text 3", 60)) == len(DOCUMENTS) - 1
            with pytest.raises(IndexReadOnlyError):
                reader.compact()


@pytest.mark.skipif(os.name != "posix", reason="Windows loads the vectors")
class TestMemoryMap:
    @pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf", "sq8"])
    def test_the_same_hits_from_the_file(self, path, index_type):
        documents = corpus(500)
        with GlotIndex.create(path, ENCODER, index_type) as index:
            index.add(documents)
        with GlotIndex.open(path, ENCODER, read_only=True) as loaded:
            expected = [loaded.search(f"text {i}", 5) for i in range(20)]
            filtered = loaded.search("text 1", 5, {"even": True})
        with GlotIndex.open(path, ENCODER, read_only=True, memory_map=True) as index:
            assert [index.search(f"text {i}", 5) for i in range(20)] == expected
            assert index.search("text 1", 5, {"even": True}) == filtered
            assert index.verify().problems == ()
            if sys.platform == "linux":
                assert str(path / "index.faiss") in Path("/proc/self/maps").read_text()

    def test_beside_a_writer(self, path):
        with GlotIndex.create(path, ENCODER) as index:
            index.add(corpus(50))
            index.checkpoint()
            with GlotIndex.open(path, ENCODER, read_only=True, memory_map=True) as reader:
                index.delete(["d3"])
                assert len(reader.search("text 3", 60)) == 49
                assert reader._replicas.vectors._part.mapped
                index.add([Document("new", "new")])  # not in the file: it is loaded now
                assert reader.search("new", 1)[0].id == "new"
                assert not reader._replicas.vectors._part.mapped
                index.checkpoint()
                assert reader.verify().problems == ()
            index.add([Document("newer", "newer")])
            with GlotIndex.open(path, ENCODER, read_only=True, memory_map=True) as reader:
                assert reader.search("newer", 1)[0].id == "newer"

    def test_only_to_read(self, path, filled):
        filled.close()
        with pytest.raises(InputError, match="memory_map goes with read_only"):
            GlotIndex.open(path, memory_map=True)


@pytest.fixture
def run(command, capsys):
    """Runs `glot-rag`; gives the exit code and what was printed."""

    def run(*arguments):
        code = command(*arguments)
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


class TestCommands:
    def test_the_life_of_an_index(self, path, tmp_path, run):
        with GlotIndex.create(path, ENCODER) as index:
            index.add(corpus(300))
        code, text = run("info", path, "--json")
        told = json.loads(text)
        assert (code, told["documents"], told["index_type"], told["dimension"]) == (0, 300, "flat", 16)
        assert "documents:     300" in run("info", path)[1]
        assert run("reindex", path, "hnsw") == (
            0,
            "300 documents in HNSWFlat (32 neighbours, 64 bytes a vector): hnsw was asked for\n",
        )
        assert run("reindex", path, "ivf")[0] == 2
        assert run("backup", path, tmp_path / "copy") == (
            0,
            f"300 documents in {tmp_path / 'copy'}\n",
        )
        assert run("export-index", path, tmp_path / "out")[0] == 0
        assert run("import-index", tmp_path / "out", tmp_path / "in")[0] == 0
        assert "bytes before" in run("compact", path)[1]
        for made in (path, tmp_path / "copy", tmp_path / "in"):
            expected = "300 documents and 300 vectors are intact; all is well\n"
            assert run("verify", made) == (0, expected)
            assert_is(made, corpus(300))

    def test_verify_of_a_damaged_one(self, path, monkeypatch, run):
        with GlotIndex.create(path, ENCODER) as index:
            index.add(corpus(30))
        os.truncate(path / "index.faiss", 100)
        monkeypatch.setattr("warnings.warn", lambda *_, **__: None)
        code, text = run("verify", path, "--json")
        assert (code, json.loads(text)["ok"], json.loads(text)["documents"]) == (1, False, 30)
        assert "is not the file that was written" in run("verify", path)[1]

    def test_no_index(self, tmp_path, run):
        for command in ("info", "verify", "compact", "reindex", "backup", "export-index"):
            more = {"reindex": ["flat"], "backup": [tmp_path / "x"], "export-index": [tmp_path / "x"]}.get(command, [])
            code, text = run(command, tmp_path / "none", *more)
            assert (code, "no index in" in text) == (2, True)

    def test_what_the_operating_system_refuses_is_one_line(self, path, tmp_path, run):
        with GlotIndex.create(path, ENCODER) as index:
            index.add(corpus(3))
        (tmp_path / "file").touch()
        inside, long = tmp_path / "file" / "inside", tmp_path / ("x" * 300)
        assert run("export-index", path, tmp_path / "out")[0] == 0
        for arguments in (
            *(("backup", path, inside), ("export-index", path, inside), ("import-index", tmp_path / "out", inside)),
            *(("info", long), ("verify", long), ("compact", long), ("backup", path, long)),
        ):
            code, text = run(*arguments)
            assert (code, text.count("\n")) == (2, 1), text
            assert re.match("Error: .*(Check the path|There is no index)", text)

    def test_few_options(self):
        names = ("info", "verify", "compact", "reindex", "backup", "export-index", "import-index")
        commands = typer.main.get_command(app).commands
        options = [each for name in names for each in commands[name].params if each.param_type_name == "option"]
        assert len(options) <= 4

    def test_they_load_no_model(self):
        code = "import sys, glot_rag.cli.app; sys.exit('torch' in sys.modules or 'faiss' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
