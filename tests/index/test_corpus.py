"""Files into an index: what is stored of them, and what a second run touches."""

import re
from pathlib import Path

import pytest

from glot_rag.documents import read_documents
from glot_rag.index import corpus
from glot_rag.index.corpus import ChunkOptions, index_corpus

TEN = "one two three four five six seven eight nine ten"


def words(text):
    return [match.span() for match in re.finditer(r"\S+", text)]


def run(index, *paths, sync=(), options=None, **reading):
    options = options or ChunkOptions(max_tokens=12, overlap=0)
    return index_corpus(index, read_documents(paths, **reading), words, options, sync=sync)


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text(f"# Guide\n\n{TEN}\n\n## Part\n\n{TEN}\n")
    (folder / "sub" / "b.txt").write_text(f"{TEN}\n\nline three\n{TEN}\n")
    (folder / "c.jsonl").write_text('{"text": "first", "id": "x", "lang": "en"}\n{"text": "second"}\n')
    return folder.resolve()


def stored(index):
    return {document.id: document for document in index}


def test_chunks_with_where_they_come_from(index, docs):
    report = run(index, docs)
    found = stored(index)
    at = docs.as_posix()
    assert list(found) == [
        f"{at}/{name}" for name in ("a.md#1", "a.md#0", "c.jsonl#1", "c.jsonl#0", "sub/b.txt#1", "sub/b.txt#0")
    ]
    part = found[f"{at}/a.md#1"]
    assert part.text == f"Part\n{TEN}"
    assert {key: part.metadata[key] for key in ("source", "title", "headings", "start", "end")} == {
        "source": f"{at}/a.md", "title": "Guide", "headings": ["Guide"], "start": 55, "end": 108
    }  # fmt: skip
    assert found[f"{at}/sub/b.txt#1"].metadata["lines"] == [4, 4]
    assert "lines" not in part.metadata
    assert found[f"{at}/c.jsonl#0"].metadata["document"] == "x"
    assert found[f"{at}/c.jsonl#1"].metadata["document"] == f"{at}/c.jsonl#2"
    assert found[f"{at}/c.jsonl#0"].metadata["lang"] == "en"
    assert (report.chunks, report.read.files, report.unchanged, report.finished) == (6, 3, 0, True)


def test_a_second_run_touches_changed_files_only(index, docs, encoder):
    run(index, docs)
    encoder.encoded.clear()
    report = run(index, docs)
    assert (report.chunks, report.unchanged, report.read.files, encoder.encoded) == (0, 3, 0, [])
    (docs / "sub" / "b.txt").write_text("short now\n")
    report = run(index, docs / "sub")  # asked for in another way
    assert (report.chunks, report.removed, encoder.encoded) == (1, 1, ["short now"])
    assert len(index) == 5
    assert run(index, docs, options=ChunkOptions(max_tokens=50, overlap=0)).unchanged == 0  # cut otherwise
    assert len(index) == 4


def test_sync_removes_files_that_are_gone(index, docs, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("elsewhere")
    run(index, docs, other)
    (docs / "a.md").unlink()
    other.unlink()
    assert run(index, docs).removed == 0
    assert run(index, docs, sync=[docs]).removed == 2
    assert {Path(document.metadata["file"]).name for document in index} == {"b.txt", "c.jsonl", "other.txt"}


def test_a_file_that_can_no_longer_be_read_keeps_its_chunks(index, docs):
    run(index, docs)
    (docs / "a.md").write_bytes(b"caf\xe9 is not UTF-8")
    (docs / "sub" / "b.txt").write_text(" \n")
    report = run(index, docs)
    assert [reason.partition(":")[0] for _, reason in report.read.set_aside] == ["not UTF-8"]
    assert {Path(document.metadata["file"]).name for document in index} == {"a.md", "c.jsonl"}


def test_what_a_run_that_was_cut_off_left_is_put_right(index, docs, monkeypatch):
    monkeypatch.setattr(corpus, "BATCH", 2)
    long = docs / "long.txt"
    long.write_text("\n".join(f"{TEN} {n}" for n in range(9)))
    added = []

    def interrupted(self, documents, **options):
        added.append(len(documents))
        if len(added) == 4:
            raise KeyboardInterrupt
        return add(self, documents, **options)

    add = type(index).add
    monkeypatch.setattr(type(index), "add", interrupted)
    report = run(index, long)
    assert (report.finished, len(index)) == (False, 6)
    monkeypatch.setattr(type(index), "add", add)
    long.write_text("\n".join(f"{TEN} {n}" for n in range(3)))
    assert run(index, long).finished
    assert [document.text[-1] for document in index if document.id.startswith(long.as_posix())] == ["1", "2", "0"]


def test_a_prefix_is_embedded_and_not_stored(index, docs, encoder):
    run(index, docs / "a.md", options=ChunkOptions(max_tokens=16, overlap=0, prefix=True))
    part = f"Part\n{TEN}"
    assert encoder.encoded == [f"Guide\n{part}", f"Guide\n{TEN}"]
    assert [document.text for document in index] == [part, f"Guide\n{TEN}"]
