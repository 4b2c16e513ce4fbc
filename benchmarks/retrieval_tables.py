"""The JSON of `glot-rag evaluate` as rows of Markdown tables; `tables.py` puts them into the files."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from speed_tables import Rows, percent, spread, won_back

from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report
from glot_rag.evaluation.report.terminal import difference_label

# What a table calls a pooling or baseline, where that is not its label.
TITLES = {"hybrid": "hybrid: BM25 + GLOT"}
_OURS = ("GLOT, fitted", "GLOT")  # whose gain over mean pooling is shown: the first of these that was measured
# What may differ between runs that are one but for their seed. The hash does where the seed draws documents or queries.
_OF_A_RUN = ("seed", "results", "costs", "versions", "problems", "collection_hash", "queries_made", "encoders", "setup")
# And of the setup: where it ran, which moves a figure by less than a seed does, and what else was measured there.
_OF_A_MACHINE = ("threads", "dtype", "device", "poolings", "baselines", "fit", "denoise")


def retrieval_rows(reports: list[Report], overall: bool = False) -> Rows:
    """Rows are collection and noise, columns poolings; nDCG@10 × 100, and what GLOT wins over mean pooling.

    Reports that differ in their seed alone, or in the machine, too, are one: mean and standard deviation over the
    seeds, of the poolings that all of them have, and the share won back is that of the means. `overall` adds a line:
    that share's average over the noise settings, of each pooling.

    Raises:
        ValueError: two reports of one collection and the same noise differ in more than the seed, or not in the seed.
    """
    poolings = list(dict.fromkeys(pooling for report in reports for pooling in report.labels))
    titles = [TITLES.get(pooling, pooling) for pooling in poolings]
    rows = [["collection", "noise", *titles, "oracle", "GLOT − mean", "won back"]]
    recoveries: list[dict[str, float]] = []
    for seeds in _by_seed(reports):
        for noise, ratio in seeds[0].settings:
            row, found = _row(seeds, noise, ratio, poolings)
            rows.append(row)
            recoveries.extend([found] if found else [])
    if overall and recoveries:
        rows.append(_overall(recoveries, poolings))
    # A pooling that not all seeds of any collection have.
    shown = [column for column, cells in enumerate(zip(*rows[1:], strict=True)) if column < 2 or any(cells)]
    return [[row[column] for column in shown] for row in rows]


def system_rows(report: Report, systems: list[str]) -> Rows:
    """One report the other way round: rows are the given poolings and baselines, columns the noise settings.

    Values are nDCG@10 × 100; "oracle" is mean pooling over each document's own words. The best of a column is bold, the
    oracle left out.

    Raises:
        ValueError: a system that the report does not have.
    """
    unknown = [name for name in systems if name not in report.labels and name != "oracle"]
    if unknown:
        raise ValueError(f"{report.collection} has no {', '.join(unknown)}; it has {', '.join(report.labels)}, oracle")
    rows = [["", *(_noise_label(noise, ratio) for noise, ratio in report.settings)]]
    columns: list[dict[str, float]] = []
    for noise, ratio in report.settings:
        found = {name: report.result(name, noise, ratio) for name in [*systems, "mean"] if name != "oracle"}
        column = {name: 100 * result.metrics[PRIMARY_METRIC] for name, result in found.items() if result}
        if found["mean"]:
            column["oracle"] = 100 * found["mean"].oracle[PRIMARY_METRIC]
        columns.append(column)
    for name in systems:
        row = [TITLES.get(name, name)]
        for column in columns:
            best = max(round(value, 1) for other, value in column.items() if other in systems and other != "oracle")
            value = column.get(name)
            cell = "" if value is None else f"{value:.1f}"
            row.append(f"**{cell}**" if value is not None and name != "oracle" and round(value, 1) == best else cell)
        rows.append(row)
    return rows


def _noise_label(noise: str, ratio: float) -> str:
    return "none" if noise == "none" else f"{noise} {ratio:.0%}"


def _by_seed(reports: list[Report]) -> list[list[Report]]:
    """Reports that are to be averaged, together, in the order of the first of each."""
    groups: dict[tuple[Any, ...], list[Report]] = {}
    for report in reports:
        groups.setdefault((report.collection, *report.settings), []).append(report)
    for group in groups.values():
        names = ", ".join(f"seed {report.seed}" for report in group)
        if len({report.seed for report in group}) < len(group):
            raise ValueError(f"the reports of {group[0].collection} do not differ in the seed: {names}")
        first = _settings(group[0])
        for report in group[1:]:
            found = _settings(report)
            differing = [name for name in first if name in found and found[name] != first[name]]
            if differing:
                raise ValueError(
                    f"the reports of {group[0].collection} ({names}) differ in more than the seed: "
                    f"{', '.join(differing)}"
                )
    return list(groups.values())


def _settings(report: Report) -> dict[str, Any]:
    settings = {name: value for name, value in report.__dict__.items() if name not in _OF_A_RUN}
    setup = {name: value for name, value in report.setup.items() if name not in _OF_A_MACHINE}
    return {**settings, **setup, **{f"encoder {name}": value for name, value in report.encoders.items()}}


def _row(seeds: list[Report], noise: str, ratio: float, poolings: list[str]) -> tuple[list[str], dict[str, float]]:
    """A line of the table, and the share that each pooling wins back, where noise took anything."""
    found = {pooling: [report.result(pooling, noise, ratio) for report in seeds] for pooling in poolings}
    values = {
        pooling: [100 * result.metrics[PRIMARY_METRIC] for result in results if result]
        for pooling, results in found.items()
        if all(results)
    }
    means = {pooling: statistics.fmean(each) for pooling, each in values.items()}
    oracles = [100 * result.oracle[PRIMARY_METRIC] for result in found["mean"] if result]
    oracle = statistics.fmean(oracles)
    won = {pooling: won_back(value, means["mean"], oracle) for pooling, value in means.items()}
    best = max(round(value, 1) for value in means.values())
    cells = [_shown(values[each]) if each in values else "" for each in poolings]
    cells = [
        f"**{cell}**" if each in means and round(means[each], 1) == best else cell
        for each, cell in zip(poolings, cells, strict=True)
    ]
    ours = _ours(means)
    row = [
        seeds[0].collection,
        _noise_label(noise, ratio),
        *cells,
        _shown(oracles),
        difference_label((means[ours] - means["mean"]) / 100) if ours in means else "",
        percent(won.get(ours)),
    ]
    return row, {pooling: each for pooling, each in won.items() if each is not None}


def _overall(recoveries: list[dict[str, float]], poolings: list[str]) -> list[str]:
    """The average over the noise settings; of a pooling that was not measured on all, it says on how many."""
    shares = {
        pooling: [each[pooling] for each in recoveries if pooling in each]
        for pooling in poolings
        if any(pooling in each for each in recoveries)
    }
    of_all = {pooling: statistics.fmean(each) for pooling, each in shares.items() if len(each) == len(recoveries)}
    best = max(round(value, 2) for value in of_all.values())
    cells = []
    for pooling in poolings:
        if pooling not in shares:
            cells.append("")
            continue
        share = percent(statistics.fmean(shares[pooling]))
        if pooling not in of_all:
            share += f" ({len(shares[pooling])} of {len(recoveries)})"
        cells.append(f"**{share}**" if pooling in of_all and round(of_all[pooling], 2) == best else share)
    return ["all", "won back, on average", *cells, "", "", percent(of_all.get(_ours(of_all)))]


def _shown(values: list[float]) -> str:
    """Mean and spread; values that are all the same have none, as those without noise."""
    return spread(values if len(set(values)) > 1 else values[:1], 1)


def _ours(measured: Mapping[str, float]) -> str:
    return next((name for name in _OURS if name in measured), "")
