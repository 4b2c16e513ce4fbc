"""`glot-rag denoise`: the denoiser's texts in files, what was dropped in a report, and text through a pipe."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from glot_rag import Denoiser


@pytest.fixture
def folder(tmp_path: Path, pages: list[str]) -> Path:
    made = tmp_path / "pages"
    made.mkdir()
    for number, page in enumerate(pages):
        (made / f"{number:02d}.txt").write_text(page, encoding="utf-8")
    return made


def test_files_are_cleaned_by_a_fitted_denoiser(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    pages: list[str],
) -> None:
    out = tmp_path / "clean"
    assert command("denoise", folder, "--out", out) == 0
    expected = Denoiser.from_pretrained().fit(pages, ["a"] * 60).denoise(pages, ["a"] * 60)
    files = sorted(out.glob("*.txt"))
    assert [file.name for file in files[:2]] == ["01-00.txt", "02-01.txt"]
    assert [file.read_text(encoding="utf-8") for file in files] == [each.text for each in expected]
    records = [json.loads(line) for line in (out / "report.jsonl").read_text(encoding="utf-8").splitlines()]
    for page, record, each in zip(pages, records, expected, strict=True):
        assert record["spans"] == [list(span) for span in each.spans]
        assert record["kept"] == pytest.approx(each.kept, abs=1e-4)
        whole = [b for b in each.blocks if any(s <= b.start and b.end <= e for s, e in each.spans)]
        assert [(b["start"], b["end"]) for b in record["dropped"]] == [
            (b.start, b.end) for b in each.blocks if b not in whole
        ]
        assert all(page[b["start"] : b["end"]] == b["text"] for b in record["dropped"])
    assert any(record["dropped"] for record in records)
    assert f"60 documents in {out}" in capsys.readouterr().out
    assert command("denoise", folder, "--out", out) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_a_pipe(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    text = "The kettle boils a litre of water — in two minutes.\nIt switches itself off.\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert command("denoise", "-") == 0
    assert capsysbinary.readouterr().out.decode() == Denoiser.from_pretrained().denoise([text])[0].text
    page = "<!doctype html><title>Kettle</title><script>let x</script>" + text.replace("\n", "<br>")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(page.encode())))
    assert command("denoise", "-") == 0
    assert capsysbinary.readouterr().out.decode() == Denoiser.from_pretrained().denoise([text.strip()])[0].text


def test_mistakes_are_told_before_a_model_is_loaded(tmp_path: Path, folder: Path) -> None:
    script = (
        "import sys; from glot_rag.cli.app import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )

    def told(*arguments: str, given: bytes = b"") -> str:
        done = subprocess.run([sys.executable, "-c", script, "denoise", *arguments], input=given, capture_output=True)
        assert done.returncode == 2, done.stderr
        return done.stderr.decode()

    assert "give --out" in told(str(folder))
    assert "- stands alone" in told("-", str(folder))
    assert "there is no such file" in told(str(tmp_path / "none"), "--out", str(tmp_path / "x"))
    (tmp_path / "empty").mkdir()
    assert "nothing to clean" in told(str(tmp_path / "empty"), "--out", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_standard_input_that_is_not_utf_8(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("Zürich".encode("latin-1"))))
    assert command("denoise", "-") == 2
    assert "standard input is not UTF-8 (byte 1)" in capsys.readouterr().err
