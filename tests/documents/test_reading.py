from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from glot_rag.documents import Document, find_files, read_documents, reading
from glot_rag.documents.loaders import base
from glot_rag.errors import DatasetError, InputError, MissingExtraError


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_a_folder_in_order_of_paths(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "b.txt": "plain text",
            "a/z.md": "# Title\n\nSome text",
            "a/y.HTML": "<title>The page</title><p>Body",
            "a.jsonl": '{"text": "t", "id": 5}\n{"text": "u"}\n{"text": "  "}\n',
            ".hidden/x.txt": "no",
            ".x.txt": "no",
            "node_modules/x.txt": "no",
            "picture.png": b"\x89PNG\0",
            "tool.xyz": "no",
            "empty.txt": " \n",
        },
    )
    reader = read_documents(tmp_path)
    at = tmp_path.as_posix()
    assert list(reader) == [
        Document("t", "5", {"source": f"{at}/a.jsonl"}),
        Document("u", f"{at}/a.jsonl#2", {"source": f"{at}/a.jsonl"}),
        Document("Body", f"{at}/a/y.HTML", {"source": f"{at}/a/y.HTML", "title": "The page"}),
        Document("Title\nSome text", f"{at}/a/z.md", {"source": f"{at}/a/z.md", "title": "Title"}),
        Document("plain text", f"{at}/b.txt", {"source": f"{at}/b.txt"}),
    ]
    report = reader.report
    assert (report.files, report.documents, reader.files_read) == (5, 5, 7)
    assert report.unknown == {".png": 1, ".xyz": 1}
    assert report.empty == [f"{at}/a.jsonl:3", f"{at}/empty.txt"]
    assert report.set_aside == []
    assert report.lines() == [
        "5 documents from 5 files",
        "2 files of kinds that are not read: 1 .png, 1 .xyz",
        f"2 without text: {at}/a.jsonl:3, {at}/empty.txt",
    ]


def test_an_id_does_not_depend_on_how_a_file_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"site1/index.html": "<p>a", "site2/index.html": "<p>b", "site1/sub/x.jsonl": '{"text": "c"}'})
    (tmp_path / "site1" / "link.html").symlink_to(tmp_path / "site2" / "index.html")

    def ids(*paths: str | Path) -> list[str]:
        return [document.id for document in read_documents(paths)]

    both = ids(tmp_path)
    at = tmp_path.as_posix()
    assert both == [f"{at}/site1/index.html", f"{at}/site1/sub/x.jsonl#1", f"{at}/site2/index.html"]
    assert sorted({*ids(tmp_path / "site1"), *ids(tmp_path / "site2")}) == both
    monkeypatch.chdir(tmp_path / "site1")
    assert ids("sub") == ids(tmp_path / "site1" / "sub") == [both[1]]
    assert ids("..", "sub", "sub/x.jsonl") == both  # each once
    assert [each.id for each in read_documents(tmp_path / "site2", relative_to=tmp_path)] == ["site2/index.html"]


def test_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("docs/x.html", "<p>in a zip")
        archive.writestr("docs/y.jsonl", '{"text": "a line"}\n')
        archive.writestr("docs/.z.txt", "hidden")
        archive.writestr("inner.zip", b"PK\x03\x04")
        archive.writestr("p.png", b"\x89PNG\0")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"in a gz"))
    reader = read_documents(tmp_path)
    at = tmp_path.as_posix()
    assert [(each.id, each.text) for each in reader] == [
        (f"{at}/a.zip!docs/x.html", "in a zip"),
        (f"{at}/a.zip!docs/y.jsonl#1", "a line"),
        (f"{at}/b.txt.gz", "in a gz"),
    ]
    assert reader.report.unknown == {".png": 1}
    assert reader.report.set_aside == [(f"{at}/a.zip!inner.zip", "an archive within an archive; unpack it first")]


