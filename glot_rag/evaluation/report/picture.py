"""The results as one picture: the metric against the share of noise, one panel a kind of noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation.report.results import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by every kind of colour vision; mean is the grey that others are held
# against.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREY = "#6B6B6B"
_TITLES = {
    "words": "Random words",
    "boilerplate": "Boilerplate",
    "gibberish": "Gibberish",
    "offtopic": "Off-topic passages",
}


def save_picture(report: Report, path: str | Path, metric: str | None = None) -> None:
    """Draw a report and save it as PNG or SVG, by the suffix of `path`.

    One panel a kind of noise, one line a pooling, the ceiling dashed. The clean documents, where the report
    has them, are the point at no noise.

    Raises:
        InputError: another suffix, or a report without noisy documents.
        MissingExtraError: matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in (".png", ".svg"):
        raise InputError(f"A picture is saved as .png or .svg, got '{path}'.")
    kinds = [kind for kind in dict.fromkeys(each.noise for each in report.results) if kind != "none"]
    if not kinds:
        raise InputError("There is nothing to draw: the report has no noisy documents.")
    figure = _draw(report, kinds, metric or report.main_metric)
    # Without the date and with fixed ids, the same results give the same file.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "glot-rag"}):
        metadata = {"Date": None} if Path(path).suffix.lower() == ".svg" else None
        figure.savefig(path, dpi=160, metadata=metadata)


def _draw(report: Report, kinds: list[str], metric: str) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "eval") from None

    figure = Figure(figsize=(max(4.6, 2.9 * len(kinds)), 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no global state, no window system
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        _panel(axes, report, kind, metric)
    panels[0].set_ylabel(f"{metric.replace('ndcg', 'nDCG').replace('mrr', 'MRR')} × 100")
    panels[0].set_ylim(bottom=0)
    figure.supxlabel("noise words / all words", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _panel(axes: Axes, report: Report, kind: str, metric: str) -> None:
    axes.set_title(_TITLES.get(kind, kind), fontsize=10)
    of_kind = [each for each in report.results if each.noise in (kind, "none")]
    ceiling = {each.ratio: 100 * each.ceiling[metric] for each in of_kind}
    axes.plot(*_points(ceiling), color="black", linestyle=(0, (4, 3)), linewidth=1.2, label="ceiling")
    colours = iter(_COLOURS * 4)
    for number, pooling in enumerate(report.poolings):
        line = {each.ratio: 100 * each.metrics[metric] for each in of_kind if each.pooling == pooling}
        axes.plot(
            *_points(line),
            color=_GREY if pooling == "mean" else next(colours),
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=1.8,
            label=pooling,
        )
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xticks([0.0, 0.2, 0.4, 0.6, 0.8])
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _points(line: dict[float, float]) -> tuple[list[float], list[float]]:
    return sorted(line), [line[ratio] for ratio in sorted(line)]
