"""The results as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, Result, metric_label, noise_label

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_ORACLE = "oracle"


def print_report(report: Report, console: Console, metric: str | None = None) -> None:
    """Print the settings and the results, in as many tables as the width of the console asks for.

    A cell is the metric × 100; under it the difference to mean pooling, with a star where it is significant, and the
    recovery, where there are any.
    The best of a column is bold; where documents were cleaned, the F1 of the kept words stands there, too.
    """
    metric = metric or report.main_metric
    noisy = report.max_words and any(noise != "none" for noise, _ in report.settings)
    length = f" (≤ {report.max_words} words with noise)" if noisy else ""
    console.print(
        f"{metric_label(metric)} × 100 on {report.collection}: {report.documents:,} documents{length}, "
        f"{report.queries:,} queries, seed {report.seed}",
        style="bold",
        highlight=False,
        markup=False,
    )
    if report.queries_label:
        console.print(report.queries_label, style="yellow", highlight=False, markup=False)
    for table in _fitting_tables(report, metric, console):
        console.print(table)
    recovered = metric == PRIMARY_METRIC and any(each.recovery is not None for each in report.results)
    legend = ["bold: best", "±: against mean"] if "mean" in report.labels else ["bold: best"]
    legend += ["*: p < 0.05 after Holm"] if any(_is_sure(each) for each in report.results) else []
    legend += ["%: of what noise took, won back"] if recovered else []
    legend += ["ms: to make it searchable, each way alone"] if report.costs else []
    legend += ["words: F1 of the kept words"] if any(each.kept_words for each in report.results) else []
    console.print(
        "; ".join([*legend, "oracle: mean over the documents' own words alone"]), style="dim", highlight=False
    )
    for problem in report.problems:
        console.print(f"Note: {problem}", style="yellow", highlight=False, markup=False)


def _fitting_tables(report: Report, metric: str, console: Console) -> list[Table]:
    """One table, or as many of about equal width as it takes for each to fit the console."""
    from rich.measure import Measurement

    settings = report.settings
    unlimited = console.options.update(max_width=10_000)
    tables: list[Table] = []
    for count in range(1, len(settings) + 1):
        size = -(-len(settings) // count)
        parts = [settings[start : start + size] for start in range(0, len(settings), size)]
        tables = [results_table(report, part, metric) for part in parts]
        if all(Measurement.get(console, unlimited, table).maximum <= console.width for table in tables):
            break
    return tables


def results_table(report: Report, settings: list[tuple[str, float]] | None = None, metric: str | None = None) -> Table:
    """A row for each pooling and baseline, one for the oracle and, where it was measured, one for each one's own.

    One column a noise setting (default: all).
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metric = metric or report.main_metric
    chosen = report.settings if settings is None else settings
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("pooling", no_wrap=True)
    if report.costs:
        table.add_column("ms a\ndocument", justify="right", no_wrap=True)
    for kind, ratio in chosen:
        table.add_column("\n".join(noise_label(kind, ratio).rsplit(" ", 1)), justify="right", no_wrap=True)
    best = {setting: max(_shown(each, metric) for each in _column(report, setting)) for setting in chosen}
    for label in report.labels:
        cells = [Text(cost_label(report, label), style="dim")] if report.costs else []
        for setting in chosen:
            result = report.result(label, *setting)
            mean = report.result("mean", *setting)
            cells.append(_cell(result, mean, metric, best[setting]) if result else Text("–", style="dim"))
        table.add_row(label, *cells)
    oracles = [Text("")] if report.costs else []
    oracles += [Text(f"{100 * _column(report, setting)[0].oracle[metric]:.1f}") for setting in chosen]
    table.add_section()
    table.add_row(_ORACLE, *oracles, style="italic")
    for label in report.labels if any(each.own_oracle for each in report.results) else []:
        shown = [report.result(label, *setting) for setting in chosen]
        own = [f"{100 * each.own_oracle[metric]:.1f}" if each and each.own_oracle else "–" for each in shown]
        table.add_row(f"{_ORACLE} of {label}", *([""] if report.costs else []), *own, style="dim")
    return table


def cost_label(report: Report, label: str) -> str:
    """Milliseconds a document to two digits or whole ones; a dash where it was not timed.

    >>> from glot_rag.evaluation.report.results import Report
    >>> report = Report("toy", 0, [], 170, 100, 1, 1, costs={"bm25": 0.1234, "glot": 12.34, "prune": 123.4})
    >>> [cost_label(report, name) for name in ("bm25", "glot", "prune", "max")]
    ['0.12', '12', '123', '–']
    """
    cost = report.costs.get(label)
    if cost is None:
        return "–"
    return f"{cost:.0f}" if cost >= 9.95 else f"{cost:.1f}" if cost >= 0.995 else f"{cost:.2g}"


def _column(report: Report, setting: tuple[str, float]) -> list[Result]:
    return [each for each in report.results if each.setting == setting]


def _shown(result: Result, metric: str) -> float:
    """The value as it is printed: values that look equal are equally bold."""
    return round(100 * result.metrics[metric], 1)


def _cell(result: Result, mean: Result | None, metric: str, best: float) -> Text:
    from rich.text import Text

    shown = _shown(result, metric)
    cell = Text().append(f"{shown:.1f}", style="bold" if shown == best else "")
    notes = []
    if mean is not None and result.label != "mean":
        mark = "*" * (metric == PRIMARY_METRIC and _is_sure(result))
        notes.append(f"{difference_label(result.metrics[metric] - mean.metrics[metric])}{mark}")
    if result.recovery is not None and metric == PRIMARY_METRIC and result.label != "mean":
        notes.append(share_label(result.recovery))
    if result.kept_words is not None:
        notes.append(f"words {100 * result.kept_words['f1']:.0f}")
    return cell.append("\n" + " · ".join(notes), style="dim") if notes else cell


def _is_sure(result: Result) -> bool:
    """Whether the difference to mean is significant at 5% after the correction for all comparisons of the report."""
    compared = result.against_mean
    return compared is not None and compared.p_holm is not None and compared.p_holm < 0.05


def difference_label(difference: float) -> str:
    """A difference of two fractions in points, with its sign; none at all is never negative.

    >>> difference_label(0.1234), difference_label(-0.0001)
    ('+12.3', '+0.0')
    """
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def share_label(share: float) -> str:
    """A share in percent; none at all is never negative.

    >>> share_label(0.65), share_label(-0.001)
    ('65%', '0%')
    """
    return f"{round(100 * share)}%"
