"""The results of `glot-rag stress` and `glot-rag glue`: values over seeds, their JSON and their table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glot_rag.errors import DatasetError
from glot_rag.evaluation.report.results import library_versions

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ExperimentResult:
    """One pooling at one place (a share of distractors, a task).

    Args:
        pooling: its name.
        metric: what was measured.
        value: mean over the seeds.
        spread: standard deviation over the seeds (n - 1); 0 for one seed.
        values: one a seed.
        epochs: the epoch that was chosen, one a seed.
        learning_rates: the rate that was chosen, one a seed.
        parameters: of the pooling; the linear layer's come on top.
        place: where it was measured: {"ratio": 0.9} or {"task": "cola"}, with its sizes.
        validation: the score by which epoch and rate were chosen, one a seed.
    """

    pooling: str
    metric: str
    value: float
    spread: float
    values: list[float]
    epochs: list[int]
    learning_rates: list[float]
    parameters: int
    place: dict[str, Any]
    validation: list[float] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """The value × 100, with its spread where there are several seeds."""
        spread = f" ± {100 * self.spread:.1f}" if len(self.values) > 1 else ""
        return f"{100 * self.value:.1f}{spread}"

    def to_dict(self) -> dict[str, Any]:
        """All fields, those of the place beside the others."""
        record = asdict(self)
        return {**record.pop("place"), **record}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> ExperimentResult:
        """What `to_dict` made, back."""
        own = {each.name for each in fields(cls)} - {"place"}
        place = {name: value for name, value in record.items() if name not in own}
        return cls(**{name: value for name, value in record.items() if name in own}, place=place)


@dataclass(frozen=True)
class ExperimentReport:
    """All results of a comparison, and the settings that produced them.

    Args:
        title: of the table.
        column: the field of `ExperimentResult.place` that heads the table's columns.
        settings: as JSON values.
        results: in the order of the places, then of the poolings.
    """

    title: str
    column: str
    settings: dict[str, Any]
    results: list[ExperimentResult]

    @property
    def poolings(self) -> list[str]:
        """In the order of their first result."""
        return list(dict.fromkeys(result.pooling for result in self.results))

    @property
    def places(self) -> list[Any]:
        """What heads the columns, in order."""
        return list(dict.fromkeys(result.place[self.column] for result in self.results))

    def best(self, place: object) -> set[str]:
        """The poolings with the highest value at a place, to a tenth of a point."""
        values = {pooling: round(100 * self.result(pooling, place).value, 1) for pooling in self.poolings}
        return {pooling for pooling, value in values.items() if value == max(values.values())}

    def result(self, pooling: str, place: object) -> ExperimentResult:
        """The result of a pooling at a place."""
        return next(each for each in self.results if (each.pooling, each.place[self.column]) == (pooling, place))

    def to_json(self) -> str:
        """One JSON object: title, settings, versions and `results`."""
        record = {
            "title": self.title,
            "column": self.column,
            "settings": self.settings,
            "versions": library_versions(),
            "results": [result.to_dict() for result in self.results],
        }
        return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> ExperimentReport:
        """Read what `save` wrote.

        Raises:
            DatasetError: the file cannot be read or is no such report.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            results = [ExperimentResult.from_dict(each) for each in record["results"]]
            return cls(record["title"], record["column"], record["settings"], results)
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DatasetError(f"'{path}' is not a report of `glot-rag stress` or `glue`: {error}") from error


def heading(place: object) -> str:
    """What heads the column of a place: a ratio as a percentage."""
    return f"{place:.0%}" if isinstance(place, float) else str(place)


def print_experiment(report: ExperimentReport, console: Console) -> None:
    """A table: a row a pooling, a column a place; mean × 100 ± standard deviation, the best of a column bold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(report.title, style="bold", highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("pooling", no_wrap=True)
    for place in report.places:
        metric = report.result(report.poolings[0], place).metric
        table.add_column(f"{heading(place)}\n{metric}", justify="right", no_wrap=True)
    table.add_column("pooling's\nparameters", justify="right", no_wrap=True)
    for pooling in report.poolings:
        cells = []
        for place in report.places:
            style = "bold" if pooling in report.best(place) else ""
            cells.append(Text(report.result(pooling, place).shown, style=style))
        table.add_row(pooling, *cells, f"{report.result(pooling, report.places[-1]).parameters:,}")
    console.print(table)
    seeds = len(report.results[0].values)
    console.print(
        f"bold: best; mean{' ± standard deviation' if seeds > 1 else ''} over {seeds} seed{'s' if seeds > 1 else ''}; "
        "each pooling has the same data, steps and learning rate",
        style="dim",
        highlight=False,
    )
