"""Files into an index: what is stored of them, and what a second run touches."""

import os
import re
import sys
from pathlib import Path

import pytest

from glot_rag.denoise.denoised import Denoised, DenoisedBlock
from glot_rag.documents import read_documents
from glot_rag.documents.spool import DocumentSpool
from glot_rag.index import corpus
from glot_rag.index.chunking import Chunker, ChunkOptions
from glot_rag.index.corpus import index_corpus

TEN = "one two three four five six seven eight nine ten"


def words(text):
    return [match.span() for match in re.finditer(r"\S+", text)]


def run(index, *paths, sync=(), options=None, denoiser=None, show_progress=False, **reading):
    chunker = Chunker(words, options or ChunkOptions(max_tokens=12, overlap=0), denoiser)
    return index_corpus(index, read_documents(paths, **reading), chunker, sync=sync, show_progress=show_progress)


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


def test_a_second_run_touches_changed_files_only(index, docs, encoder, capsys):
    run(index, docs)
    encoder.encoded.clear()
    report = run(index, docs, show_progress=True)
    size = sum(path.stat().st_size for path in docs.rglob("*.*"))
    assert f"{size}/{size} bytes" in capsys.readouterr().err
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_files_whose_names_cannot_be_ids_are_set_aside_and_the_others_stored(index, docs):
    (docs / os.fsdecode(b"caf\xe9.txt")).write_text("a name in Latin-1")
    deep = docs.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    (deep / "x.jsonl").write_text('{"text": "an id of its own", "id": "y"}')
    for stored_now in (6, 0):
        report = run(index, docs)
        assert report.chunks == stored_now
        reasons = [reason for _, reason in report.read.set_aside]
        assert reasons[0] == "the file name is not UTF-8; rename the file"
        assert "bytes, more than 1,000; move the file" in reasons[1]


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


class DropsMenus:
    """Stands for a denoiser: lines with | are noise, and one line stays whatever it is."""

    def __init__(self, fingerprint="menus"):
        self.fingerprint = fingerprint
        self.seen = []

    def denoise(self, texts, groups=None):
        self.seen += zip(texts, groups or [None] * len(texts), strict=True)
        return [self._denoised(text) for text in texts]

    def _denoised(self, text):
        lines = [match.span() for match in re.finditer(r"[^\n]+", text)]
        noise = [0.95 if "|" in text[start:end] else 0.1 for start, end in lines]
        kept = [line for line, each in zip(lines, noise, strict=True) if each < 0.5] or lines[:1]
        clean = "\n".join(text[start:end] for start, end in kept)
        blocks = tuple(DenoisedBlock(text[slice(*line)], *line, each) for line, each in zip(lines, noise, strict=True))
        return Denoised(clean, tuple(kept), len(clean.split()) / len(text.split()), blocks)


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a.txt").write_text(f"Home | Shop\n{TEN}\nMore | Less\n{TEN[:13]}\n")
    (folder / "links.txt").write_text("one | two\nthree | four\n" * 9)
    (folder / "plain.txt").write_text(f"{TEN}\n")
    return folder.resolve()


def test_noise_is_dropped_before_chunks_are_cut(index, site, encoder):
    denoiser = DropsMenus()
    report = run(index, site, denoiser=denoiser, options=ChunkOptions(max_tokens=20, overlap=0))
    at = site.as_posix()
    found = stored(index)
    assert encoder.encoded == [f"{TEN}\n{TEN[:13]}", TEN]
    assert list(found) == [f"{at}/a.txt#0", f"{at}/plain.txt#0"]
    chunk = found[f"{at}/a.txt#0"]
    original = (site / "a.txt").read_text()
    assert chunk.text == f"{TEN}\n{TEN[:13]}"
    assert original[chunk.metadata["start"] : chunk.metadata["end"]] == f"{TEN}\nMore | Less\n{TEN[:13]}"
    assert (chunk.metadata["lines"], chunk.metadata["kept"]) == ([2, 4], round(13 / 19, 4))
    assert found[f"{at}/plain.txt#0"].metadata["kept"] == 1
    assert {group for _, group in denoiser.seen} == {at}
    noise = report.noise
    assert (noise.words, noise.words_dropped, noise.blocks, noise.blocks_dropped) == (83, 57, 23, 19)
    assert (noise.chunks_dropped, noise.nearly_whole) == (1, [(f"{at}/links.txt", 3 / 54)])
    assert noise.lines() == [
        "noise: 57 of 83 words (69%) and 19 of 23 blocks were dropped",
        "1 chunks are mostly noise and were left out; --keep-noise keeps them",
        "1 files were dropped nearly whole:",
        f"  {at}/links.txt: 6% of its words kept",
    ]


def test_chunks_of_noise_are_kept_if_asked_for(index, site):
    options = ChunkOptions(max_tokens=20, overlap=0, keep_noise=True)
    report = run(index, site, denoiser=DropsMenus(), options=options)
    links = stored(index)[f"{site.as_posix()}/links.txt#0"]
    assert (links.text, links.metadata["kept"]) == ("one | two", round(3 / 54, 4))
    assert report.noise.chunks_dropped == 0


def test_a_file_is_cleaned_again_by_another_denoiser_only(index, site):
    assert run(index, site, denoiser=DropsMenus()).unchanged == 0
    again = DropsMenus()
    report = run(index, site, denoiser=again)
    assert (report.unchanged, [text[:9] for text, _ in again.seen]) == (2, ["one | two"])  # it left no chunk
    assert run(index, site, denoiser=DropsMenus("fitted anew")).unchanged == 0
    assert run(index, site).unchanged == 0


def test_no_noise_to_report_without_a_denoiser(index, docs):
    assert run(index, docs).noise.lines() == []
    assert all("kept" not in document.metadata for document in index)


def test_files_that_were_read_already(index, docs):
    with DocumentSpool(read_documents(docs)) as spool:
        report = index_corpus(index, spool, Chunker(words, ChunkOptions(12, 0)))
    assert (report.chunks, report.read.files) == (6, 3)
    assert run(index, docs).unchanged == 3


def test_small_files_share_a_commit(index, tmp_path, monkeypatch):
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    added = []
    monkeypatch.setattr(type(index), "add", lambda self, documents: added.append(len(documents)))
    run(index, tmp_path)
    assert added == [9]
