"""The results as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from glot_rag.evaluation.report import cost_label
from glot_rag.evaluation.results import PRIMARY_METRIC, Report, Result

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 330, 220, 34, 24, 10
# Okabe and Ito's palette, in shades that stand out from white and from black; mean is grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#3A9BD9", "#8A5CD0")
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--dim:#666;--line:#ddd;--page:#fff;--code:#f4f4f4}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--dim:#a0a0a0;--line:#3a3a3a;--page:#151515;--code:#222}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1120px;padding:16px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}h1{font-size:1.4rem;margin:0 0 .3rem;overflow-wrap:anywhere}h2{font-size:1.1rem;
margin:1.8rem 0 .5rem}p{color:var(--dim);margin:.2rem 0;overflow-wrap:anywhere}.charts{display:flex;flex-wrap:wrap;
gap:16px}figure{margin:0;flex:0 1 330px;min-width:0}svg{width:100%;height:auto;display:block}figcaption{font-weight:600}
svg text{fill:var(--dim);font:11px system-ui,sans-serif}.grid{stroke:var(--line)}.ceiling{stroke:var(--ink);
stroke-dasharray:4 3;fill:none}.key{display:flex;flex-wrap:wrap;gap:4px 16px;margin:.5rem 0}.key i{display:inline-block;
width:14px;height:4px;margin-right:6px;vertical-align:middle}.scroll{overflow-x:auto}table{border-collapse:collapse;
font-variant-numeric:tabular-nums;white-space:nowrap}th,td{padding:3px 12px 3px 0;text-align:right;
border-bottom:1px solid var(--line)}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
pre{background:var(--code);padding:10px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}
summary{cursor:pointer}
"""


