"""The JSON of the benchmarks as rows of Markdown tables; `tables.py` puts them into the files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from scale_model import embedding_rows, fault_rows, list_rows

from glot_rag.evaluation.report.results import PRIMARY_METRIC, recovery
from glot_rag.evaluation.report.terminal import share_label

Rows = list[list[str]]
Record = Mapping[str, Any]
TRAINED = {"glot": "GLOT head, cached states", "lora": "LoRA, rank 64", "full": "full fine-tuning"}


def encode_rows(record: Record) -> Rows:
    """Of `encode.py`: a system a row."""
    of_mean = "noise" in record["settings"]
    head = ["system", "tokens a second", "of stock"]
    head += ["time of mean", "on noisy texts"] if of_mean else []
    rows = [[*head, "of the peak", "query p50", "of stock", "first vector", "memory of stock", "least cosine"]]
    for each in record["results"]:
        ratios = [each["seconds_of_mean"], each["noisy_seconds_of_mean"]] if of_mean else []
        rows.append(
            [
                each["system"] + " (by default)" * bool(each.get("by_default")),
                f"{each['tokens_a_second']:,.0f}",
                f"{each['times_stock']:.2f}x",
                *("" if ratio is None else f"{ratio:.2f}x" for ratio in ratios),
                "" if each["of_peak"] is None else f"{each['of_peak']:.0%}",
                f"{each['query_p50_ms']:.1f} ms",
                f"{each['query_p50_of_stock']:.2f}x",
                f"{each['startup_seconds']:.1f} s",
                f"{each['peak_memory_of_stock']:.2f}x",
                f"{each['min_cosine']:.4f}",
            ]
        )
    return rows


def where_rows(record: Record) -> Rows:
    """Of `where_time_goes.py`: a pooling and its texts a row, the shares of the time by kind of operation."""
    kinds = list(dict.fromkeys(kind for each in record["results"] for kind in each["shares"]))
    kinds.sort(key=lambda kind: -record["results"][0]["shares"].get(kind, 0))
    rows = [["pooling", "texts", "computed in", "of mean, clean", *kinds, "products, of the peak", "padding"]]
    for each in record["results"]:
        rows.append(
            [
                each["pooling"],
                each["texts_are"],
                each["dtype"],
                f"{each['seconds'] / record['results'][0]['seconds']:.2f}x",
                *(f"{each['shares'].get(kind, 0):.0%}" for kind in kinds),
                f"{each['of_peak']:.0%}",
                f"{each['padding']:.0%}",
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
    """Of `ablation.py`: a variant a row, mean and standard deviation over the seeds; mean pooling, oracle."""
    settings = record["settings"]
    low, high = settings["mean"], settings["ceiling"]
    rows = [["group", "what differs", "seeds", "token AUC", "nDCG@10", "won back", "parameters"]]
    found: dict[tuple[str, str], list[Record]] = {}
    for each in record["results"]:
        found.setdefault((each["group"], each["name"]), []).append(each)
    for (group, name), seeds in found.items():
        values = [each["ndcg@10"] for each in seeds]
        auc = spread([each["auc"] for each in seeds], 3)
        won = percent(won_back(statistics.fmean(values), low, high))
        rows.append([group, name, str(len(seeds)), auc, spread(values, 1), won, f"{seeds[0]['parameters']:,}"])
    rows.append(["", "mean pooling", "", "", f"{low:.1f}", "", ""])
    rows.append(["", "oracle", "", "", f"{high:.1f}", "", ""])
    return rows


def unseen_rows(record: Record) -> Rows:
    """Of `unseen.py`: a family that was left out a row, and the share won back on average."""
    columns = ("mean", "unseen", "unseen+prune", "seen", "seen+prune", "ceiling")
    titles = ["mean", "left out", "left out, denoised first", "trained on", "trained on, denoised first", "oracle"]
    ways = columns[1:-1]
    rows = [["noise", *titles, *(f"won back, {title}" for title in titles[1:-1])]]
    shares: dict[str, list[float]] = {way: [] for way in ways}
    for each in record["results"]:
        won = {way: won_back(each[way], each["mean"], each["ceiling"]) for way in ways}
        rows.append([each["family"], *(f"{each[column]:.1f}" for column in columns), *map(percent, won.values())])
        for way, share in won.items():
            shares[way].extend([] if share is None else [share])
    average = [percent(statistics.fmean(each) if each else None) for each in shares.values()]
    return [*rows, ["on average", *[""] * len(columns), *average]]


def backbone_rows(record: Record) -> Rows:
    """Of `backbones.py`: a backbone, a collection and its noise a row; nDCG@10 × 100 with its interval."""

    def shown(values: dict[str, list[float]], *names: str) -> str:
        value, *interval = next((values[name] for name in names if name in values), [None])
        if value is None:
            return ""
        return f"{value:.1f}" + (f" ({interval[0]:.1f}–{interval[1]:.1f})" if interval else "")

    rows = [["backbone", "collection", "noise", "queries", "mean", "GLOT", "denoised", "oracle", "denoised − mean"]]
    for each in record["backbone_results"]:
        values, denoised = each["ndcg"], ("GLOT, denoised", "mean, denoised")
        noise = each["noise"] if each["noise"] == "none" else f"{each['noise']} {each['ratio']:.0%}"
        rows.append(
            [
                each["backbone"],
                each["collection"],
                "their own" if each["collection"] == "pages" else noise,
                str(each["queries"]),
                shown(values, "mean"),
                shown(values, "GLOT"),
                shown(values, *denoised),
                shown(values, "oracle"),
                shown(values, *(f"{name} - mean" for name in denoised)),
            ]
        )
    return rows


def block_noise_rows(record: Record) -> Rows:
    """Of `block_noise.py`: what keeps words of pages a row, F1 by kind of page."""
    kinds = list(record["f1"]["everything"])
    rows = [["kept by", *kinds, "calibration error"]]
    for name, values in record["f1"].items():
        error = record.get(name, {}).get("calibration_error")
        rows.append([name, *(f"{values[kind]:.3f}" for kind in kinds), "" if error is None else f"{error:.3f}"])
    return rows


def language_rows(record: Record) -> Rows:
    """Of `languages.py`: a language and the noise around its pages a row."""
    rows = [
        [
            *["language", "noise", "share", "pages", "F1 of what is dropped", "of what is kept", "of everything"],
            *["nDCG@10, everything", "kept", "main content", "kept − everything", "won back", "harm to main content"],
        ]
    ]
    for each in record["language_results"]:
        searched = []
        if "queries" in each:
            gain = each["ndcg_kept"] - each["ndcg_everything"]
            harm = each["ndcg_main_denoised"] - each["ndcg_main"]
            searched = [
                *(f"{each[f'ndcg_{way}']:.1f}" for way in ("everything", "kept", "main")),
                f"{gain:+.1f} ({each['gain_interval'][0]:+.1f} to {each['gain_interval'][1]:+.1f})",
                percent(each["won_back"]),
                f"{harm:+.1f} ({each['harm_interval'][0]:+.1f} to {each['harm_interval'][1]:+.1f})",
            ]
        f1 = [f"{each[name]:.3f}" for name in ("noise_f1", "kept_f1", "everything_f1")]
        place = [each["language"], each["noise_of"], f"{each['noise']:.0%}", str(each["pages"])]
        rows.append([*place, *f1, *(searched or [""] * 6)])
    return rows


def train_cost_rows(record: Record) -> Rows:
    """Of `train_cost.py`: a way of training a row, beside the GLOT head on cached states."""
    settings = record["settings"]
    rows = [
        [
            *["backbone", "what is trained", "parameters", "of GLOT", "a step", "of GLOT", "an epoch"],
            *[f"with caching, over {settings['epochs']} epochs", "peak memory"],
        ]
    ]
    glot = record["results"][0]
    for each in record["results"]:
        rows.append(
            [
                Path(settings["backbone"]).name,
                TRAINED[each["method"]],
                f"{each['parameters']:,}",
                f"{each['parameters'] / glot['parameters']:.1f}x",
                f"{1000 * each['step_seconds']:.1f} ms",
                f"{each['step_seconds'] / glot['step_seconds']:.1f}x",
                f"{each['epoch_seconds']:.1f} s",
                f"{each['epoch_seconds_with_caching']:.1f} s",
                f"{each['peak_gib']:.2f} GiB",
            ]
        )
    return rows


def won_back(value: float, mean: float, ceiling: float) -> float | None:
    """The share of what noise takes, of nDCG@10 in points; None where it takes less than a point."""
    return recovery(*({PRIMARY_METRIC: each / 100} for each in (value, mean, ceiling)))


def percent(share: float | None) -> str:
    """A share as it is printed; nothing for none."""
    return "" if share is None else share_label(share)


def terminal_table(rows: Rows, title: str) -> Table:
    """Rows for a terminal: words to the left, figures to the right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(rows[0]):
        words = any(row[number][:1].isalpha() for row in rows[1:])
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


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
            *["by keywords", "by both", "open, raw", "open, mapped", "memory of raw", "without keywords"],
            "build of raw",
        ]
    ]
    for name, each in record["against_raw_faiss"].items():
        search, opened = each["search"], each["open_s"]
        recall, words, peak = search["recall_at_10"], each["words"], each["peak_mib"]
        rows.append(
            [
                f"{name}, {record['settings']['rows']:,}",
                f"{search['batch_of_raw']:.2f}x",
                f"{search['single']['raw']['p50_ms']:.2f} ms",
                f"{search['single_overhead_p50_ms']:+.2f} ms",
                f"{recall['glot']:.3f}, {recall['raw']:.3f}",
                f"{words['keyword']['p50_ms']:.2f} ms",
                f"{words['hybrid']['p50_ms']:.2f} ms",
                f"{opened['glot']:.2f} s, {opened['raw']:.2f} s",
                f"{opened['mapped']:.2f} s",
                f"{peak['of_raw']:.2f}x",
                f"{(peak['glot'] - words['keyword_file_mib']) / peak['raw']:.2f}x",
                f"{each['build']['of_raw']:.1f}x",
            ]
        )
    return rows


