"""The tables that people read are what the JSON of the evaluations says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from glot_rag.evaluation.trial_results import TrialReport, TrialResult

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


def test_a_table_of_trials(tmp_path: Path) -> None:
    def result(pooling: str, ratio: float, values: list[float]) -> TrialResult:
        mean, spread = sum(values) / len(values), 0.01 * (len(values) - 1)
        return TrialResult(pooling, "accuracy", mean, spread, values, [1], [1e-3], 0, {"ratio": ratio})

    glot, mean = result("glot", 0.9, [0.99, 1.0]), result("mean", 0.9, [0.5, 0.54])
    TrialReport("a", "ratio", {"backbone": "minilm"}, [mean, glot]).save(tmp_path / "a.json")
    TrialReport("b", "ratio", {"backbone": "smollm2"}, [result("glot", 0.2, [1.0])]).save(tmp_path / "b.json")
    page = tmp_path / "page.md"
    page.write_text(f"<!-- results: {tmp_path}/a.json {tmp_path}/b.json -->\n<!-- end of results -->\n")
    subprocess.run([*SCRIPT, str(page)], check=True)
    assert page.read_text().splitlines()[1:-1] == [
        "| backbone | pooling | 90% (accuracy) | 20% (accuracy) |",
        "| --- | --- | --- | --- |",
        "| minilm | mean | 52.0 ± 1.0 |  |",
        "| minilm | GLOT | **99.5 ± 1.0** |  |",
        "| smollm2 | GLOT |  | **100.0** |",
    ]
