"""FAISS over the store's vectors, addressed by the store's keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.index import index_types
from glot_rag.index.index_types import Plan
from glot_rag.index.lazy_faiss import load_faiss
from glot_rag.index.snapshot import Keys, Snapshot

NPROBE = 8  # at least; of many lists one in 32
EF_SEARCH = 128
GONE = -1  # a key in the file, where the vector is still there and the document is not
SEED = 0


class VectorTable:
    """An append-only FAISS index whose position i holds the vector of the i-th key.

    A key stands for one vector for ever and keys only grow, so the keys are in order, a document is found by bisection,
    and what changes is only which positions are alive. Deleted vectors stay until the index is built anew: a graph and
    lists cannot let go of one, and a search passes over them.

    Args:
        index: FAISS index with N vectors, of its own class in Python too.
        keys: (N,) in ascending order, `GONE` for those that are not alive.
        owner: Kept as long as the index: FAISS frees one object with the other.
        mapped: The vectors are in a file; nothing can be appended.
    """

    def __init__(self, index: Any, keys: Keys, owner: Any = None, *, mapped: bool = False) -> None:
        self.mapped = mapped
        self._index = index
        self._owner = owner
        self._alive: NDArray[np.bool_] = keys != GONE
        # Those that are gone take the key before them, which keeps the order; bisection finds the first, the alive one.
        self._keys: Keys = np.maximum.accumulate(np.maximum(keys, 0))
        self._chosen: tuple[Keys | None, NDArray[np.uint8]]  # the last filter's keys and bits
        self._count_alive()
        self.exact = index_types.is_exact(index)
        self.description = index_types.describe(index)

    @classmethod
    def build(cls, snapshot: Snapshot, plan: Plan, dimension: int) -> VectorTable:
        """Train an index on a sample of the stored vectors, where it has to be, and add all of them.

        Raises:
            InputError: FAISS cannot train it.
        """
        index = index_types.make(plan.factory, dimension)
        if not index.is_trained:
            keys = snapshot.sample(index_types.rows_to_sample(plan.factory, index), SEED)
            parts = [vectors for _, vectors in snapshot.vectors(keys.tolist())]
            try:
                index.train(np.concatenate(parts))
            except RuntimeError as error:
                raise InputError(f"FAISS cannot train {plan.factory!r} on these vectors: {error}") from error
        table = cls(index, np.empty(0, np.int64))
        table.append(snapshot.all_vectors())
        return table

    @classmethod
    def from_file_form(cls, file_form: Any, dimension: int, *, mapped: bool = False) -> VectorTable:
        """From what `file_form` gave.

        Raises:
            ValueError: It is something else.
        """
        faiss = load_faiss()

        if type(file_form) is not faiss.IndexIDMap:
            raise ValueError(f"the file holds an {type(file_form).__name__}")
        index, keys = faiss.downcast_index(file_form.index), faiss.vector_to_array(file_form.id_map)
        alive = keys[keys != GONE]
        if not (
            index_types.is_searchable(index)
            and all(part.metric_type == faiss.METRIC_INNER_PRODUCT for part in index_types.layers(index))
            and index.d == dimension
            and index.ntotal == len(keys)
            and (alive > 0).all()
            and (np.diff(alive) > 0).all()
        ):
            raise ValueError("the file holds an index that this library did not make")
        return cls(index, keys, file_form, mapped=mapped)

    def file_form(self) -> Any:
        """A FAISS index with the keys in it, which shares the vectors with this one."""
        faiss = load_faiss()

        keys = np.where(self._alive, self._keys, GONE)
        wrapped = faiss.IndexIDMap(faiss.IndexFlatIP(self._index.d))
        wrapped.index, wrapped.ntotal = self._index, self._index.ntotal
        faiss.copy_array_to_vector(keys, wrapped.id_map)
        return wrapped

    # -- changes

    def append(self, parts: Iterable[tuple[Keys, Vectors]]) -> None:
        """Add documents whose keys are all larger than those here: (N,) in ascending order, and (N, D) a part."""
        keys = [self._keys]
        for some, vectors in parts:
            assert not self.mapped, "FAISS would end the process"
            self._index.add(vectors)
            keys.append(some)
        if len(keys) > 1:
            self._keys = np.concatenate(keys)
            self._alive = np.concatenate([self._alive, np.ones(len(self._keys) - len(self._alive), np.bool_)])
            self._count_alive()

    def remove(self, keys: Iterable[int]) -> None:
        """Pass over documents from now on; keys that are not here are passed over."""
        gone = np.fromiter(keys, np.int64)
        gone = gone[gone <= self.largest]
        if len(gone):
            positions = self._positions(gone)
            self._alive[positions[self._keys[positions] == gone]] = False
            self._count_alive()

    # -- reading

    def __len__(self) -> int:
        """How many documents are alive."""
        return self._living

    @property
    def dead(self) -> int:
        """How many vectors are here for nothing."""
        return len(self._keys) - self._living

    @property
    def largest(self) -> int:
        """The largest key; 0 if there is none."""
        return int(self._keys[-1]) if len(self._keys) else 0

    def contents(self) -> tuple[Keys, Vectors | None]:
        """The keys that are alive, (N,), and their vectors, (N, D), if the index holds them as they are."""
        keys: Keys = self._keys[self._alive]
        vectors = self._index.reconstruct_n(0, len(self._keys))[self._alive] if self.exact and len(keys) else None
        return keys, vectors

    def search(
        self, queries: Vectors, k: int, keys: Keys | None, nprobe: int | None = None, ef_search: int | None = None
    ) -> tuple[Vectors, Keys]:
        """Nearest vectors by inner product, as far as the index finds them.

        Args:
            queries: (N, D) unit rows, N ≥ 1.
            k: How many for each.
            keys: Search only these, which are alive.
            nprobe: Lists to look into, of an index that has lists.
            ef_search: Candidates to keep, of an index that is a graph.

        Returns:
            Scores and keys, both (N, k), best first; keys are -1 where the index found no more.
        """
        faiss = load_faiss()

        selector, share = None, 1.0
        if keys is not None:
            selector = faiss.IDSelectorBitmap(self._bits_of(keys))
            share = len(keys) / len(self._keys)
        elif self.dead:
            selector, share = faiss.IDSelectorBitmap(self._alive_bits), self._living / len(self._keys)
        parameters = _parameters(self._index, selector, share, nprobe, ef_search)
        scores, positions = self._index.search(queries, k, params=parameters)
        return scores, np.where(positions < 0, GONE, self._keys[positions])

    def _bits_of(self, keys: Keys) -> NDArray[np.uint8]:
        """A bit for each vector: whether its key is among these."""
        known, bits = self._chosen
        if keys is not known:
            chosen = np.zeros(len(self._keys), np.bool_)
            chosen[self._positions(keys)] = True
            bits = _bits(chosen)
            if not keys.flags.writeable:  # nothing can change it: kept for the next search with this filter
                self._chosen = keys, bits
        return bits

    def _positions(self, keys: Keys) -> NDArray[np.intp]:
        return np.searchsorted(self._keys, keys)

    def _count_alive(self) -> None:
        self._living = int(np.count_nonzero(self._alive))
        self._alive_bits = _bits(self._alive)
        self._chosen = None, self._alive_bits


def _parameters(index: Any, selector: Any, share: float, nprobe: int | None, ef_search: int | None) -> Any:
    """FAISS's settings of one search. Where few vectors are let through, more lists and candidates are looked at."""
    faiss = load_faiss()

    if isinstance(index, faiss.IndexPreTransform):
        inner = _parameters(faiss.downcast_index(index.index), selector, share, nprobe, ef_search)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        lists = max(NPROBE, index.nlist // 32) if nprobe is None else nprobe
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(index.nlist, round(lists / share)))
    if isinstance(index, faiss.IndexHNSW):
        kept = EF_SEARCH if ef_search is None else ef_search
        return faiss.SearchParametersHNSW(sel=selector, efSearch=min(max(index.ntotal, 1), round(kept / share)))
    return faiss.SearchParameters(sel=selector)


def _bits(chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(chosen, bitorder="little")