def fusion_rows(record: Record) -> Rows:
    """Of `fusion.py`: a fusion a row; the sets by what the better of the two parts is."""
    rows = [
        ["fusion", "weight of vectors", "depth", "at worst", "on average", "pages", "Cranfield, clean", "80% words"]
    ]
    best = {name: max(parts.values()) for name, parts in record["sets"].items()}
    shown = ("pages, none, mean", "cranfield, none, mean", "cranfield, words:0.8, mean")
    for each in record["fusions"]:
        chosen = all(each[key] == value for key, value in record["default"].items())
        cells = [
            each["method"],
            f"{each['weight']}",
            f"{each['depth']}",
            f"{each['worst']:+.1f}",
            f"{each['mean']:+.1f}",
        ]
        cells += [f"{each['ndcg@10'][name] - best[name]:+.1f}" for name in shown]
        rows.append([f"**{cell}**" if chosen else cell for cell in cells])
    return rows


def keyword_noise_rows(record: Record) -> Rows:
    """Of `keyword_noise.py`: a set a row; nDCG@10 × 100 of BM25."""
    rows = [["set", "queries", "all of the text", "denoised", "kept", "denoised, fitted", "kept", "main content alone"]]
    for name, each in record["keyword_noise"].items():
        kept = [f"{each[f'{which}_kept']:.0%}" for which in ("denoised", "fitted")]
        gold = f"{each['gold']:.1f}" if "gold" in each else ""
        values = [f"{each[which]:.1f}" for which in ("all", "denoised", "fitted")]
        rows.append([name, str(each["queries"]), values[0], values[1], kept[0], values[2], kept[1], gold])
    return rows


