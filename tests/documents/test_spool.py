"""Documents that are read once and looked at twice."""

import pytest

from glot_rag.documents import finding, read_documents, reading
from glot_rag.documents.finding import file_hash
from glot_rag.documents.spool import DocumentSpool


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.md").write_text("---\nyear: 2020\n---\n# Guide\n\nBoil it.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "first é \\u2028"}\n{"text": 3}\n{"text": "second", "tags": ["x"]}\n')
    (tmp_path / "c.txt").write_text("caf\n")
    return tmp_path.resolve()


def test_the_same_documents_as_the_reader_gives(folder):
    expected = list(read_documents(folder))
    reader = read_documents(folder)
    with DocumentSpool(reader) as spool:
        assert list(spool) == expected
        assert [document.blocks for document in spool] == [document.blocks for document in expected]
        at = f"{folder.as_posix()}/b.jsonl"
        assert [document.text for document in spool.read_file(at)] == ["first é \u2028", "second"]
        assert len(spool) == spool.report.documents == 4
        assert spool.incomplete == {at}
        assert (spool.files, spool.options) == (reader.files, reader.options)


def test_files_are_read_once(folder, monkeypatch):
    read = []
    original = reading.DocumentReader.read_file
    monkeypatch.setattr(
        reading.DocumentReader, "read_file", lambda self, path: read.append(path) or original(self, path)
    )
    with DocumentSpool(read_documents(folder)) as spool:
        assert len(list(spool)) == len(list(spool)) == 4
    assert read == spool.files


def test_the_hash_is_that_of_what_was_read(folder):
    before = file_hash(f"{folder.as_posix()}/c.txt")
    with DocumentSpool(read_documents(folder)) as spool:
        (folder / "c.txt").write_text("changed")
        assert spool.file_hash(f"{folder.as_posix()}/c.txt") == before
    assert file_hash(f"{folder.as_posix()}/c.txt") != before


def test_samples_are_evenly_spread_and_bounded(tmp_path, monkeypatch):
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    with DocumentSpool(read_documents(tmp_path)) as spool:
        assert [document.text[-1] for document in spool.sample(5)] == ["0", "2", "4", "6", "8"]
        assert len(spool.sample(99)) == 10
        monkeypatch.setattr("glot_rag.documents.spool._FITTING_CHARACTERS", 3 * len("text 0"))
        assert [document.text[-1] for document in spool.sample(99)] == ["0", "3", "6"]


def test_a_newer_loader_or_library_reads_a_file_again(folder, monkeypatch):
    text, page = folder / "c.txt", folder / "d.html"
    page.write_text("<p>Hello</p>")

    def hashes():
        finding._readers.cache_clear()
        return file_hash(str(text)), file_hash(str(page))

    before = hashes()
    monkeypatch.setattr(finding, "_version", lambda name: "99")
    with_library = hashes()
    assert (with_library[0] == before[0], with_library[1] == before[1]) == (True, False)
    monkeypatch.setattr(finding, "LOADERS_VERSION", 99)
    assert not set(hashes()) & {*before, *with_library}
    finding._readers.cache_clear()


def test_no_hash_of_a_file_that_is_gone(tmp_path):
    assert file_hash(str(tmp_path / "gone.txt")) == ""
