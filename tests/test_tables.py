"""The tables that people read are what the JSON of the evaluations says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "tables.py")]


@pytest.mark.parametrize("name", ["README.md", "glot_rag/pretrained/minilm/MODEL_CARD.md"])
def test_tables_are_up_to_date(name: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- results: " in text
    ended = subprocess.run([*SCRIPT, "--check", str(ROOT / name)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    # The check can fail.
    copy = tmp_path / "copy.md"
    copy.write_text(text.replace("| cranfield | none | 42.0", "| cranfield | none | 43.0"), encoding="utf-8")
    ended = subprocess.run([*SCRIPT, "--check", str(copy)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "is not what its JSON says" in ended.stderr