def store_rows(record: Record) -> Rows:
    """Of `other_stores.py`: a store a row; p50 and core time of a search, recall@10 of vectors and of keywords."""
    rows = [["store", "vectors: p50, core", "recall@10", "keywords: p50, core", "of BM25's ten", "both: p50, core"]]
    for name, each in record["stores"].items():
        if "skipped" in each:
            rows.append([name, each["skipped"], "", "", "", ""])
            continue
        cells = []
        for mode in ("vector", "keyword", "hybrid"):
            found = each.get(mode)
            cells.append(f"{found['p50_ms']:,.1f}, {found['core_ms']:,.1f} ms" if found else "–")
            if mode != "hybrid":
                cells.append(f"{found['recall_at_10']:.3f}" if found else "–")
        rows.append([name, *cells])
    return rows


def recall_rows(record: Record) -> Rows:
    """A type and a setting a row, the kinds of vectors side by side; of the queries on which nothing was chosen."""
    found = record["recall"]
    sizes = {each["vectors"]: each["rows"] for each in found}
    columns = [f"{name}, {size:,}: recall@10" for name, size in sizes.items()]
    head = ["index", "lists looked into", *columns, "texts: the nearest is found", "own text: MRR", "exact", "core"]
    rows: dict[tuple[str, str], dict[str, Record]] = {}
    for each in found:
        asked = next(iter(each["setting"].values()), None)
        rows.setdefault((each["type"], "" if asked is None else f"{asked:,}"), {})[each["vectors"]] = each
    shown = [head]
    for name, of in rows.items():
        texts = of["texts"]["report"]
        recalls = [f"{of[vectors]['report']['recall_at_10']:.3f}" for vectors in sizes]
        figures = [f"{texts[figure]:.3f}" for figure in ("recall_at_1", "mrr", "mrr_exact")]
        shown.append([*name, *recalls, *figures, f"{of['texts']['core_ms']:.2f} ms"])
    return shown


