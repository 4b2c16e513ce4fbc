"""Fill the tables of Markdown files from the JSON of `glot-rag evaluate`, `stress`, `glue` and of the benchmarks.

    python benchmarks/tables.py            # every Markdown file that has such a table
    python benchmarks/tables.py README.md

A table stands between two comments. The first one names the JSON files, relative to the repository:

    <!-- results: benchmarks/results/cranfield-0.json benchmarks/results/cisi-pruned.json -->
    <!-- end of results -->

Reports of `glot-rag evaluate` that differ only in the seed, or in the machine, are averaged: mean and standard
deviation over the seeds, and the share won back of the means. `<!-- results, overall: FILES -->` adds a line with that
share's average over the noise settings. `<!-- results, rows mean; BM25; GLOT, fitted; oracle: FILE -->` makes a short
table of one report: these methods as rows, the noise settings as columns. `<!-- results, model: FILES -->` says what
larger corpora take, or, of lists alone, how far the model is off: see `scale_model.py`.

`--check` writes nothing and fails where a table differs from its JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from retrieval_tables import retrieval_rows, system_rows
from scale_model import check_rows, model_rows
from speed_tables import Rows, rows_of

from glot_rag.evaluation.paper.results import ExperimentReport, heading
from glot_rag.evaluation.report.results import Report, method_label

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(
    r"(?P<start><!-- results(?P<overall>, overall)?(?P<model>, model)?(, rows (?P<rows>[^:>]+))?: "
    r"(?P<files>[^>]+?) -->\n)"
    r".*?(?P<end><!-- end of results -->)",
    re.DOTALL,
)


def experiment_table(reports: list[ExperimentReport]) -> str:
    """Of `stress` or `glue`: rows are backbone and pooling, columns shares of distractors or tasks."""
    places = list(dict.fromkeys(place for report in reports for place in report.places))
    metrics = {each.place[report.column]: each.metric for report in reports for each in report.results}
    titles = [f"{heading(place)} ({metrics[place]})" for place in places]
    rows = [["backbone", "pooling", *titles]]
    found: dict[tuple[str, str], dict[object, str]] = {}
    for report in reports:
        for place in report.places:
            for pooling in report.poolings:
                cell = report.result(pooling, place).shown
                marked = f"**{cell}**" if pooling in report.best(place) else cell
                found.setdefault((report.settings["backbone"], method_label(pooling)), {})[place] = marked
    rows += [[*names, *(cells.get(place, "") for place in places)] for names, cells in found.items()]
    return markdown(rows)


def read_table(names: list[str], overall: bool = False, systems: list[str] | None = None, model: bool = False) -> str:
    """The table of some files, which are all of one kind; `systems` asks for the short one, `model` for scale's."""
    paths = [ROOT / name for name in names]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if "column" in records[0]:
        return experiment_table([ExperimentReport.load(path) for path in paths])
    if model:
        return markdown(model_rows(records) if "embedding" in records[0] else check_rows(records))
    if systems:
        if len(paths) != 1:
            raise ValueError(f"a table with chosen rows is made of one report; got {len(paths)}")
        return markdown(system_rows(Report.load(paths[0]), systems))
    rows = rows_of(records)
    return markdown(rows or retrieval_rows([Report.load(path) for path in paths], overall))


def markdown(rows: Rows) -> str:
    """Rows of cells, the first of which is the head, as lines of a table."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def filled(text: str) -> str:
    """The Markdown with every table made anew."""

    def fill(block: re.Match[str]) -> str:
        systems = [name.strip() for name in block["rows"].split(";")] if block["rows"] else None
        rows = read_table(
            block["files"].split(),
            overall=block["overall"] is not None,
            systems=systems,
            model=block["model"] is not None,
        )
        return block["start"] + rows + block["end"]

    return _BLOCK.sub(fill, text)


def files_with_tables() -> list[Path]:
    """README, the documentation and the model cards, as far as they have a table."""
    found = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted(ROOT.glob("glot_rag/pretrained/*/*.md")),
    ]
    return [path for path in found if _BLOCK.search(path.read_text(encoding="utf-8"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="Markdown files (default: all that have a table)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is out of date")
    options = parser.parse_args()
    for path in options.files or files_with_tables():
        text = path.read_text(encoding="utf-8")
        try:
            made = filled(text)
        except ValueError as error:
            sys.exit(f"{path}: {error}")
        if not options.check:
            path.write_text(made, encoding="utf-8")
        elif made != text:
            sys.exit(f"{path}: a table differs from its JSON: run python benchmarks/tables.py {path}")


if __name__ == "__main__":
    main()
