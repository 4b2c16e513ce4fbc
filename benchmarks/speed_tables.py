"""The JSON of the benchmarks as rows of Markdown tables; `tables.py` puts them into the files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

Rows = list[list[str]]
Record = Mapping[str, Any]


def encode_rows(record: Record) -> Rows:
    """Of `encode.py`: a system a row."""
    head = ["system", "tokens a second", "of stock", "of the peak", "query p50", "of stock", "memory of stock"]
    rows = [[*head, "least cosine"]]
    for each in record["results"]:
        rows.append(
            [
                each["system"] + " (by default)" * bool(each.get("by_default")),
                f"{each['tokens_a_second']:,.0f}",
                f"{each['times_stock']:.2f}x",
                "" if each["of_peak"] is None else f"{each['of_peak']:.0%}",
                f"{each['query_p50_ms']:.1f} ms",
                f"{each['query_p50_of_stock']:.2f}x",
                f"{each['peak_memory_of_stock']:.2f}x",
                f"{each['min_cosine']:.4f}",
            ]
        )
    return rows


def head_rows(record: Record) -> Rows:
    """Of `head.py`: a shape a row; time and memory of the others over the dense head's."""
    rows = [["B, L, D", "dense head", "PyG's message passing", "loop over documents, broadcast cosine"]]
    for each in record["results"]:
        seconds, memory = each["seconds"], each["peak_memory"]
        others = [
            f"{seconds[name] / seconds['dense']:.1f}x, {memory[name] / memory['dense']:.1f}x"
            for name in ("sparse", "loop")
        ]
        dense = f"{1000 * seconds['dense']:.0f} ms, {memory['dense'] / 2**20:.0f} MiB"
        rows.append([", ".join(map(str, each["shape"])), dense, *others])
    return rows


def import_rows(record: Record) -> Rows:
    """Of `imports.py`: a root a row."""
    rows = [["root", "import", "of which it adds", "modules", "loads"]]
    for each in record["results"]:
        adds = f"{each['adds_seconds']:+.2f} s to {each['below'].split(',')[0]}" if each["below"] != "pass" else "all"
        rows.append(
            [f"`{each['root']}`", f"{each['seconds']:.2f} s", adds, f"{each['modules']:,}", ", ".join(each["heavy"])]
        )
    return rows


def ablation_rows(record: Record) -> Rows:
    """Of `ablation.py`: a variant a row, mean and standard deviation over the seeds."""
    rows = [["group", "what differs", "seeds", "token AUC", "nDCG@10", "parameters"]]
    found: dict[tuple[str, str], list[Record]] = {}
    for each in record["results"]:
        found.setdefault((each["group"], each["name"]), []).append(each)
    for (group, name), seeds in found.items():
        auc = spread([each["auc"] for each in seeds], 3)
        ndcg = spread([each["ndcg@10"] for each in seeds], 1)
        rows.append([group, name, str(len(seeds)), auc, ndcg, f"{seeds[0]['parameters']:,}"])
    return rows


def spread(values: list[float], digits: int) -> str:
    """Mean and, where there are several, standard deviation.

    >>> spread([1.0, 2.0], 1), spread([1.0], 2)
    ('1.5 ± 0.7', '1.00')
    """
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def index_rows(record: Record) -> Rows:
    """Of `index.py`: a type a row, against raw FAISS."""
    rows = [
        [
            *["type, vectors", "batch of raw", "single query, raw", "more with 10 payloads", "recall@10, raw"],
            *["open, raw", "open, mapped", "memory of raw", "build of raw"],
        ]
    ]
    for name, each in record["against_raw_faiss"].items():
        search, opened = each["search"], each["open_s"]
        recall = search["recall_at_10"]
        rows.append(
            [
                f"{name}, {record['settings']['rows']:,}",
                f"{search['batch_of_raw']:.2f}x",
                f"{search['single']['raw']['p50_ms']:.2f} ms",
                f"{search['single_overhead_p50_ms']:+.2f} ms",
                f"{recall['glot']:.3f}, {recall['raw']:.3f}",
                f"{opened['glot']:.2f} s, {opened['raw']:.2f} s",
                f"{opened['mapped']:.2f} s",
                f"{each['peak_mib']['of_raw']:.2f}x",
                f"{each['build']['of_raw']:.1f}x",
            ]
        )
    return rows


# What a file has that the others have not -> its rows.
KINDS: tuple[tuple[Callable[[Record], bool], Callable[[Record], Rows]], ...] = (
    (lambda record: "against_raw_faiss" in record, index_rows),
    (lambda record: "system" in _first(record), encode_rows),
    (lambda record: "shape" in _first(record), head_rows),
    (lambda record: "root" in _first(record), import_rows),
    (lambda record: "auc" in _first(record), ablation_rows),
)


def rows_of(records: list[Record]) -> Rows | None:
    """The rows of a benchmark's files, which are of one kind, or None if they are of none of these."""
    rows = next((rows for knows, rows in KINDS if knows(records[0])), None)
    if rows is None:
        return None
    tables = [rows(record) for record in records]
    return [*tables[0], *(row for table in tables[1:] for row in table[1:])]


def _first(record: Record) -> Record:
    results = record.get("results")
    first: Record = results[0] if isinstance(results, list) and results else {}
    return first