def save_page(report: Report, path: str | Path) -> None:
    """Write the report as one self-contained page, light or dark as the reader's system is.

    Curves of the metric against the share of noise with 95% bands and the ceiling, one chart a kind of noise; every
    result with its interval, recovery and test; the worst queries with their texts; settings, hashes and versions.
    """
    Path(path).write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The page as HTML."""
    metric = report.main_metric
    label = escape(metric.replace("ndcg", "nDCG").replace("mrr", "MRR").replace("map", "MAP"))
    kinds = [kind for kind in dict.fromkeys(each.noise for each in report.results) if kind != "none"]
    colours = _colours(report)
    key = "".join(f'<span><i style="background:{colours[name]}"></i>{escape(name)}</span>' for name in report.poolings)
    charts = "".join(_chart(report, kind, metric, colours) for kind in kinds)
    length = f"at most {report.max_words} words each" if report.max_words else "whole"
    made = f"<p>{escape(report.queries_label)}</p>" if report.queries_label else ""
    problems = made + "".join(f"<p>Left out: {escape(problem)}</p>" for problem in report.problems)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(report.dataset)}: retrieval under noise</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(report.dataset)}: retrieval under noise</h1>"
        f"<p>{report.documents:,} documents, {length}; {report.queries:,} queries; seed {report.seed}. "
        f"Figures are {label} × 100; bands and brackets are 95% intervals over the queries.</p>{problems}"
        f'<div class="key">{key}<span>- - ceiling: mean over the signal words alone</span></div>'
        f'<div class="charts">{charts}</div>'
        f"<h2>All results</h2>{_table(report, metric)}<h2>Worst queries</h2>{_worst(report)}"
        f"<h2>Settings</h2><pre>{escape(_settings(report))}</pre></body></html>\n"
    )


def _colours(report: Report) -> dict[str, str]:
    others = [name for name in report.poolings if name != "mean"]
    return {"mean": "#888888"} | {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(others)}


def _chart(report: Report, kind: str, metric: str, colours: dict[str, str]) -> str:
    shown = sorted((each for each in report.results if each.noise in (kind, "none")), key=lambda each: each.ratio)
    highs = [each.interval[1] if each.interval and metric == PRIMARY_METRIC else 0.0 for each in shown]
    highest = max(0.05, *highs, *(max(each.metrics[metric], each.ceiling[metric]) for each in shown))
    step = next(each for each in (1, 2, 5, 10, 20) if 100 * highest <= 5 * each)
    top = step * math.ceil(100 * highest / step) / 100
    last = max(each.ratio for each in shown) or 1.0

    def place(ratio: float, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - 12) * ratio / last
        return f"{x:.1f},{_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top:.1f}"

    parts = []
    for tick in range(0, round(100 * top) + 1, step):
        x, y = place(0.0, tick / 100).split(",")
        parts.append(f'<path class="grid" d="M{x},{y}H{_WIDTH - 12}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{float(y) + 4:.1f}" text-anchor="end">{tick}</text>')
    for ratio in dict.fromkeys(each.ratio for each in shown):
        x = place(ratio, 0.0).split(",")[0]
        parts.append(f'<text x="{x}" y="{_HEIGHT - 8}" text-anchor="middle">{ratio:.0%}</text>')
    for name in report.poolings:
        own = [each for each in shown if each.pooling == name]
        bounds = [(each.ratio, each.interval) for each in own if each.interval is not None]
        if bounds and metric == PRIMARY_METRIC:
            around = [place(ratio, high) for ratio, (_, high) in bounds]
            around += [place(ratio, low) for ratio, (low, _) in reversed(bounds)]
            parts.append(f'<polygon points="{" ".join(around)}" fill="{colours[name]}" opacity=".13"/>')
        points = [place(each.ratio, each.metrics[metric]) for each in own]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        for point in points:
            x, y = point.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colours[name]}"/>')
    ceiling = {each.ratio: each.ceiling[metric] for each in shown}
    line = " ".join(place(ratio, value) for ratio, value in ceiling.items())
    parts.append(f'<polyline class="ceiling" points="{line}"/>')
    title = escape(kind)
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{title}">{"".join(parts)}</svg></figure>'
    )


def _table(report: Report, metric: str) -> str:
    head = "<tr><th>noise<th>system<th>value<th>95%<th>ceiling<th>recovery<th>± mean<th>p (Holm)<th>won–lost<th>ms"
    rows = "".join(_row(report, each, metric) for each in report.results)
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _row(report: Report, result: Result, metric: str) -> str:
    compared = result.against_mean if metric == PRIMARY_METRIC else None
    bounds = result.interval if metric == PRIMARY_METRIC else None
    cells = [
        "clean" if result.noise == "none" else f"{result.noise} {result.ratio:.0%}",
        result.pooling,
        f"{100 * result.metrics[metric]:.1f}",
        f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]" if bounds else "–",
        f"{100 * result.ceiling[metric]:.1f}",
        "–" if result.recovery is None else f"{result.recovery:.0%}",
        f"{100 * compared.difference:+.1f}" if compared else "–",
        f"{compared.p_holm:.4f}" if compared and compared.p_holm is not None else "–",
        f"{compared.wins}–{compared.losses}" if compared else "–",
        cost_label(report, result.pooling),
    ]
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells)


def _worst(report: Report) -> str:
    parts = []
    for result in report.results:
        if result.against_mean is None or not result.against_mean.worst:
            continue
        items = "".join(
            f"<h3>{escape(loss.query)}</h3><p>{100 * loss.value:.1f} against {100 * loss.mean:.1f} of mean</p>"
            f"<p>First: {escape(loss.first)}</p><p>Wanted: {escape(loss.relevant)}</p>"
            for loss in result.against_mean.worst
        )
        name = escape(f"{result.pooling}, {result.noise} {result.ratio:.0%}: {len(result.against_mean.worst)} queries")
        parts.append(f"<details><summary>{name}</summary>{items}</details>")
    return "".join(parts) or "<p>None lost against mean.</p>"


def _settings(report: Report) -> str:
    lines = [f"dataset {report.dataset} {report.dataset_hash}", f"seed {report.seed}", f"max_words {report.max_words}"]
    lines += [f"k {report.k}", *(f"encoder {name} {key}" for name, key in report.encoders.items())]
    return "\n".join([*lines, *(f"{package} {version}" for package, version in report.versions.items())])
