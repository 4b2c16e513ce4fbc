"""All plotting of the evaluation: one palette, curves by matplotlib for pictures and for the report page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from glot_rag.evaluation.paper.results import ExperimentReport

# Okabe and Ito's palette, in shades that stand out from white and from black; mean is the grey that others are held
# against.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#3A9BD9", "#8A5CD0")
GREY = "#888888"
MARKERS = ("o", "s", "^", "D", "v", "P")
TITLES = {
    "words": "Random words",
    "boilerplate": "Boilerplate",
    "gibberish": "Gibberish",
    "offtopic": "Off-topic passages",
}
_MOST_BANDS = 5  # more bands upon each other are one grey
_INK = "#000000"  # on the page it is the reader's text colour


class Style(NamedTuple):
    """How a pooling or baseline is drawn in every chart. Where the colours are used up they come again, broken."""

    colour: str
    broken: bool = False
    marker: str = "o"

    @property
    def fill(self) -> str:
        """CSS of a bar's background."""
        if not self.broken:
            return f"background:{self.colour}"
        return f"background:repeating-linear-gradient(115deg,{self.colour} 0 5px,transparent 5px 8px)"


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """Label -> how it is drawn."""
    drawn = {"mean": Style(GREY)}
    for number, label in enumerate(label for label in labels if label != "mean"):
        marker = MARKERS[(number + 1) % len(MARKERS)]
        drawn[label] = Style(COLOURS[number % len(COLOURS)], number >= len(COLOURS), marker)
    return drawn


def banded(report: Report, kind: str) -> set[str]:
    """Whose intervals are drawn as bands for a kind of noise: all, or of many mean's and the best one's."""
    if len(report.labels) <= _MOST_BANDS:
        return set(report.labels)
    highest = max(each.ratio for each in report.results if each.noise == kind)
    last = [each for each in report.results if each.setting == (kind, highest)]
    return {"mean", max(last, key=lambda each: each.metrics[report.main_metric]).label}


def kinds_of_noise(report: Report) -> list[str]:
    """The kinds of noise that were added, in the order of the report."""
    return [kind for kind in dict.fromkeys(each.noise for each in report.results) if kind != "none"]


def save_picture(report: Report, path: str | Path, metric: str | None = None) -> None:
    """Draw a report and save it as PNG or SVG, by the suffix of `path`.

    One panel a kind of noise, one line for each pooling and baseline, the oracle dashed. The documents without added
    noise, where the report has them, are the point at no noise.

    Raises:
        InputError: another suffix, or a report without noisy documents.
        MissingExtraError: matplotlib is not installed.
    """
    check_picture(Path(path))
    kinds = kinds_of_noise(report)
    if not kinds:
        raise InputError("There is nothing to draw: the report has no documents that noise was added to.")
    _save(_curves(report, kinds, metric or report.main_metric), Path(path))


def save_stress_picture(reports: Sequence[ExperimentReport], path: str | Path) -> None:
    """Draw accuracy against the share of distractors, one panel a report (a backbone), one line a pooling.

    Raises:
        InputError: neither .png nor .svg.
        MissingExtraError: matplotlib is not installed.
    """
    check_picture(Path(path))
    labels = [report.poolings for report in reports]
    figure, panels = _figure(len(reports), 3.4, 4.8)
    for axes, report, poolings in zip(panels, reports, labels, strict=True):
        settings = report.settings
        _frame(axes, f"{settings['backbone']}, {settings['task']}, {settings['protocol']}")
        axes.axhline(50, color=_INK, linestyle=(0, (4, 3)), linewidth=1.0, label="chance")
        ratios = sorted(report.places)
        for pooling, style in styles(poolings).items():
            if pooling not in poolings:
                continue
            found = [report.result(pooling, ratio) for ratio in ratios]
            axes.errorbar(
                [each.place["ratio"] for each in found],
                [100 * each.value for each in found],
                yerr=[100 * each.spread for each in found],
                capsize=2,
                label=pooling,
                **_line(style),
            )
        axes.set_xticks(ratios)
        axes.set_ylim(40, 102)
    panels[0].set_ylabel("accuracy, %")
    figure.supxlabel("distractors", fontsize=10)
    _legend(figure, panels[0], 3 * len(reports))
    _save(figure, Path(path))


