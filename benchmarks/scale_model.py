"""What a larger corpus takes, from what `scale.py` measured; `tables.py` puts it into docs/scale.md.

The model is linear in the number of chunks but for what compares vectors with lists, which grow with its square root:

- embedding: chunks over chunks a core second, in one process without Ray
- storage and memory: bytes a chunk
- training of a part: `fixed + each · sample · lists`, from two measured sizes
- adding a chunk: `fixed + each · lists`
- a search of a part: `fixed + each · codes that it looks at`, by least squares over the measured numbers of lists

A corpus is cut into parts of a hundred million chunks, each of which is trained, built and searched by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glot_rag.index import index_types
from glot_rag.shards.lists import training_size

Record = Mapping[str, Any]
Rows = list[list[str]]
DIMENSION = 384
PART = 10**8
MEMORY, CORES = 256e9, 32  # of a machine


class ListModel(NamedTuple):
    """Constants of lists on disk: core seconds and bytes."""

    train_fixed: float
    train_each: float
    add_fixed: float
    add_each: float
    code_bytes: float
    vector_bytes: float
    search_fixed: float
    search_each: float

    def train(self, chunks: int) -> float:
        """Core seconds to train a part of so many chunks."""
        lists, sample = size_of(chunks)
        return self.train_fixed + self.train_each * sample * lists

    def add(self, chunks: int) -> float:
        """Core seconds to add each of so many chunks."""
        return self.add_fixed + self.add_each * size_of(chunks)[0]

    def search(self, chunks: int) -> float:
        """Core seconds of a search in a part of so many chunks, which looks into as many lists as by default."""
        lists = size_of(chunks)[0]
        return self.search_fixed + self.search_each * chunks * index_types.default_nprobe(lists) / lists


def size_of(chunks: int) -> tuple[int, int]:
    """How many lists `build_lists` makes of so many chunks, and how many it trains them on."""
    plan = index_types.plan("ivfpq", DIMENSION, chunks)
    lists = int(plan.factory[3:].split(",")[0])
    return lists, min(chunks, training_size(plan, lists))


def fitted(measured: Sequence[Record]) -> ListModel:
    """The constants, of the largest of the measured sizes; those of training and adding from all.

    Args:
        measured: `lists` of the JSON of `scale.py --vectors`, of two sizes or more.
    """
    last = max(measured, key=lambda each: each["vectors"])
    work = np.array([float(np.prod(size_of(each["vectors"]), dtype=float)) for each in measured])
    seconds = np.array([each["train_core_seconds"] for each in measured])
    train_each, train_fixed = np.polyfit(work, seconds, 1)
    adding = [each["add_core_microseconds_per_chunk"] / 1e6 for each in measured]
    add_each, add_fixed = np.polyfit([each["lists"] for each in measured], adding, 1)
    codes = [last["vectors"] * min(1.0, each["nprobe"] / last["lists"]) for each in last["search"]]
    search_each, search_fixed = np.polyfit(codes, [each["core_ms"] / 1000 for each in last["search"]], 1)
    return ListModel(
        float(train_fixed),
        float(train_each),
        float(add_fixed),
        float(add_each),
        last["list_bytes_per_chunk"],
        last["vector_bytes_per_chunk"],
        float(search_fixed),
        float(search_each),
    )


def model_rows(records: Sequence[Record]) -> Rows:
    """A size a row. The first record is of embedding, the others of lists."""
    embedding = next(each for each in records[0]["embedding"] if each["chunks_per_core_second"])
    lists = fitted([record["lists"] for record in records[1:]])
    run_bytes = embedding["document_bytes_per_chunk"] + embedding["shard_bytes_per_chunk"]
    rows = [
        [
            *["chunks", "embedding, core hours", f"machines of {CORES} cores for a week", "files of the run"],
            *["one index or several: on disk", "lists: to build, core hours", "on disk", "of which codes, in memory"],
            *[f"machines of {MEMORY / 1e9:.0f} GB for these", "a search, core ms"],
        ]
    ]
    for chunks in (10**6, 10**8, 10**10):
        parts = max(1, chunks // PART)
        each = chunks // parts
        hours = chunks / embedding["chunks_per_core_second"] / 3600
        building = (parts * lists.train(each) + chunks * lists.add(each)) / 3600
        codes = chunks * lists.code_bytes
        rows.append(
            [
                f"{chunks:,}",
                f"{hours:,.0f}",
                f"{int(np.ceil(hours / CORES / 24 / 7)):,}",
                size_label(chunks * run_bytes),
                size_label(chunks * embedding["index_bytes_per_chunk"]),
                f"{building:,.1f}",
                size_label(chunks * lists.vector_bytes + codes),
                size_label(codes),
                f"{max(1, int(np.ceil(codes / (0.8 * MEMORY)))):,}",
                f"{1000 * parts * lists.search(each):,.1f}",
            ]
        )
    return rows


def check_rows(records: Sequence[Record]) -> Rows:
    """What the smaller sizes say of the largest one, and what was measured there."""
    *smaller, large = sorted((record["lists"] for record in records), key=lambda each: each["vectors"])
    model, chunks = fitted(smaller), large["vectors"]
    probed = index_types.default_nprobe(large["lists"])
    searched = next(each for each in large["search"] if each["nprobe"] == probed)
    adding = chunks * large["add_core_microseconds_per_chunk"] / 6e7
    found: list[tuple[str, float, float, str]] = [
        ("training, core minutes", model.train(chunks) / 60, large["train_core_seconds"] / 60, ".1f"),
        ("adding, core minutes", chunks * model.add(chunks) / 60, adding, ".1f"),
        ("codes, GB", chunks * model.code_bytes / 1e9, chunks * large["list_bytes_per_chunk"] / 1e9, ".2f"),
        (f"a search of {probed} lists, core ms", 1000 * model.search(chunks), searched["core_ms"], ".1f"),
    ]
    sizes = " and ".join(f"{each['vectors']:,}" for each in smaller)
    rows = [[f"at {chunks:,} chunks", f"by the model, from {sizes}", "measured", "measured of model"]]
    rows += [[what, f"{said:{form}}", f"{was:{form}}", f"{was / said:.2f}x"] for what, said, was, form in found]
    return rows


def embedding_rows(record: Record) -> Rows:
    """A number of workers a row."""
    head = ["workers", "chunks", "chunks a second", "of one worker", "a core second"]
    rows = [[*head, "import into an index, chunks a second", "bytes a chunk: document, shard, index"]]
    one = next((each["chunks_per_second"] for each in record["embedding"] if each["workers"] == 1), None)
    for each in record["embedding"]:
        sizes = [f"{each[f'{what}_bytes_per_chunk']:,}" for what in ("document", "shard", "index")]
        rows.append(
            [
                str(each["workers"] or "without Ray"),
                f"{each['chunks']:,}",
                f"{each['chunks_per_second']:.1f}",
                "" if one is None else f"{each['chunks_per_second'] / one:.2f}x",
                "" if each["chunks_per_core_second"] is None else f"{each['chunks_per_core_second']:.1f}",
                f"{each['import_chunks_per_second']:,.0f}",
                ", ".join(sizes),
            ]
        )
    return rows


def fault_rows(record: Record) -> Rows:
    """Of `ray_faults.py`: a fault a row."""
    head = ["fault", "set aside", "chunks", "ids", "missing", "twice", "with other text", "made again"]
    rows = [[*head, "largest difference in a vector"]]
    for each in record["faults"]:
        counts = [each["set_aside"], each["rows"], each["ids"], each["missing"], each["rows"] - each["ids"]]
        counts += [each["other"], each["again"]]
        rows.append([each["fault"], *(f"{count:,}" for count in counts), f"{each['difference']:.1g}"])
    return rows


def list_rows(record: Record) -> Rows:
    """A number of lists that are looked into a row."""
    found = record["lists"]
    rows = [
        [
            *["vectors", "lists", "build, core minutes", "of which training", "memory to build", "to search"],
            *["bytes a chunk", "looked into", "recall@10", "p50", "p99", "core"],
        ]
    ]
    bytes_each = f"{found['list_bytes_per_chunk']:.0f} + {found['vector_bytes_per_chunk']:.0f}"
    about = [
        *[f"{found['vectors']:,}", f"{found['lists']:,}", f"{found['build_core_seconds'] / 60:.0f}"],
        *[f"{found['train_core_seconds'] / 60:.0f}", f"{found['build_memory_mib']:,} MiB"],
        *[f"{found['search_memory_mib']} MiB", bytes_each],
    ]
    for each in found["search"]:
        times = [f"{each[name]:.1f} ms" for name in ("p50_ms", "p99_ms", "core_ms")]
        rows.append([*about, str(each["nprobe"]), f"{each['recall_at_10']:.3f}", *times])
        about = [""] * len(about)
    return rows


def size_label(size: float) -> str:
    """Bytes as GB or TB.

    >>> size_label(2.5e9), size_label(3e12)
    ('2.5 GB', '3.0 TB')
    """
    return f"{size / 1e12:,.1f} TB" if size >= 1e12 else f"{size / 1e9:,.1f} GB"
