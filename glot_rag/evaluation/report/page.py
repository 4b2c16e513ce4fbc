"""The results as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path

from glot_rag.evaluation.report.page_charts import banded, cost_bars, curves, family_bars, noise_label, styles
from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, Result
from glot_rag.evaluation.report.terminal import cost_label, difference_label, metric_label, share_label


def save_page(report: Report, path: str | Path) -> None:
    """Write the report as one self-contained page, light or dark as the reader's system is.

    Curves of the metric against the share of noise with 95% bands and the ceiling, one chart a kind of noise; bars by
    kind of noise; what a document costs; every result with its interval, recovery and test; the worst queries with
    their texts; settings, hashes and versions.
    """
    Path(path).write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The page as HTML."""
    metric = report.main_metric
    label = escape(metric_label(metric))
    title = f"{escape(report.dataset)}: retrieval under noise"
    length = f"at most {report.max_words} words each" if report.max_words else "whole"
    notes = [report.queries_label] if report.queries_label else []
    notes += [f"Left out: {problem}" for problem in report.problems]
    charts = curves(report, metric)
    sections = [
        ("By share of noise", f'<div class="charts">{charts}</div>' if charts else ""),
        ("By kind of noise, at its highest share", f'<div class="charts">{family_bars(report, metric)}</div>'),
        ("Cost", _cost(report)),
        ("All results", _table(report, metric)),
        ("Worst queries", _worst(report)),
        ("Settings", _settings(report)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{title}</title><style>{_style()}</style></head><body><h1>{title}</h1>"
        f"<p>{report.documents:,} documents, {length}; {report.queries:,} queries; seed {report.seed}. "
        f"Figures are {label} × 100; bands{_of_whom(report)}, lines across bars and brackets are 95% intervals over "
        "the queries.</p>"
        f"{''.join(f'<p>{escape(note)}</p>' for note in notes)}{_key(report)}"
        f"{''.join(f'<h2>{name}</h2>{body}' for name, body in sections if body)}</body></html>\n"
    )


def _of_whom(report: Report) -> str:
    kinds = {each.noise for each in report.results} - {"none"}
    return "" if all(banded(report, kind) == set(report.poolings) for kind in kinds) else " (of mean and the best)"


def _style() -> str:
    sheet = resources.files("glot_rag.evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    return re.sub(r"\s*\n\s*", "", sheet)


def _key(report: Report) -> str:
    drawn = styles(report)
    names = "".join(f'<span><i style="{drawn[name].fill}"></i>{escape(name)}</span>' for name in report.poolings)
    return f'<div class="key">{names}<span><i class="dashed"></i>ceiling: mean over the signal words alone</span></div>'


def _cost(report: Report) -> str:
    bars = cost_bars(report)
    told = "Milliseconds to make a document searchable, each way alone, one after the other, on the noisiest documents."
    return f'<p>{told}</p><div class="charts">{bars}</div>' if bars else ""


def _table(report: Report, metric: str) -> str:
    """All results; a column of own ceilings, of costs and of a further metric only where there are any."""
    columns = ["system", metric_label(metric), "95%", "ceiling"]
    columns += ["its own"] if any(each.own_ceiling for each in report.results) else []
    columns += ["recovery", "± mean", "p (Holm)", "won–lost"]
    columns += ["ms"] if report.costs else []
    others = [each for each in report.results[0].metrics if each != metric]
    columns += map(metric_label, others)
    rows = "<tr>" + "".join(f"<th>{escape(column)}" for column in columns)
    for noise, ratio in report.settings:
        rows += f'<tr class="noise"><th colspan="{len(columns)}">{escape(noise_label(noise, ratio))}'
        for result in report.results:
            if (result.noise, result.ratio) == (noise, ratio):
                cells = _cells(report, result, metric)
                cells |= {metric_label(each): f"{100 * result.metrics[each]:.1f}" for each in others}
                rows += "<tr>" + "".join(f"<td>{escape(cells[column])}" for column in columns)
    return f'<div class="scroll"><table>{rows}</table></div>'


def _cells(report: Report, result: Result, metric: str) -> dict[str, str]:
    """Column -> what stands there."""
    compared = result.against_mean if metric == PRIMARY_METRIC else None
    bounds = result.interval if metric == PRIMARY_METRIC else None
    return {
        "system": result.pooling,
        metric_label(metric): f"{100 * result.metrics[metric]:.1f}",
        "95%": f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]" if bounds else "–",
        "ceiling": f"{100 * result.ceiling[metric]:.1f}",
        "its own": f"{100 * result.own_ceiling[metric]:.1f}" if result.own_ceiling else "–",
        "recovery": "–" if result.recovery is None else share_label(result.recovery),
        "± mean": difference_label(compared.difference) if compared else "–",
        "p (Holm)": f"{compared.p_holm:.4f}" if compared and compared.p_holm is not None else "–",
        "won–lost": f"{compared.wins}–{compared.losses}" if compared else "–",
        "ms": cost_label(report, result.pooling),
    }


def _worst(report: Report) -> str:
    parts = []
    for result in report.results:
        if result.against_mean is None or not result.against_mean.worst:
            continue
        items = "".join(
            f"<h3>{escape(loss.query)}</h3><p>{100 * loss.value:.1f} against {100 * loss.mean:.1f} of mean</p>"
            f"<p><strong>Put first:</strong> {escape(loss.first) or 'nothing'}</p>"
            f"<p><strong>Wanted:</strong> {escape(loss.relevant)}</p>"
            for loss in result.against_mean.worst
        )
        count = len(result.against_mean.worst)
        queries = "1 query" if count == 1 else f"{count} queries"
        name = escape(f"{result.pooling}, {noise_label(result.noise, result.ratio)}: {queries}")
        parts.append(f"<details><summary>{name}</summary>{items}</details>")
    return "".join(parts) or "<p>None lost against mean.</p>"


def _settings(report: Report) -> str:
    return _list(
        [
            ("dataset", report.dataset),
            ("dataset hash", report.dataset_hash),
            ("seed", str(report.seed)),
            ("words at most", str(report.max_words or "all")),
            ("documents found", f"{report.k} a query"),
            ("metrics", ", ".join(report.results[0].metrics)),
            *((name, value) for name, value in report.setup.items() if value),
            *((f"encoder {name}", key) for name, key in report.encoders.items()),
            *report.versions.items(),
        ]
    )


def _list(pairs: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}<dd>{escape(value)}' for name, value in pairs)}</dl>"
