"""`glot-rag explain`: from a file or a text to a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from glot_rag.cli.app import app
from glot_rag.errors import InputError

run = CliRunner().invoke


def test_a_file_becomes_a_page(minilm_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("<main><p>Readers do not block writers, and a writer does not block readers.</p></main>")
    done = run(app, ["explain", str(page), "--query", "do readers block", "--out", str(tmp_path / "out.html")])
    assert done.exit_code == 0, done.output
    assert "score 0." in done.output
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<q>do readers block</q>" in text
    assert "Mean pooling" in text


@pytest.mark.parametrize("given", ["missing/file.txt", "missing.pdf"])
def test_a_missing_file_is_not_taken_for_a_text(given: str, tmp_path: Path) -> None:
    done = run(app, ["explain", given, "--out", str(tmp_path / "out.html")])
    assert isinstance(done.exception, InputError)
    assert f"there is no file {given}" in str(done.exception)


@pytest.mark.parametrize(("given", "told"), [(".", "'.' is a folder: give one file"), (" ", "' ' is empty: give")])
def test_a_folder_and_nothing_are_no_text(given: str, told: str, tmp_path: Path) -> None:
    done = run(app, ["explain", given, "--out", str(tmp_path / "out.html")])
    assert isinstance(done.exception, InputError)
    assert told in str(done.exception)