# What a file has that the others have not -> its rows.
KINDS: tuple[tuple[Callable[[Record], bool], Callable[[Record], Rows]], ...] = (
    (lambda record: "against_raw_faiss" in record, index_rows),
    (lambda record: "fusions" in record, fusion_rows),
    (lambda record: "stores" in record, store_rows),
    (lambda record: "recall" in record, recall_rows),
    (lambda record: "keyword_noise" in record, keyword_noise_rows),
    (lambda record: "embedding" in record, embedding_rows),
    (lambda record: "lists" in record, list_rows),
    (lambda record: "faults" in record, fault_rows),
    (lambda record: "backbone_results" in record, backbone_rows),
    (lambda record: "language_results" in record, language_rows),
    (lambda record: "f1" in record and "part" in record, block_noise_rows),
    (lambda record: "system" in _first(record), encode_rows),
    (lambda record: "shares" in _first(record), where_rows),
    (lambda record: "shape" in _first(record), head_rows),
    (lambda record: "root" in _first(record), import_rows),
    (lambda record: "auc" in _first(record), ablation_rows),
    (lambda record: "family" in _first(record), unseen_rows),
    (lambda record: "method" in _first(record), train_cost_rows),
)


def rows_of(records: list[Record]) -> Rows | None:
    """The rows of a benchmark's files, which are of one kind, or None if they are of none of these."""
    rows = next((rows for knows, rows in KINDS if knows(records[0])), None)
    if rows is None:
        return None
    tables = [rows(record) for record in records]
    # What does not depend on the file, such as a baseline, is shown once.
    return [*tables[0], *(row for table in tables[1:] for row in table[1:] if row not in tables[0])]


def _first(record: Record) -> Record:
    results = record.get("results")
    first: Record = results[0] if isinstance(results, list) and results else {}
    return first
