from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from glot_rag.evaluation import Comparison, Report, save_csv


def test_csv_holds_the_values_of_the_report(report: Report, tmp_path: Path) -> None:
    compared = Comparison(0.12, [0.05, 0.2], 0.001, wins=150, losses=50, ties=25, p_holm=0.002)
    last = dataclasses.replace(
        report.results[-1],
        metrics={"ndcg@10": 0.32, "mrr@10": 0.4},
        oracle={"ndcg@10": 0.36, "mrr@10": 0.5},
        interval=[0.3, 0.34],
        against_mean=compared,
        own_oracle={"ndcg@10": 0.35, "mrr@10": 0.45},
        fitted=True,
        kept_words={"precision": 0.5, "recall": 1.0, "f1": 0.75},
    )
    save_csv(
        dataclasses.replace(
            report,
            collection='a, "b"',
            costs={"GLOT": 12.5, "GLOT, fitted": 13.5},
            results=[*report.results[:-1], last],
        ),
        tmp_path / "out.csv",
    )
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("method", "pooling", "fitted", "denoised", "metric")
    assert [tuple(row[name] for name in names) for row in rows[-2:]] == [
        ("GLOT, fitted", "glot", "True", "False", "ndcg@10"),
        ("GLOT, fitted", "glot", "True", "False", "mrr@10"),
    ]
    assert (rows[-1]["kept_f1"], rows[0]["kept_f1"]) == ("0.75", "")
    assert len(rows) == 5
    assert {row["dataset"] for row in rows} == {'a, "b"'}
    main, other = rows[-2:]
    assert [float(main[name]) for name in ("value", "oracle", "recovery", "low", "high")] == [
        0.32,
        0.36,
        0.75,
        0.3,
        0.34,
    ]
    assert [float(main[name]) for name in ("difference", "difference_low", "difference_high")] == [0.12, 0.05, 0.2]
    assert [float(main[name]) for name in ("p", "p_holm", "wins", "losses", "ties")] == [0.001, 0.002, 150, 50, 25]
    assert (other["value"], other["oracle"], other["own_oracle"]) == ("0.4", "0.5", "0.45")
    assert (main["own_oracle"], rows[0]["own_oracle"]) == ("0.35", "")
    assert {other[name] for name in ("recovery", "low", "high", "difference", "p", "wins")} == {""}
    assert rows[0]["recovery"] == ""
    assert [row["ms_per_document"] for row in rows] == ["", "12.5", "", "13.5", "13.5"]