def test_an_office_file_of_another_kind_is_no_archive(tmp_path: Path) -> None:
    kinds = {"book.xlsx": "[Content_Types].xml", "letter.odt": "mimetype", "report": "[Content_Types].xml"}
    for name, member in kinds.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "x")
            archive.writestr("content.xml", "<a/>")
    reader = read_documents(tmp_path)
    assert list(reader) == []
    assert [Path(place).name for place, _ in reader.report.set_aside] == sorted(kinds)
    assert {reason for _, reason in reader.report.set_aside} == {reading.OTHER_OFFICE}
    assert not reader.report.unknown


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_UNPACKED", 100_000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a" * 200_000))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "line"}\n' * 20_000))
    for name in ("c.zip", "d.docx"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.txt", "a" * 200_000)
    reader = read_documents(tmp_path)
    read = list(reader)
    assert {each.source for each in read} <= {f"{tmp_path.as_posix()}/b.jsonl.gz"}
    assert len(read) < 20_000
    assert [reason.split(";")[0].split(" than ")[0] for _, reason in reader.report.set_aside] == [
        *["it unpacks to more"] * 2,
        *["1 files of 0 MB in an archive, more"] * 2,
    ]


def test_large_files_are_refused_before_they_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_FILE", 1 << 20)
    write(tmp_path, {"a.html": "<p>" + "a" * (1 << 20), "b.txt": "a\n" * (1 << 20)})
    reader = read_documents(tmp_path)
    assert [each.source for each in reader] == [f"{tmp_path.as_posix()}/b.txt"]
    assert reader.report.set_aside[0].reason == "larger than 1 MB, the most that is read of a .html file"


def test_a_long_text_becomes_several_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glot_rag.documents.decoding.PIECE", 1000)
    text = "".join(f"line {n}\n" for n in range(500))
    write(tmp_path, {"long.txt": text})
    found = list(read_documents(tmp_path))
    assert [each.id for each in found] == [f"{tmp_path.as_posix()}/long.txt#{n}" for n in range(1, len(found) + 1)]
    assert "".join(each.text for each in found) == text
    assert max(len(each.text) for each in found) <= 2000


def test_damaged_files_are_set_aside_with_their_reason(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.pdf": b"%PDF-1.7 nothing",
            "b.docx": b"PK\x03\x04 nothing",
            "c.txt": b"caf\xe9 au lait",
            "d.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "e.gz": b"\x1f\x8b\x08 nothing",
            "f.ipynb": "{",
            "g.jsonl": json.dumps({"text": "a", "id": "x" * 2000}) + "\n" + json.dumps({"text": "b", "n": 1 << 70})
            + "\n" + json.dumps({"text": "c", "s": "\0"}) + "\n" + '{"text": "half \\ud83d"}\n' + '{"text": "good"}\n'
            + '{"text": "deep", "x": ' + "[" * 900 + "]" * 900 + "}\n",
            "h.md": "good",
            "i.log": b"a line\n\0\0\0\n",
        },
    )  # fmt: skip
    reader = read_documents(tmp_path)
    assert [each.text for each in reader] == ["good", "good"]
    assert reader.report.files == 2  # g.jsonl and h.md; of the others nothing was read
    reasons = {place.removeprefix(f"{tmp_path.as_posix()}/"): reason for place, reason in reader.report.set_aside}
    assert {place: reason[:24] for place, reason in reasons.items()} == {
        "a.pdf": "not a PDF, or a damaged ",
        "b.docx": "File is not a zip file",
        "c.txt": "not UTF-8: byte 0xe9 at ",
        "d.doc": "a file of an old Office ",
        "e.gz": reasons["e.gz"][:24],
        "f.ipynb": "not JSON: Expecting prop",
        "g.jsonl:1": "a document id takes 2000",
        "g.jsonl:2": "the metadata of document"[:24],
        "g.jsonl:3": "the metadata of document",
        "g.jsonl:4": "the text of document '/t",
        "g.jsonl:6": "the metadata of document",
        "i.log": "no .log file: it holds NUL characters"[:24],
    }
    assert "must fit in 64 bits" in reasons["g.jsonl:2"]
    assert "NUL" in reasons["g.jsonl:3"]
    assert "lone surrogate" in reasons["g.jsonl:4"]
    assert "more than 64 levels deep" in reasons["g.jsonl:6"]
    for name in ("a.pdf", "c.txt", "g.jsonl"):
        with pytest.raises(DatasetError, match=rf"{name}.*: "):
            list(read_documents(tmp_path / name, strict=True))


