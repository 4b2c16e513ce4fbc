"""The results as one HTML page that needs nothing else (no script, no font, no request), and as a notebook's table."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from glot_rag.errors import MissingExtraError
from glot_rag.evaluation.report.charts import banded, kinds_of_noise, page_curves, styles
from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, Result, metric_label, noise_label
from glot_rag.evaluation.report.terminal import cost_label, difference_label, share_label


def save_page(report: Report, path: str | Path) -> None:
    """Write the report as one self-contained page, light or dark as the reader's system is.

    Curves of the metric against the share of noise with 95% bands and the oracle, one chart a kind of noise; bars by
    kind of noise; what a document costs; every result with its interval, recovery and test; the worst queries with
    their texts; settings, hashes and versions. The metric is nDCG@10, or the first one where that was not measured.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    Path(path).write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The page as HTML."""
    metric = report.main_metric
    return _render(
        "page.html.j2",
        report=report,
        metric=metric,
        label=metric_label(metric),
        style=re.sub(r"\s*\n\s*", "", _read("page.css")),
        styles=styles(report.labels),
        few_bands=any(banded(report, kind) != set(report.labels) for kind in kinds_of_noise(report)),
        curves=page_curves(report, metric),
        bars=_bars(report, metric),
        costs=_costs(report),
        table=_table(report, metric),
        settings=_settings(report),
    )


def table(report: Report) -> str:
    """A table for a notebook: a row for each pooling and baseline, a column for each noise setting."""
    metric = report.main_metric
    columns = [[each for each in report.results if each.setting == setting] for setting in report.settings]
    best = [max(_points(each, metric) for each in column) for column in columns]
    rows = []
    for label in report.labels:
        found = [next((each for each in column if each.label == label), None) for column in columns]
        values = [None if each is None else _points(each, metric) for each in found]
        rows.append((label, [(value, value == top) for value, top in zip(values, best, strict=True)]))
    oracle = [100 * column[0].oracle[metric] for column in columns]
    heads = [noise_label(*setting) for setting in report.settings]
    return _render("table.html.j2", report=report, label=metric_label(metric), heads=heads, rows=rows, oracle=oracle)


def _render(template: str, **values: Any) -> str:
    return str(_environment().get_template(template).render(**values))


@cache
def _environment() -> Any:
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError("jinja2", "eval") from None
    loader = DictLoader({name: _read(name) for name in ("page.html.j2", "table.html.j2")})
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["noise"] = lambda setting: noise_label(*setting)
    return environment


def _read(name: str) -> str:
    return resources.files("glot_rag.evaluation.report").joinpath(name).read_text(encoding="utf-8")


def _points(result: Result, metric: str) -> float:
    """A value as it is shown: those that look equal are equally bold."""
    return round(100 * result.metrics[metric], 1)


def _bars(report: Report, metric: str) -> list[dict[str, Any]]:
    """For each kind of noise at its highest share its title, and its bars: label, width, interval, oracle, value."""
    highest: dict[str, float] = {}
    for noise, ratio in report.settings:
        highest[noise] = max(ratio, highest.get(noise, 0.0))
    intervals = [each.interval for each in report.results if each.interval and metric == PRIMARY_METRIC]
    tops = [max(each.metrics[metric], each.oracle[metric]) for each in report.results]
    scale = max(0.05, *tops, *(high for _, high in intervals)) / 100
    charts = []
    for setting in highest.items():
        shown = [each for each in report.results if each.setting == setting]
        best = max(_points(each, metric) for each in shown)
        bars = []
        for each in shown:
            low, high = each.interval if each.interval and metric == PRIMARY_METRIC else (None, None)
            bars.append(
                {
                    "label": each.label,
                    "width": each.metrics[metric] / scale,
                    "low": None if low is None else low / scale,
                    "span": None if low is None or high is None else (high - low) / scale,
                    "oracle": each.oracle[metric] / scale,
                    "value": f"{_points(each, metric):.1f}",
                    "best": _points(each, metric) == best,
                }
            )
        charts.append({"title": noise_label(*setting), "bars": bars})
    return charts


def _costs(report: Report) -> list[dict[str, Any]]:
    scale = max(report.costs.values(), default=1.0) or 1.0
    return [
        {"label": label, "width": 100 * cost / scale, "value": cost_label(report, label), "best": False}
        for label, cost in report.costs.items()
    ]


def _table(report: Report, metric: str) -> dict[str, Any]:
    """All results; a column of own oracles, kept words, costs and further metrics only where there are any."""
    others = [each for each in report.results[0].metrics if each != metric]
    columns = ["method", metric_label(metric), "95%", "oracle"]
    columns += ["its own"] if any(each.own_oracle for each in report.results) else []
    columns += ["recovery", "± mean", "p (Holm)", "won–lost"]
    columns += ["kept words P / R / F1"] if any(each.kept_words for each in report.results) else []
    columns += ["ms"] if report.costs else []
    columns += map(metric_label, others)
    groups = []
    for setting in report.settings:
        rows = []
        for result in report.results:
            if result.setting == setting:
                cells = _cells(report, result, metric)
                cells |= {metric_label(each): f"{100 * result.metrics[each]:.1f}" for each in others}
                rows.append([cells[column] for column in columns])
        groups.append((setting, rows))
    return {"columns": columns, "groups": groups}


def _cells(report: Report, result: Result, metric: str) -> dict[str, str]:
    """Column -> what stands there."""
    compared = result.against_mean if metric == PRIMARY_METRIC else None
    bounds = result.interval if metric == PRIMARY_METRIC else None
    kept = result.kept_words
    return {
        "method": result.label,
        metric_label(metric): f"{_points(result, metric):.1f}",
        "95%": f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]" if bounds else "–",
        "oracle": f"{100 * result.oracle[metric]:.1f}",
        "its own": f"{100 * result.own_oracle[metric]:.1f}" if result.own_oracle else "–",
        "recovery": "–" if result.recovery is None else share_label(result.recovery),
        "± mean": difference_label(compared.difference) if compared else "–",
        "p (Holm)": f"{compared.p_holm:.4f}" if compared and compared.p_holm is not None else "–",
        "won–lost": f"{compared.wins}–{compared.losses}" if compared else "–",
        "kept words P / R / F1": " / ".join(f"{kept[name]:.3f}" for name in ("precision", "recall", "f1"))
        if kept
        else "–",
        "ms": cost_label(report, result.label),
    }


def _settings(report: Report) -> list[tuple[str, str]]:
    return [
        ("collection", report.collection),
        ("collection hash", report.collection_hash),
        ("seed", str(report.seed)),
        ("words of a noisy document", str(report.max_words or "all")),
        ("documents found", f"{report.k} a query"),
        ("metrics", ", ".join(report.results[0].metrics)),
        *((name, value) for name, value in report.setup.items() if value),
        *((f"encoder {name}", key) for name, key in report.encoders.items()),
        *report.versions.items(),
    ]
