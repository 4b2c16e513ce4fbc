"""The results as CSV: one line for each method, noise setting and metric, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
from pathlib import Path

from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report

COLUMNS = (
    "dataset", "seed", "method", "pooling", "fitted", "denoised", "noise", "ratio", "metric", "value",
    "oracle", "own_oracle", "recovery",
    "low", "high", "difference", "difference_low", "difference_high", "p", "p_holm", "wins", "losses", "ties",
    "kept_precision", "kept_recall", "kept_f1", "ms_per_document",
)  # fmt: skip


def save_csv(report: Report, path: str | Path) -> None:
    """Write `COLUMNS` as UTF-8 CSV.

    Recovery, interval and comparison with mean are of nDCG@10: empty on the lines of other metrics, and where the
    report has none. Kept words and cost are the same on each line of a method and noise.
    """
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for result in report.results:
            for metric, value in result.metrics.items():
                row: dict[str, object] = {
                    "dataset": report.collection,
                    "seed": report.seed,
                    "method": result.label,
                    "pooling": result.pooling,
                    "fitted": result.fitted,
                    "denoised": result.denoised,
                    "noise": result.noise,
                    "ratio": result.ratio,
                    "metric": metric,
                    "value": value,
                    "oracle": result.oracle[metric],
                    "own_oracle": (result.own_oracle or {}).get(metric, ""),
                    "ms_per_document": report.costs.get(result.label, ""),
                }
                row |= {f"kept_{name}": value for name, value in (result.kept_words or {}).items()}
                if metric == PRIMARY_METRIC:
                    row["recovery"] = result.recovery
                    row["low"], row["high"] = result.interval or ("", "")
                    if (compared := result.against_mean) is not None:
                        row["difference"] = compared.difference
                        row["difference_low"], row["difference_high"] = compared.interval
                        row |= {name: getattr(compared, name) for name in ("p", "p_holm", "wins", "losses", "ties")}
                writer.writerow(row)
