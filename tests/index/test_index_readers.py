import json
import os

import pytest

from glot_rag.errors import DatasetError, InputError
from glot_rag.index import Document, GlotIndex, find_files, read_documents


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_folder_in_order_of_names(tmp_path):
    write(
        tmp_path,
        {
            "b.txt": "plain\r\ntext",
            "a/z.md": "# Title *here*\n\nSome **bold** text\nover lines.\n\n- one\n- two\n",
            "a/y.HTML": "<title>The page</title><p>Body</p>",
            "a.jsonl": '{"text": "t", "id": 5}\n',
            ".hidden/x.txt": "no",
            ".x.txt": "no",
            "c.pdf": "no",
            "empty.txt": " \n",
        },
    )
    reader = read_documents(tmp_path)
    assert [file.name for file in reader.files] == ["a.jsonl", "a/y.HTML", "a/z.md", "b.txt", "empty.txt"]
    assert list(reader) == [
        Document("t", "5", {"path": "a.jsonl"}),
        Document("Body", "a/y.HTML", {"path": "a/y.HTML", "title": "The page"}),
        Document(
            "Title here\nSome bold text over lines.\none\ntwo", "a/z.md", {"path": "a/z.md", "title": "Title here"}
        ),
        Document("plain\r\ntext", "b.txt", {"path": "b.txt"}),
    ]
    assert (reader.files_read, reader.empty, reader.skipped) == (5, ["empty.txt"], [])


def test_html(tmp_path):
    page = """<!DOCTYPE html><html><head><title>A &amp; B
      </title><style>p {}</style></head><body><!-- comment --><script>bad()</script>
      <h1>Head</h1><p>Hello <b>big</b>
      world&nbsp;!<br>next</p><template>no</template><table><tr><td>1</td><td>2</td></tr></table>
      <pre>a
  b</pre></body></html>"""
    write(tmp_path, {"x.htm": page})
    (document,) = read_documents(tmp_path / "x.htm")
    assert document.text == "Head\nHello big world !\nnext\n1 2\na\nb"
    assert document.metadata == {"path": "x.htm", "title": "A & B"}


def test_html_with_missing_end_tags(tmp_path):
    write(tmp_path, {"x.html": "<head><meta charset=utf-8><p>One<p>Two <b>bold", "y.html": "<div>" * 3000 + "deep"})
    texts = [document.text for document in read_documents(tmp_path, on_error="skip")]
    assert texts[0] == "One\nTwo bold"
    assert texts[1:] in (["deep"], [])  # read, or refused as nested too deeply


def test_markdown_drops_scripts_and_keeps_tables(tmp_path):
    write(tmp_path, {"x.md": "<script>bad()</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`code < x`\n"})
    (document,) = read_documents(str(tmp_path))
    assert document == Document("a b\n1 2\ncode < x", "x.md", {"path": "x.md"})


def test_jsonl(tmp_path):
    lines = [
        {"text": "a", "id": "one", "title": "T", "metadata": {"k": 1, "path": "mine"}},
        {"text": "b\u2028c", "_id": "two"},
        {"text": ""},
    ]
    write(
        tmp_path,
        {"d/x.jsonl": b"\xef\xbb\xbf" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()},
    )
    assert list(read_documents(tmp_path)) == [
        Document("a", "one", {"path": "mine", "title": "T", "k": 1}),
        Document("b\u2028c", "two", {"path": "d/x.jsonl"}),
        Document("", "d/x.jsonl#5", {"path": "d/x.jsonl"}),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object with a str under 'text'"),
        ('{"text": 1}', "expected an object"),
        ('{"text": "a", "id": 1.5}', "'id' must be a str or an int"),
        ('{"text": "a", "id": true}', "'id' must be a str or an int"),
        ('{"text": "a", "metadata": []}', "'metadata' an object"),
        ('{"text": "a", "metadata": {"x": NaN}}', "NaN is not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_jsonl_line_is_named(tmp_path, line, message):
    write(tmp_path, {"x.jsonl": f'{{"text": "good"}}\n\n{line}\n{{"text": "last"}}'})
    reader = read_documents(tmp_path)
    assert next(reader).text == "good"
    with pytest.raises(DatasetError, match=rf"x\.jsonl:3.*{message}"):
        next(reader)
    reader = read_documents(tmp_path, on_error="skip")
    assert [document.text for document in reader] == ["good", "last"]
    assert [type(error) for error in reader.skipped] == [DatasetError]


def test_bytes_that_are_not_utf8(tmp_path):
    write(
        tmp_path,
        {"a.txt": b"\xef\xbb\xbfabc\xe9", "b.txt": "\ufeffgood", "c.jsonl": b'{"text": "x"}\n{"text": "\xe9"}\n'},
    )
    with pytest.raises(DatasetError, match=r"a\.txt: not UTF-8: byte 0xe9 at offset 6"):
        list(read_documents(tmp_path))
    reader = read_documents(tmp_path, on_error="skip")
    assert [document.text for document in reader] == ["good", "x"]
    assert "c.jsonl: not UTF-8: byte 0xe9 at offset 24" in str(reader.skipped[1])
    assert reader.files_read == 3


def test_links_and_special_files(tmp_path):
    write(tmp_path, {"root/a.txt": "a", "elsewhere.txt": "linked"})
    root = tmp_path / "root"
    (root / "loop").symlink_to(root)
    (root / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    os.mkfifo(root / "pipe.txt")
    assert [document.text for document in read_documents(root)] == ["a", "linked"]
    (root / "broken.txt").symlink_to(tmp_path / "missing")
    with pytest.raises(DatasetError, match=r"broken\.txt: cannot be read: No such file"):
        list(read_documents(root))


def test_several_paths(tmp_path):
    write(tmp_path, {"a/x.txt": "1", "a/y.txt": "2", "b/z.txt": "3", "c/x.txt": "4"})
    files = find_files([tmp_path / "b", str(tmp_path / "a"), tmp_path / "a" / "x.txt"])
    assert [file.name for file in files] == ["x.txt", "y.txt", "z.txt"]
    with pytest.raises(DatasetError, match=r"would both get the id 'x\.txt'"):
        find_files([tmp_path / "a", tmp_path / "c"])


def test_paths_that_give_nothing(tmp_path):
    write(tmp_path, {"x.pdf": "no"})
    with pytest.raises(DatasetError, match=r"no file to read in this folder; supported: \.htm, \.html"):
        read_documents(tmp_path)
    with pytest.raises(DatasetError, match=r"x\.pdf: unsupported kind of file"):
        read_documents([tmp_path / "x.pdf"])
    with pytest.raises(DatasetError, match="no such file or folder"):
        read_documents(tmp_path / "missing")
    with pytest.raises(InputError, match="on_error"):
        read_documents(tmp_path, on_error="ignore")


def test_into_an_index(tmp_path, index: GlotIndex):
    write(tmp_path / "docs", {f"{i}.txt": f"text {i}" for i in range(5)})
    assert index.add(read_documents(tmp_path / "docs")) == [f"{i}.txt" for i in range(5)]
    assert index.search("text 3", 1)[0].metadata == {"path": "3.txt"}
