"""The tables that people read are what the JSON of the evaluations says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glot_rag.evaluation.paper.results import ExperimentReport, ExperimentResult
from glot_rag.evaluation.report.results import Report, Result

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "tables.py")]


# Markdown with tables: README, the documentation's results, the cards of the heads that ship.
WITH_TABLES = [
    "README.md",
    "docs/scale.md",
    *(f"docs/results/{name}.md" for name in ("retrieval", "paper", "training", "speed", "vector-index")),
]
WITH_TABLES += [f"glot_rag/pretrained/{name}/MODEL_CARD.md" for name in ("minilm", "smollm2")]


def test_tables_are_up_to_date(tmp_path: Path) -> None:
    ended = subprocess.run([*SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for name in WITH_TABLES:
        assert "<!-- results" in (ROOT / name).read_text(encoding="utf-8"), name
    # The check can fail.
    copy = tmp_path / "copy.md"
    text = (ROOT / "docs" / "results" / "retrieval.md").read_text(encoding="utf-8")
    copy.write_text(text.replace("| cranfield | none | ", "| cranfield | none | 9"), encoding="utf-8")
    ended = subprocess.run([*SCRIPT, "--check", str(copy)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "a table differs from its JSON" in ended.stderr


def test_a_short_table_has_systems_as_rows(tmp_path: Path) -> None:
    values = {("mean", *NONE): 40.0, ("bm25", *NONE): 30.0, ("mean", *WORDS): 10.0, ("bm25", *WORDS): 25.0}
    assert _table(tmp_path, [_report(0, values, 32.0)], "results, rows BM25; mean; oracle") == [
        "|  | none | words 80% |",
        "| --- | --- | --- |",
        "| BM25 | 30.0 | **25.0** |",
        "| mean | **40.0** | 10.0 |",
        "| oracle | 40.0 | 32.0 |",
    ]
    (shown,) = _table(tmp_path, [_report(0, values, 32.0)], "results, rows GLOT")
    assert "toy has no GLOT; it has mean, BM25, oracle" in shown


def test_a_table_of_trials(tmp_path: Path) -> None:
    def result(pooling: str, ratio: float, values: list[float]) -> ExperimentResult:
        mean, spread = sum(values) / len(values), 0.01 * (len(values) - 1)
        return ExperimentResult(pooling, "accuracy", mean, spread, values, [1], [1e-3], 0, {"ratio": ratio})

    glot, mean = result("glot", 0.9, [0.99, 1.0]), result("mean", 0.9, [0.5, 0.54])
    ExperimentReport("a", "ratio", {"backbone": "minilm"}, [mean, glot]).save(tmp_path / "a.json")
    ExperimentReport("b", "ratio", {"backbone": "smollm2"}, [result("glot", 0.2, [1.0])]).save(tmp_path / "b.json")
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


def _report(seed: int, values: dict[tuple[str, str, float], float], ceiling: float, **changed: Any) -> Report:
    """nDCG@10 in points: (pooling, noise, ratio) -> value."""

    def result(pooling: str, noise: str, ratio: float, value: float) -> Result:
        metrics, best = {"ndcg@10": value / 100}, {"ndcg@10": (40.0 if noise == "none" else ceiling) / 100}
        return Result(pooling, noise, ratio, metrics, best, None)

    results = [result(*where, value) for where, value in values.items()]
    setup = {"backbone": "minilm", "threads": str(1 + seed)}
    plain: dict[str, Any] = {"max_words": 170, "k": 100, "documents": 9, "queries": 3, "setup": setup}
    return Report("toy", seed, results, **{**plain, **changed})


def _table(tmp_path: Path, reports: list[Report], what: str = "results, overall") -> list[str]:
    """The lines that the script puts between the comments."""
    paths = [tmp_path / f"{number}.json" for number in range(len(reports))]
    for path, report in zip(paths, reports, strict=True):
        report.save(path)
    page = tmp_path / "page.md"
    page.write_text(f"<!-- {what}: {' '.join(map(str, paths))} -->\n<!-- end of results -->\n", encoding="utf-8")
    ended = subprocess.run([*SCRIPT, str(page)], capture_output=True, text=True, check=False)
    return page.read_text(encoding="utf-8").splitlines()[1:-1] if ended.returncode == 0 else [ended.stderr]


NONE, WORDS, LINES = ("none", 0.0), ("words", 0.8), ("boilerplate", 0.8)


def test_seeds_are_averaged_and_the_share_won_back_is_of_the_means(tmp_path: Path) -> None:
    first = {("mean", *NONE): 40.0, ("glot", *NONE): 40.0, ("mean", *WORDS): 10.0, ("glot", *WORDS): 24.0}
    first |= {("mean", *LINES): 20.0, ("glot", *LINES): 30.0}
    second = {**first, ("mean", *WORDS): 14.0, ("glot", *WORDS): 26.0}
    # Words: 13 of the 20 points between the means. Lines: 10 of 12, where the seeds' own shares, 10 of 10 and 10 of 14,
    # would be 86% on average.
    assert _table(tmp_path, [_report(0, first, 30.0), _report(1, second, 34.0)]) == [
        "| collection | noise | mean | GLOT | oracle | GLOT − mean | won back |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| toy | none | **40.0** | **40.0** | 40.0 | +0.0 |  |",
        "| toy | words 80% | 12.0 ± 2.8 | **25.0 ± 1.4** | 32.0 ± 2.8 | +13.0 | 65% |",
        "| toy | boilerplate 80% | 20.0 | **30.0** | 32.0 ± 2.8 | +10.0 | 83% |",
        "| all | won back, on average | 0% | **74%** |  |  | 74% |",
    ]


def test_other_noise_is_another_row_and_a_pooling_that_lacks_some_says_so(tmp_path: Path) -> None:
    words = {("mean", *WORDS): 10.0, ("glot", *WORDS): 20.0, ("adapool", *WORDS): 15.0}
    lines = {("mean", *LINES): 10.0, ("glot", *LINES): 25.0}
    reports = [_report(0, words, 30.0), _report(0, lines, 30.0)]
    assert _table(tmp_path, reports)[2:] == [
        "| toy | words 80% | 10.0 | **20.0** | 15.0 | 30.0 | +10.0 | 50% |",
        "| toy | boilerplate 80% | 10.0 | **25.0** |  | 30.0 | +15.0 | 75% |",
        "| all | won back, on average | 0% | **62%** | 25% (1 of 2) |  |  | 62% |",
    ]
    assert len(_table(tmp_path, reports, "results")) == 4  # no such line where it is not asked for


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 0}, "the reports of toy do not differ in the seed: seed 0, seed 0"),
        ({"queries": 4}, "differ in more than the seed: queries"),
        ({"setup": {"backbone": "smollm2"}}, "differ in more than the seed: backbone"),
    ],
)
def test_runs_that_are_not_one_are_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = {("mean", *WORDS): 10.0, ("glot", *WORDS): 20.0}
    options: dict[str, Any] = {"seed": 1, **changed}
    (shown,) = _table(tmp_path, [_report(0, values, 30.0), _report(values=values, ceiling=30.0, **options)])
    assert message in shown
    assert "Traceback" not in shown


def _benchmark_table(tmp_path: Path, record: dict[str, Any]) -> list[list[str]]:
    """The cells of a benchmark's table."""
    (tmp_path / "record.json").write_text(json.dumps(record))
    page = tmp_path / "page.md"
    page.write_text(f"<!-- results: {tmp_path}/record.json -->\n<!-- end of results -->\n")
    subprocess.run([*SCRIPT, str(page)], check=True)
    lines = page.read_text(encoding="utf-8").splitlines()[1:-1]
    return [[cell.strip() for cell in line[2:-2].split(" | ")] for line in (lines[0], *lines[2:])]


