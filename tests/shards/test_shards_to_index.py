"""Shards into an index: the same documents as when they are added one by one, again and again, through every end."""

import json

import numpy as np
import pytest
from fake_encoder import FakeEncoder, all_rows, write_corpus

from glot_rag import Document, GlotIndex
from glot_rag.errors import DatasetError, FingerprintMismatchError, IndexNotFoundError
from glot_rag.shards import chunk_shards, embed_corpus, import_shards, index_of_shards
from glot_rag.shards.format import CHUNKS, manifests, write_manifest


@pytest.fixture
def run(corpus, out, encoder):
    embed_corpus([corpus], out, encoder, denoise=False)
    return out


def contents(index):
    return {
        document.id: (document.text, json.dumps({k: v for k, v in document.metadata.items() if k != "shard"}))
        for document in index
    }


def wanted(run):
    return {id: (text, json.dumps(json.loads(body))) for id, (text, body, _) in all_rows(run).items()}


def test_an_index_of_shards_holds_what_they_hold(run, tmp_path, encoder):
    with index_of_shards(run, tmp_path / "index") as index:
        report = import_shards(run, index)
    rows = all_rows(run)
    assert (report.chunks, report.unchanged, report.removed) == (len(rows), 0, 0)
    with GlotIndex.open(tmp_path / "index", encoder) as index:
        assert contents(index) == wanted(run)
        vectors = index.vectors(list(rows))
        expected = [np.frombuffer(row[2], np.float32) for row in rows.values()]
        np.testing.assert_allclose(vectors, expected, atol=2e-7)  # scaled to norm 1 once more
        assert index.verify().ok
        assert index.search("w5x3 w5x4", mode="keyword")[0].text.startswith("w5x0")
        assert (tmp_path / "index" / "encoder" / "encoder.json").is_file()
        assert import_shards(run, index).unchanged == report.shards


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_import_that_was_cut_off_goes_on(run, tmp_path, monkeypatch, after):
    calls = []

    def add(self, documents, vectors):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(len(documents))
        return whole(self, documents, vectors)

    whole = GlotIndex.add_vectors
    with index_of_shards(run, tmp_path / "index") as index:
        monkeypatch.setattr(GlotIndex, "add_vectors", add)
        with pytest.raises(KeyboardInterrupt):
            import_shards(run, index)
        monkeypatch.undo()
        assert len(index) == sum(calls)
        report = import_shards(run, index)
        assert report.unchanged == after
        assert contents(index) == wanted(run)


def test_what_changed_is_imported_and_what_is_gone_removed(run, corpus, tmp_path, encoder, monkeypatch):
    with index_of_shards(run, tmp_path / "index") as index:
        import_shards(run, index)
        index.add_vectors([Document("came in another way", "mine")], np.ones((1, 8)))
        (corpus / "011.txt").write_text("short now")
        (corpus / "010.txt").unlink()
        embed_corpus([corpus], run)
        report = import_shards(run, index)
        assert report.removed > 0
        assert "mine" in index
        index.delete(["mine"])
        assert contents(index) == wanted(run)
        assert import_shards(run, index).shards == 0


def test_shards_of_different_encoders_are_refused(run, corpus, tmp_path, encoder):
    records = manifests(run, CHUNKS)
    changed = records[1].__class__(**{**vars(records[1]), "made_from": {**records[1].made_from, "encoder": "other"}})
    write_manifest(run, changed)
    with pytest.raises(
        FingerprintMismatchError,
        match=f"shard {records[0].name} was made with encoder 'fake', shard {records[1].name} with 'other'",
    ):
        chunk_shards(run)
    write_manifest(run, records[1])
    with (
        GlotIndex.create(tmp_path / "index", FakeEncoder("third")) as index,
        pytest.raises(FingerprintMismatchError, match=r"by encoder 'fake', the index .* by 'third'"),
    ):
        import_shards(run, index)


def test_ids_that_are_there_already_are_told(run, tmp_path, encoder):
    with index_of_shards(run, tmp_path / "index") as index:
        import_shards(run, index)
        index.update_metadata({"named3#0": {}})  # as if it had come from elsewhere
        before = dict(index.facets("shard"))
        import_shards(run, index)
        assert dict(index.facets("shard")) != before  # imported again
        records = chunk_shards(run)
        twice = records[0].__class__(**{**vars(records[0]), "rows": records[0].rows + 1})
        with pytest.raises(DatasetError, match="have the same ids"):
            import_shards(run, index, shards=[twice, *records[1:]])


def test_a_folder_without_shards(tmp_path):
    write_corpus(tmp_path / "corpus", 2)
    with pytest.raises(IndexNotFoundError, match="holds no shards of chunks, which `glot-rag embed` writes"):
        index_of_shards(tmp_path / "corpus", tmp_path / "index")