def test_encoding_is_taken_where_nothing_else_is_known(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "café".encode("cp1252"), "b.txt": "café"})
    assert [each.text for each in read_documents(tmp_path, encoding="cp1252")] == ["café", "café"]


def test_links_and_special_files(tmp_path: Path) -> None:
    root = write(tmp_path, {"root/a.txt": "a", "elsewhere.txt": "linked"}) / "root"
    (root / "loop").symlink_to(root)
    (root / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    os.mkfifo(root / "pipe.txt")
    with pytest.raises(DatasetError, match=r"pipe\.txt: it is neither a file nor a folder"):
        find_files(root / "pipe.txt")
    assert sorted(each.text for each in read_documents(root)) == ["a", "linked"]
    (root / "broken.txt").symlink_to(tmp_path / "missing")
    with pytest.raises(DatasetError, match=r"broken.txt: cannot be read: No such file"):
        list(read_documents(root, strict=True))


def test_what_glot_rag_wrote_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    record = '{"format": "glot-rag/embedding"}'
    written = {"run/run.json": record, "run/chunks/a.json": "{}", "index/store.sqlite": "", "index/store.commit": "{}"}
    written |= {"out/index.json": '{"glot_rag_export": 1}', "out/documents.jsonl": '{"text": "a"}'}
    write(tmp_path, {"a.txt": "a", **written, "index/notes.txt": "n", "own/run.json": '{"speed": 3}'})
    found = [Path(path).relative_to(tmp_path.resolve()).as_posix() for path in find_files(tmp_path)]
    assert found == ["a.txt", "own/run.json"]
    assert [Path(path).name for path in find_files(tmp_path / "run")] == ["a.json", "run.json"]


def test_a_file_that_is_asked_for_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    write(tmp_path, {"a.xyz": "some text", "README": "more text", "b/app.log.1": "a line"})
    assert [each.text for each in read_documents(tmp_path / "a.xyz")] == ["some text"]
    (tmp_path / "b/app.log.2.gz").write_bytes(gzip.compress(b"packed"))
    several = iter([tmp_path / "a.xyz", tmp_path / "b/app.log.1", tmp_path / "b/app.log.2.gz"])
    assert [each.text for each in read_documents(several)] == ["some text", "a line", "packed"]
    assert [each.text for each in read_documents(tmp_path)] == ["more text"]
    assert list(read_documents(tmp_path / "b")) == []  # in a folder


def test_paths_and_options_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing: there is no such file or folder"):
        find_files(tmp_path / "missing")
    with pytest.raises(InputError, match="html must be one of main, all; got 'body'"):
        read_documents(tmp_path, html="body")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown encoding"):
        read_documents(tmp_path, encoding="utf9")


def test_files_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {f"{n:03}.txt": f"text {n}" for n in range(50)})
    reader = read_documents(tmp_path)
    assert next(reader).text == "text 0"
    assert next(reader).text == "text 1"
    assert (len(reader.files), reader.files_read, reader.report.files) == (50, 1, 2)


def test_a_format_s_library_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.txt": "text"})
    with zipfile.ZipFile(tmp_path / "b.docx", "w") as archive:
        archive.writestr("x.xml", "<x/>")
    monkeypatch.setitem(sys.modules, "docx", None)
    reader = read_documents(tmp_path)
    assert next(reader).text == "text"
    with pytest.raises(MissingExtraError, match=r"'python-docx'.*pip install 'glot-rag\[documents\]'"):
        next(reader)


def test_importing_the_room_loads_no_library_of_a_format() -> None:
    libraries = "docx pptx pypdfium2 trafilatura selectolax docutils markdown_it lxml yaml torch"
    code = f"import sys, glot_rag.documents; print(sorted(set({libraries!r}.split()) & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
