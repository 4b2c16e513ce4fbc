"""Vectors of shards in lists on disk (IVF-PQ), for a corpus that no `GlotIndex` should hold: by vectors alone.

One index is trained on a sample. Workers add shards to copies of it, each by itself, and the copies are merged on disk
without loading them (`faiss.contrib.ondisk`). A search looks into some lists, which the system maps from the file, and
orders what it finds by the vectors themselves, which lie beside them in float16. Texts stay in the shards.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexNotFoundError, InputError
from glot_rag.files import new_directory, read_json_record, write_atomically
from glot_rag.index import index_types
from glot_rag.index.options import Hit
from glot_rag.index.validation import check_count, unit_vectors
from glot_rag.index.vectors.faiss_index import SEED, load_faiss, make
from glot_rag.shards.engine import Engine, Item, LocalEngine
from glot_rag.shards.format import CHUNKS, Columns, ShardRecord, arrow, read_columns
from glot_rag.shards.to_index import chunk_shards

RECORD, FORMAT, VERSION = "lists.json", "glot-rag/lists", 1
TRAINED, MERGED, LISTS, VECTORS, PARTS = "trained.faiss", "merged.faiss", "merged.ivfdata", "vectors.f16", "parts"
MOST_TRAINED = 1 << 19  # vectors in memory, unless there are so many lists that they take more
RERANKED = 10  # so many times k are ordered by their vectors


def build_lists(source: str | os.PathLike[str], out: str | os.PathLike[str], engine: Engine | None = None) -> int:
    """Make lists of all chunks of a run.

    Args:
        source: the run's directory, in which the texts stay: it is needed for searches, too.
        out: a directory that is empty or does not exist; after an error there is nothing.
        engine: adds the shards; None is this process.

    Returns:
        How many chunks there are.

    Raises:
        IndexNotFoundError: there are no shards.
        FingerprintMismatchError: the shards were made by different encoders.
        InputError: there are too few chunks to train lists; or there is something at `out`.
    """
    faiss = load_faiss()
    folder = Path(source).absolute()
    records = [record for record in chunk_shards(folder) if record.rows]
    rows = sum(record.rows for record in records)
    dimension = records[0].made_from["dimension"] if records else 1
    plan = index_types.plan("ivfpq", dimension, rows)
    if plan.missing:
        raise InputError(
            f"lists take {rows + plan.missing:,} chunks to train, {folder} has {rows:,}: use `glot-rag import-index`"
        )
    with new_directory(Path(out)) as new:
        trained = make(plan.factory, dimension)
        trained.train(_sample(folder, records, training_size(plan, trained.nlist)))
        faiss.write_index(trained, str(new / TRAINED))
        (new / PARTS).mkdir()
        starts = np.cumsum([0, *(record.rows for record in records)]).tolist()
        items = [
            {"name": each.name, "rows": each.rows, "sha256": each.sha256, "start": start}
            for each, start in zip(records, starts, strict=False)
        ]
        for _ in (engine or LocalEngine()).map(AddShard, {"folder": str(folder), "lists": str(new)}, items):
            pass
        _merge(new, [record.name for record in records])
        shards = [{"name": each.name, "rows": each.rows, "sha256": each.sha256} for each in records]
        record = {"format": FORMAT, "format_version": VERSION, "dimension": dimension, "source": str(folder)}
        record |= {"encoder": records[0].made_from["encoder"], "documents": rows}
        (new / "shards.json").write_text(json.dumps(shards), encoding="utf-8")
        write_atomically(new / RECORD, json.dumps(record, indent=2).encode() + b"\n")
    return rows


def training_size(plan: index_types.Plan, lists: int) -> int:
    """How many vectors lists are trained on, if there are so many."""
    return max(index_types.ROWS_PER_CENTROID * lists, min(plan.sample, MOST_TRAINED))


class AddShard:
    """A worker: adds a shard to a copy of the trained index.

    Args:
        folder: the run's directory.
        lists: the directory of the lists.
    """

    def __init__(self, folder: str, lists: str) -> None:
        self._folder, self._lists = Path(folder), Path(lists)

    def __call__(self, item: Item) -> dict[str, Any]:
        """Add a shard.

        Args:
            item: `name`, `rows` and `sha256` of a shard of chunks, and `start`, the number of its first chunk.
        """
        faiss = load_faiss()
        index = faiss.read_index(str(self._lists / TRAINED))
        record = ShardRecord(item["name"], CHUNKS, item["rows"], item["sha256"])
        at, halves = item["start"], []
        for columns in read_columns(self._folder, record):
            vectors = columns["vector"]
            index.add_with_ids(vectors, np.arange(at, at + len(vectors)))
            halves.append(vectors.astype(np.float16).tobytes())
            at += len(vectors)
        write_atomically(self._lists / PARTS / f"{record.name}.f16", b"".join(halves))
        write_atomically(self._lists / PARTS / f"{record.name}.faiss", faiss.serialize_index(index).tobytes())
        return {"name": record.name, "rows": record.rows}


class ListIndex:
    """Searches what `build_lists` made. Calls are safe between threads.

    Args:
        path: the directory of the lists.

    Raises:
        IndexNotFoundError: there are none.
        BundleError: their record is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        faiss = load_faiss()
        folder = Path(path)
        if not (folder / RECORD).is_file():
            raise IndexNotFoundError(f"{folder} holds no lists, which build_lists makes")
        about = read_json_record(folder / RECORD, FORMAT, VERSION)
        self.dimension: int = about["dimension"]
        self.fingerprint: str = about["encoder"]
        self._source = Path(about["source"])
        self._shards = [
            ShardRecord(each["name"], CHUNKS, each["rows"], each["sha256"])
            for each in json.loads((folder / "shards.json").read_text(encoding="utf-8"))
        ]
        self._starts: list[int] = np.cumsum([0, *(record.rows for record in self._shards)]).tolist()
        # The lists themselves are mapped in any case; the flag finds them beside this file, wherever that was moved.
        self._index = faiss.read_index(str(folder / MERGED), faiss.IO_FLAG_ONDISK_SAME_DIR)
        self._vectors: NDArray[np.float16] = np.memmap(folder / VECTORS, np.float16, "r").reshape(-1, self.dimension)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def find(self, vectors: ArrayLike, k: int = 10, *, nprobe: int | None = None) -> tuple[Vectors, NDArray[np.int64]]:
        """The nearest chunks by number, for (N, D) query vectors, which are scaled to norm 1.

        Args:
            vectors: of queries.
            k: how many for each.
            nprobe: lists to look into; None is one in 32, at least 128.

        Returns:
            Cosines and numbers, both (N, k), best first; −1 where there are no more.
        """
        faiss = load_faiss()
        queries = unit_vectors(vectors, self.dimension)
        lists = index_types.default_nprobe(self._index.nlist) if nprobe is None else check_count(nprobe, "nprobe")
        parameters = faiss.SearchParametersIVF(nprobe=min(lists, self._index.nlist))
        _, found = self._index.search(queries, RERANKED * check_count(k), params=parameters)
        scores = np.full(found.shape, -np.inf, np.float32)
        for row, (query, numbers) in enumerate(zip(queries, found, strict=True)):
            there = numbers >= 0
            scores[row, there] = self._vectors[numbers[there]].astype(np.float32) @ query
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)

    def search_vectors(self, vectors: ArrayLike, k: int = 10, *, nprobe: int | None = None) -> list[list[Hit]]:
        """The same as hits with id, text and metadata, which are read from the shards."""
        scores, numbers = self.find(vectors, k, nprobe=nprobe)
        rows = self._rows(sorted({number for number in numbers.ravel().tolist() if number >= 0}))
        return [
            [
                Hit(rows[number]["id"], score, rows[number]["text"], rows[number]["metadata"])
                for score, number in zip(one, many, strict=True)
                if number >= 0
            ]
            for one, many in zip(scores.tolist(), numbers.tolist(), strict=True)
        ]

    def _rows(self, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
        _, parquet = arrow()
        found: dict[int, dict[str, str]] = {}
        by_shard: dict[int, list[int]] = {}
        for number in numbers:
            by_shard.setdefault(bisect_right(self._starts, number) - 1, []).append(number)
        for shard, wanted in by_shard.items():
            with parquet.ParquetFile(self._shards[shard].file(self._source)) as file:
                counts = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
                starts = np.cumsum([self._starts[shard], *counts]).tolist()
                groups: dict[int, list[int]] = {}
                for number in wanted:
                    groups.setdefault(bisect_right(starts, number) - 1, []).append(number)
                for group, some in groups.items():
                    table: Columns = file.read_row_group(group, ["id", "text", "metadata"]).to_pylist()
                    found |= {number: table[number - starts[group]] for number in some}
        return found


def _sample(folder: Path, records: Sequence[ShardRecord], most: int) -> Vectors:
    """About so many vectors, evenly over the shards."""
    share = min(1.0, most / max(sum(record.rows for record in records), 1))
    choose = np.random.default_rng(SEED)
    parts = []
    for record in records:
        for columns in read_columns(folder, record, ["vector"]):
            parts.append(columns["vector"][choose.random(len(columns["vector"])) < share])
    return np.concatenate(parts)


def _merge(lists: Path, names: Sequence[str]) -> None:
    from faiss.contrib.ondisk import merge_ondisk

    faiss = load_faiss()
    index = faiss.read_index(str(lists / TRAINED))
    merge_ondisk(index, [str(lists / PARTS / f"{name}.faiss") for name in names], str(lists / LISTS))
    faiss.write_index(index, str(lists / MERGED))
    with open(lists / VECTORS, "wb") as file:
        for name in names:
            part = lists / PARTS / f"{name}.f16"
            file.write(part.read_bytes())
            part.unlink()
            (lists / PARTS / f"{name}.faiss").unlink()
        file.flush()
        os.fsync(file.fileno())
    (lists / PARTS).rmdir()