def check_picture(path: Path) -> None:
    """Raise InputError where a picture cannot be of that kind of file."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"A picture is saved as .png or .svg, got '{path}'.")


def page_curves(report: Report, metric: str) -> list[tuple[str, str]]:
    """(kind of noise, SVG to put into a page) of each kind: the metric against the share of noise, with 95% bands.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return [(kind, _inline(_curves(report, [kind], metric, bands=True), kind)) for kind in kinds_of_noise(report)]


def _curves(report: Report, kinds: list[str], metric: str, *, bands: bool = False) -> Figure:
    """A figure with a panel for each kind; with bands it is for the page, which has title and legend of its own."""
    figure, panels = _figure(len(kinds), *((3.6, 3.6) if bands else (2.9, 4.6)), height=2.4 if bands else 3.6)
    for axes, kind in zip(panels, kinds, strict=True):
        _frame(axes, "" if bands else TITLES.get(kind, kind))
        shown = sorted((each for each in report.results if each.noise in (kind, "none")), key=lambda each: each.ratio)
        oracle = {each.ratio: 100 * each.oracle[metric] for each in shown}
        axes.plot(
            list(oracle), list(oracle.values()), color=_INK, linestyle=(0, (4, 3)), linewidth=1.2, label="oracle"
        )[0].set_gid(f"curve {kind} oracle")
        with_band = banded(report, kind) if bands and metric == PRIMARY_METRIC else set()
        for label, style in styles(report.labels).items():
            own = [each for each in shown if each.label == label]
            if not own:
                continue
            ratios = [each.ratio for each in own]
            values = [100 * each.metrics[metric] for each in own]
            axes.plot(ratios, values, label=label, **_line(style))[0].set_gid(f"curve {kind} {label}")
            bounds = [(each.ratio, each.interval) for each in own if each.interval is not None]
            if bounds and label in with_band:
                low, high = ([100 * interval[end] for _, interval in bounds] for end in (0, 1))
                band = axes.fill_between([ratio for ratio, _ in bounds], low, high, color=style.colour, alpha=0.13)
                band.set(linewidth=0, gid=f"band {kind} {label}")
        axes.set_xticks(list(oracle))
    panels[0].set_ylim(bottom=0)
    if not bands:
        panels[0].set_ylabel(f"{metric_label(metric)} × 100")
        figure.supxlabel("noise words / all words", fontsize=10)
        _legend(figure, panels[0], 8)
    return figure


def _figure(panels: int, width: float, least: float, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "eval") from None
    figure = Figure(figsize=(max(least, width * panels), height), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no global state, no window system
    return figure, list(figure.subplots(1, panels, sharex=False, sharey=True, squeeze=False)[0])


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _line(style: Style) -> dict[str, Any]:
    return {
        "color": style.colour,
        "linestyle": (0, (5, 3)) if style.broken else "-",
        "marker": style.marker,
        "markersize": 5,
        "linewidth": 1.8,
    }


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), columns)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def _save(figure: Figure, path: Path) -> None:
    import matplotlib

    # Without the date and with fixed ids, the same results give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "glot-rag"}):
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, dpi=160, metadata=metadata)


def _inline(figure: Figure, salt: str) -> str:
    """The figure as an SVG element: no background, text as text, black as the reader's text colour."""
    import matplotlib

    written = StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(written, format="svg", transparent=True, metadata=empty)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    for pattern, new in _TIDY:
        svg = pattern.sub(new, svg, count=0)
    return svg


_TIDY: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r'\sxmlns(:xlink)?="[^"]*"'), ""),
    (re.compile(r"xlink:href"), "href"),
    (re.compile(r'<svg width="[^"]*" height="[^"]*"'), '<svg role="img"'),
    # Names that matplotlib gives to groups, and that nothing refers to, would come twice in a page with two charts.
    (re.compile(r'\sid="[\w.]+_\d+"'), ""),
    (re.compile(r'\sid="(curve|band) [^"]*"'), r' class="\1"'),
    (re.compile(_INK), "currentColor"),
    (re.compile(r"'DejaVu Sans'(, [^;\"]*)?"), "system-ui, sans-serif"),
)