def test_a_table_of_noise_that_was_not_trained_on(tmp_path: Path) -> None:
    row = {"family": "words", "mean": 10.0, "unseen": 20.0, "unseen+prune": 22.0, "seen": 25.0, "seen+prune": 30.0}
    small = {**row, "family": "lines", "mean": 29.5, "unseen": 20.0}  # half a point to win: no share of it
    record = {"settings": {}, "results": [{**row, "ceiling": 30.0}, {**small, "ceiling": 30.0}]}
    head, words, lines, average = _benchmark_table(tmp_path, record)
    assert head[7:] == [
        f"won back, {way}{first}" for way in ("left out", "trained on") for first in ("", ", denoised first")
    ]
    assert words == ["words", "10.0", "20.0", "22.0", "25.0", "30.0", "30.0", "50%", "60%", "75%", "100%"]
    assert lines == ["lines", "29.5", "20.0", "22.0", "25.0", "30.0", "30.0", "", "", "", ""]
    assert average == ["on average", *[""] * 6, "50%", "60%", "75%", "100%"]


def test_a_table_of_an_ablation(tmp_path: Path) -> None:
    row = {"group": "drop", "name": "K 1", "auc": 0.7, "ndcg@10": 20.0, "parameters": 1234}
    results = [{**row, "seed": 0}, {**row, "seed": 1, "auc": 0.8, "ndcg@10": 24.0}]
    record = {"settings": {"mean": 12.0, "ceiling": 32.0}, "results": results}
    assert _benchmark_table(tmp_path, record) == [
        ["group", "what differs", "seeds", "token AUC", "nDCG@10", "won back", "parameters"],
        ["drop", "K 1", "2", "0.750 ± 0.071", "22.0 ± 2.8", "50%", "1,234"],
        ["", "mean pooling", "", "", "12.0", "", ""],
        ["", "oracle", "", "", "32.0", "", ""],
    ]


def test_a_table_of_what_training_costs(tmp_path: Path) -> None:
    def row(method: str, parameters: int, step: float) -> dict[str, Any]:
        costs = {"step_seconds": step, "epoch_seconds": 60 * step, "epoch_seconds_with_caching": 61 * step}
        return {"method": method, "parameters": parameters, **costs, "peak_gib": 0.5}

    results = [row("glot", 1000, 0.01), row("lora", 20_000, 1.0)]
    _, glot, lora = _benchmark_table(tmp_path, {"settings": {"backbone": "a/minilm", "epochs": 4}, "results": results})
    assert glot[1:] == ["GLOT head, cached states", "1,000", "1.0x", "10.0 ms", "1.0x", "0.6 s", "0.6 s", "0.50 GiB"]
    assert lora[:1] + lora[2:6] == ["minilm", "20,000", "20.0x", "1000.0 ms", "100.0x"]
