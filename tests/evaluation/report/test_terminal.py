from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from glot_rag.evaluation import Comparison, Report, Result, print_report


def printed(report: Report, width: int, metric: str | None = None, *, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    print_report(report, console, metric)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wide(report: Report, settings: int) -> Report:
    results = [
        dataclasses.replace(each, noise=f"kind{i}") for i in range(settings) for each in report.results if each.ratio
    ]
    return dataclasses.replace(report, results=results)


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.split() for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines if line and line[0] in ("mean", "GLOT", "oracle")}


def test_costs(report: Report) -> None:
    timed = dataclasses.replace(report, costs={"mean": 15.2, "GLOT": 3.14159})
    text = printed(timed, 100)
    assert "ms a" in text
    values = rows(text)
    assert (values["mean"][:2], values["GLOT"][:2]) == (["15", "39.6"], ["3.1", "39.1"])
    assert values["oracle"] == ["39.6", "36.0"]


def test_a_star_where_the_difference_is_sure(report: Report) -> None:
    def with_p(p_holm: float | None) -> str:
        compared = Comparison(0.12, [0.05, 0.2], 0.001, wins=150, losses=50, ties=25, p_holm=p_holm)
        last = dataclasses.replace(report.results[-1], against_mean=compared)
        return printed(dataclasses.replace(report, results=[*report.results[:-1], last]), 100)

    assert "+12.0* · 75%" in with_p(0.049)
    assert "*: p < 0.05 after Holm" in with_p(0.049)
    for p_holm in (0.05, None):
        assert "+12.0 · 75%" in with_p(p_holm)
        assert "*" not in with_p(p_holm)


def test_values(report: Report) -> None:
    text = printed(report, 100)
    assert text.startswith("nDCG@10 × 100 on toy: 1,398 documents (≤ 170 words with noise), 225 queries, seed 0\n")
    assert rows(text) == {"mean": ["39.6", "20.0"], "GLOT": ["39.1", "32.0"], "oracle": ["39.6", "36.0"]}
    assert re.search(r"^ +-0\.5 +\+12\.0 · 75%", text, re.MULTILINE)


def test_the_best_pooling_of_each_column_is_bold(report: Report) -> None:
    text = printed(report, 100, colour=True)
    assert all(f"\x1b[1m{best}\x1b[0m" in text for best in ("39.6", "32.0"))
    assert not any(f"\x1b[1m{other}\x1b[0m" in text for other in ("39.1", "20.0", "36.0"))


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("settings", [1, 4, 7, 9])
def test_fits_the_console(report: Report, width: int, settings: int) -> None:
    text = printed(wide(report, settings), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert len(re.findall(r"\+12\.0 · 75%", text)) == settings


def test_without_mean_and_with_problems(report: Report) -> None:
    results = [each for each in report.results if each.pooling == "glot"]
    text = printed(dataclasses.replace(report, results=results, problems=["2 empty documents."], max_words=0), 100)
    assert rows(text) == {"GLOT": ["39.1", "32.0"], "oracle": ["39.6", "36.0"]}
    assert "±" not in text
    assert "Note: 2 empty documents." in text
    assert "toy: 1,398 documents, 225 queries" in text


def test_kept_words(report: Report) -> None:
    kept = {"precision": 0.5, "recall": 1.0, "f1": 0.667}
    last = dataclasses.replace(report.results[-1], fitted=True, denoised=True, kept_words=kept)
    text = printed(dataclasses.replace(report, results=[*report.results[:-1], last]), 100)
    assert "GLOT, fitted, denoised" in text
    assert "+12.0 · 75% · words 67" in text
    assert "words: F1 of the kept words" in text


def test_a_collection_without_added_noise_is_not_called_clean(report: Report) -> None:
    text = printed(report, 100)
    assert re.search(r"no noise", text)
    assert "clean" not in text


def test_other_metrics(report: Report) -> None:
    results = [
        Result(each.pooling, each.noise, each.ratio, {"mrr@10": 0.5}, {"mrr@10": 0.6}, None) for each in report.results
    ]
    text = printed(dataclasses.replace(report, results=results), 100)
    assert "MRR@10 × 100" in text
    assert rows(text)["oracle"] == ["60.0", "60.0"]
