"""The charts of the report page: curves as SVG, bars as HTML; no script."""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, Result
from glot_rag.evaluation.report.terminal import cost_label

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 330, 220, 34, 24, 10
# Okabe and Ito's palette, in shades that stand out from white and from black; mean is grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#3A9BD9", "#8A5CD0")
_MOST_BANDS = 5  # more bands upon each other are one grey


class Style(NamedTuple):
    """How a pooling or system is drawn in every chart. Where the colours are used up they come again, broken."""

    colour: str
    broken: bool = False

    @property
    def stroke(self) -> str:
        """Attributes of a line in an SVG."""
        return f'stroke="{self.colour}"' + ' stroke-dasharray="5 3"' * self.broken

    @property
    def fill(self) -> str:
        """CSS of a bar's background."""
        if not self.broken:
            return f"background:{self.colour}"
        return f"background:repeating-linear-gradient(115deg,{self.colour} 0 5px,transparent 5px 8px)"


def styles(report: Report) -> dict[str, Style]:
    """Pooling or system -> how it is drawn."""
    others = [name for name in report.poolings if name != "mean"]
    drawn = {
        name: Style(_COLOURS[number % len(_COLOURS)], number >= len(_COLOURS)) for number, name in enumerate(others)
    }
    return {"mean": Style("#888888")} | drawn


def banded(report: Report, kind: str) -> set[str]:
    """Whose intervals are drawn as bands for a kind of noise: all, or of many mean's and the best one's."""
    if len(report.poolings) <= _MOST_BANDS:
        return set(report.poolings)
    highest = max(each.ratio for each in report.results if each.noise == kind)
    last = [each for each in report.results if (each.noise, each.ratio) == (kind, highest)]
    return {"mean", max(last, key=lambda each: each.metrics[PRIMARY_METRIC]).pooling}


def noise_label(noise: str, ratio: float) -> str:
    """A noise setting in words."""
    return "clean" if noise == "none" else f"{noise} {ratio:.0%}"


def curves(report: Report, metric: str) -> str:
    """The metric against the share of noise with its 95% band and the ceiling, one chart a kind of noise."""
    kinds = [kind for kind in dict.fromkeys(each.noise for each in report.results) if kind != "none"]
    return "".join(_curve(report, kind, metric) for kind in kinds)


def family_bars(report: Report, metric: str) -> str:
    """A bar a system for the clean documents and for the highest share of each kind of noise, interval and ceiling."""
    highest: dict[str, float] = {}
    for noise, ratio in report.settings:
        highest[noise] = max(ratio, highest.get(noise, 0.0))
    parts = []
    scale = _highest(report.results, metric)
    for noise, ratio in highest.items():
        shown = [each for each in report.results if (each.noise, each.ratio) == (noise, ratio)]
        best = max(round(100 * each.metrics[metric], 1) for each in shown)
        bars = "".join(_family_bar(report, each, metric, scale, best) for each in shown)
        parts.append(f"<figure><figcaption>{escape(noise_label(noise, ratio))}</figcaption>{bars}</figure>")
    return "".join(parts)


def cost_bars(report: Report) -> str:
    """Milliseconds a document, a bar a system; empty where nothing was timed."""
    if not report.costs:
        return ""
    scale = max(report.costs.values()) or 1.0
    rows = []
    for name, cost in report.costs.items():
        drawn = styles(report).get(name, Style("#888888"))
        bar = f'<b style="width:{100 * cost / scale:.2f}%;{drawn.fill}"></b>'
        rows.append(_bar(name, bar, cost_label(report, name)))
    return f"<figure>{''.join(rows)}</figure>"


def _family_bar(report: Report, result: Result, metric: str, scale: float, best: float) -> str:
    value = result.metrics[metric]
    bar = f'<b style="width:{100 * value / scale:.2f}%;{styles(report)[result.pooling].fill}"></b>'
    if result.interval and metric == PRIMARY_METRIC:
        low, high = result.interval
        bar += f'<i style="left:{100 * low / scale:.2f}%;width:{100 * (high - low) / scale:.2f}%"></i>'
    bar += f'<u style="left:{100 * result.ceiling[metric] / scale:.2f}%"></u>'
    shown = f"{100 * value:.1f}"
    return _bar(result.pooling, bar, shown, ' class="best"' if float(shown) == best else "")


def _bar(name: str, bar: str, value: str, marked: str = "") -> str:
    shown = escape(name).replace("+", "+<wbr>")  # where a long name may be broken
    return f'<div class="bar"><span>{shown}</span><div class="track">{bar}</div><span{marked}>{value}</span></div>'


def _highest(results: list[Result], metric: str) -> float:
    """What no value, interval or ceiling is above."""
    highs = [each.interval[1] if each.interval and metric == PRIMARY_METRIC else 0.0 for each in results]
    return max(0.05, *highs, *(max(each.metrics[metric], each.ceiling[metric]) for each in results))


def _curve(report: Report, kind: str, metric: str) -> str:
    shown = sorted((each for each in report.results if each.noise in (kind, "none")), key=lambda each: each.ratio)
    highest = _highest(shown, metric)
    step = next(each for each in (1, 2, 5, 10, 20) if 100 * highest <= 5 * each)
    top = step * math.ceil(100 * highest / step) / 100
    last = max(each.ratio for each in shown) or 1.0

    def place(ratio: float, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - 14) * ratio / last
        return f"{x:.1f},{_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top:.1f}"

    parts = []
    for tick in range(0, round(100 * top) + 1, step):
        x, y = place(0.0, tick / 100).split(",")
        parts.append(f'<path class="grid" d="M{x},{y}H{_WIDTH - 14}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{float(y) + 4:.1f}" text-anchor="end">{tick}</text>')
    for ratio in dict.fromkeys(each.ratio for each in shown):
        x = place(ratio, 0.0).split(",")[0]
        parts.append(f'<text x="{x}" y="{_HEIGHT - 8}" text-anchor="middle">{ratio:.0%}</text>')
    with_band = banded(report, kind)
    for name, style in styles(report).items():
        own = [each for each in shown if each.pooling == name]
        bounds = [(each.ratio, each.interval) for each in own if each.interval is not None]
        if bounds and metric == PRIMARY_METRIC and name in with_band:
            around = [place(ratio, high) for ratio, (_, high) in bounds]
            around += [place(ratio, low) for ratio, (low, _) in reversed(bounds)]
            parts.append(f'<polygon points="{" ".join(around)}" fill="{style.colour}" opacity="0.13"/>')
        points = [place(each.ratio, each.metrics[metric]) for each in own]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" {style.stroke} stroke-width="2"/>')
        for point in points:
            x, y = point.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{style.colour}"/>')
    ceiling = {each.ratio: each.ceiling[metric] for each in shown}
    line = " ".join(place(ratio, value) for ratio, value in ceiling.items())
    parts.append(f'<polyline class="ceiling" points="{line}"/>')
    title = escape(kind)
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{title}">{"".join(parts)}</svg></figure>'
    )
