"""What a terminal and a shell meet: other encodings, errors of the operating system, a pipe that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from glot_rag import Document, GlotIndex
from glot_rag.embedder import Vectors

MAIN = "from glot_rag.cli.app import main; main()"


def run(*arguments: str, code: str = MAIN, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, env={**os.environ, **environment}, timeout=120
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_is_not_utf_8_shows_escapes(encoding: str, tmp_path: Path) -> None:
    done = run("search", str(tmp_path / "日本"), "query", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    # click writes UTF-8 where a stream says ASCII, which is most often a container without a locale.
    assert ("日本".encode() if encoding == "ascii" else rb"\u65e5\u672c") in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_error_of_the_operating_system_is_one_line(tmp_path: Path) -> None:
    code = "import glot_rag.cli.app as c\n@c.app.command()\ndef fail(): raise OSError(28, 'No space', 'x')\nc.main()"
    done = run("fail", code=code)
    assert (done.returncode, done.stderr) == (2, b"Error: x: No space\n")


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    code = (
        "import glot_rag.cli.app as c, typer\n"
        "@c.app.command()\ndef many():\n    for n in range(100_000): typer.echo(str(n))\nc.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "many"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(timeout=60)


def test_delete_by_id_by_file_and_by_folder(tmp_path: Path) -> None:
    with GlotIndex.create(tmp_path / "index", OneVector()) as index:
        index.add(
            Document("text", id=f"/d/{name}#{number}", metadata={"source": f"/d/{name}"}) for name, number in PLACES
        )
    done = run("delete", str(tmp_path / "index"), "/d/a.txt#0", "/d/b.txt")
    assert (done.returncode, done.stdout.decode()) == (0, f"3 documents deleted; 1 in {tmp_path / 'index'}\n")
    done = run("delete", str(tmp_path / "index"), "/d/a.txt", "/d/none")
    assert done.returncode == 1
    assert b"neither as an id nor as a file or folder: /d/none" in done.stderr
    with GlotIndex.open(tmp_path / "index", OneVector()) as index:
        assert len(index) == 0
        member = {"source": "/d/z.zip!in/c.txt", "file": "/d/z.zip"}
        index.add(Document("text", id=id, metadata=member) for id in ("/d/z.zip#0", "/d/z.zip#1"))
        index.add(Document("text", id=f"{folder}/c.txt#0") for folder in ("/d/e", "/d/e/f", "/d/ee"))
    done = run("delete", str(tmp_path / "index"), "/d/z.zip", "/d/e/")
    assert (done.returncode, done.stdout.decode()) == (0, f"4 documents deleted; 1 in {tmp_path / 'index'}\n")


PLACES = [("a.txt", 0), ("a.txt", 1), ("b.txt", 0), ("b.txt", 1)]


class OneVector:
    """An encoder for which all texts are alike."""

    dimension = 2
    fingerprint = "one"

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        return np.tile(np.float32([1, 0]), (len(texts), 1))

    encode_queries = encode_documents


def test_hits_whose_metadata_have_the_names_of_an_index(tmp_path: Path) -> None:
    columns = {"lines": 12, "headings": "none", "start": "now", "document": ["a"], "title": 5}
    with GlotIndex.create(tmp_path / "index", OneVector()) as index:
        index.add([Document("Moles dig tunnels.", id="row", metadata=columns)])
    done = run("search", str(tmp_path / "index"), "moles", "--mode", "keyword", "--group")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split()[3:] == ["row,", "['a']", "Moles", "dig", "tunnels."]


def test_a_hit_names_its_row_or_message(tmp_path: Path) -> None:
    mail = {"source": "/d/in.mbox", "document": "/d/in.mbox#3", "start": 0, "end": 9}
    row = {"source": "/d/t.csv", "document": "a7"}
    with GlotIndex.create(tmp_path / "index", OneVector()) as index:
        index.add(Document("moles", id=id, metadata=metadata) for id, metadata in (("m", mail), ("r", row)))
    done = run("search", str(tmp_path / "index"), "moles", "--mode", "keyword")
    assert {"/d/in.mbox#3 [0:9]", "/d/t.csv, a7"} <= set(done.stdout.decode().splitlines()), done.stderr


def test_a_terminal_obeys_no_document(tmp_path: Path) -> None:
    with GlotIndex.create(tmp_path / "index", OneVector()) as index:
        index.add([Document("moles \x1b[2J dig\n\x9b31m tunnels", id="a\x1b[0m", metadata={"title": "\x1b]0;t\x07"})])
    done = run("search", str(tmp_path / "index"), "moles", "--mode", "keyword")
    shown = done.stdout.decode()
    assert "moles ␛[2J dig\n\ufffd31m tunnels" in shown
    assert not {"\x1b", "\x9b", "\x07"} & set(shown)


def test_a_file_that_is_built_again_is_told_once(tmp_path: Path) -> None:
    with GlotIndex.create(tmp_path / "index", OneVector()) as index:
        index.add([Document("moles")])
    (tmp_path / "index/index.keywords").write_bytes(b"")
    done = run("search", str(tmp_path / "index"), "moles", "--mode", "keyword")
    (line,) = done.stderr.decode().splitlines()
    assert "index.keywords is not the file that was written; rebuilding it" in line
