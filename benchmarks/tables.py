"""Fill the tables of Markdown files from the JSON of `glot-rag evaluate`, `stress`, `glue` and of the benchmarks.

    python benchmarks/tables.py README.md glot_rag/pretrained/minilm/MODEL_CARD.md

A table stands between two comments, the first of which names the files, relative to the repository:

    <!-- results: benchmarks/results/cranfield.json benchmarks/results/cisi.json -->
    <!-- end of results -->

`--check` writes nothing and fails where a table is not what the JSON says.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from speed_tables import rows_of

from glot_rag.evaluation.results import PRIMARY_METRIC, Report
from glot_rag.evaluation.trial_results import TrialReport, heading

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- results: (?P<files>[^>]+?) -->\n).*?(<!-- end of results -->)", re.DOTALL)
_TITLES = {
    "mean": "mean",
    "adapool": "AdaPool",
    "glot": "GLOT",
    "glot+prune": "GLOT, pruned",
    "glot+adapt": "GLOT, adapted",
    "adapool+adapt": "AdaPool, adapted",
    "glot+adapt+prune": "GLOT, adapted, pruned",
    "max": "max",
    "cls": "CLS",
    "bm25": "BM25",
    "best-chunk": "best chunk",
}


def table(reports: list[Report]) -> str:
    """Rows are collection and noise, columns poolings; nDCG@10 × 100, and what GLOT wins over mean pooling."""
    poolings = list(dict.fromkeys(pooling for report in reports for pooling in report.poolings))
    titles = [_TITLES.get(pooling, pooling) for pooling in poolings]
    head = ["collection", "noise", *titles, "ceiling", "GLOT − mean", "won back"]
    lines = [head, ["---"] * len(head)]
    for report in reports:
        for noise, ratio in report.settings:
            lines.append(_row(report, noise, ratio, poolings))
    return markdown(lines)


def _row(report: Report, noise: str, ratio: float, poolings: list[str]) -> list[str]:
    results = {pooling: report.result(pooling, noise, ratio) for pooling in poolings}
    values = {pooling: 100 * found.metrics[PRIMARY_METRIC] for pooling, found in results.items() if found}
    best = max(round(value, 1) for value in values.values())
    cells = [f"{values[each]:.1f}" if each in values else "" for each in poolings]
    cells = [f"**{cell}**" if cell == f"{best:.1f}" else cell for cell in cells]
    ours = "glot+adapt" if results.get("glot+adapt") else "glot"
    glot = results[ours]
    assert glot is not None
    return [
        report.dataset,
        "none" if noise == "none" else f"{noise} {ratio:.0%}",
        *cells,
        f"{100 * glot.ceiling[PRIMARY_METRIC]:.1f}",
        f"{values[ours] - values['mean']:+.1f}",
        "" if glot.recovery is None else f"{glot.recovery:.0%}",
    ]


def trial_table(reports: list[TrialReport]) -> str:
    """Of `stress` or `glue`: rows are backbone and pooling, columns shares of distractors or tasks."""
    places = list(dict.fromkeys(place for report in reports for place in report.places))
    metrics = {each.place[report.column]: each.metric for report in reports for each in report.results}
    titles = [f"{heading(place)} ({metrics[place]})" for place in places]
    lines = [["backbone", "pooling", *titles], ["---"] * (2 + len(titles))]
    for report in reports:
        for pooling in report.poolings:
            cells = [report.result(pooling, place).shown if place in report.places else "" for place in places]
            best = [place in report.places and pooling in report.best(place) for place in places]
            marked = [f"**{cell}**" if win else cell for cell, win in zip(cells, best, strict=True)]
            lines.append([report.settings["backbone"], _TITLES.get(pooling, pooling), *marked])
    return markdown(lines)


def read_table(names: list[str]) -> str:
    """The table of some files, which are all of one kind."""
    paths = [ROOT / name for name in names]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if "column" in records[0]:
        return trial_table([TrialReport.load(path) for path in paths])
    rows = rows_of(records)
    if rows is not None:
        return markdown([rows[0], ["---"] * len(rows[0]), *rows[1:]])
    return table([Report.load(path) for path in paths])


def markdown(lines: list[list[str]]) -> str:
    """Rows of cells as lines of a table."""
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def filled(text: str) -> str:
    """The Markdown with every table made anew."""

    def fill(block: re.Match[str]) -> str:
        return block[1] + read_table(block["files"].split()) + block[3]

    return _BLOCK.sub(fill, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="Markdown files")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a table is out of date")
    options = parser.parse_args()
    for path in options.files:
        text = path.read_text(encoding="utf-8")
        if not options.check:
            path.write_text(filled(text), encoding="utf-8")
        elif filled(text) != text:
            sys.exit(f"{path}: a table is not what its JSON says: run python benchmarks/tables.py {path}")


if __name__ == "__main__":
    main()
