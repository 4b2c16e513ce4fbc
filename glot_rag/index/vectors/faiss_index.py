"""A FAISS index that is addressed by the store's keys."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.index.index_types import Plan, default_nprobe
from glot_rag.index.store.snapshot import Keys, Snapshot

EF_SEARCH = 128
GONE = -1  # a key in the file whose vector is still there while its document is not
SEED = 0
# The classes that this library builds; each can search among chosen vectors only, which filters and deletions need.
_CLASSES = {
    "IndexFlat",
    "IndexFlatIP",
    "IndexHNSWFlat",
    "IndexIVFFlat",
    "IndexIVFPQ",
    "IndexScalarQuantizer",
}
_EXACT = {"IndexFlat", "IndexFlatIP", "IndexHNSWFlat", "IndexIVFFlat"}


def load_faiss() -> Any:
    """The module `faiss`, imported when it is first needed: an index can be written and inspected without it.

    Any, because its type stubs lack names that the module has.
    """
    return importlib.import_module("faiss")


class FaissIndex:
    """An append-only FAISS index whose position i holds the vector of the i-th key.

    A key stands for one vector for ever, and keys only grow. So the keys are in order, a document is found by
    bisection, and what changes is only which positions are alive. Deleted vectors stay until the index is built anew,
    because a graph or lists cannot let go of one; a search passes over them.

    Args:
        index: FAISS index with N vectors, of its own class in Python too.
        keys: (N,) in ascending order, `GONE` for those that are not alive.
        owner: Kept as long as the index: FAISS frees one object with the other.
        mapped: The vectors are in a file; nothing can be appended.

    Attributes:
        exact: FAISS holds the vectors as they are stored, so its scores are exact.
        description: The parts of the FAISS index, e.g. "IVFFlat (128 lists, 64 bytes a vector)".
    """

    def __init__(self, index: Any, keys: Keys, owner: Any = None, *, mapped: bool = False) -> None:
        self.mapped = mapped
        self._index = index
        self._owner = owner
        self._alive: NDArray[np.bool_] = keys != GONE
        # A key that is gone becomes the key before it, which keeps the order; bisection finds the first, the alive one.
        self._keys: Keys = np.maximum.accumulate(np.maximum(keys, 0))
        self._chosen: tuple[Keys | None, NDArray[np.uint8]]  # the last filter's keys and bits
        self._asked: tuple[
            object, Any
        ]  # the settings of the last search of everything, as asked for and as FAISS has them
        self._count_alive()
        self.exact = type(index).__name__ in _EXACT
        if self.exact and hasattr(index, "make_direct_map"):
            index.make_direct_map()  # which list a vector is in: eight bytes a vector, so that `vectors` finds it
        self.description = describe(index)

    @classmethod
    def build(cls, snapshot: Snapshot, plan: Plan, dimension: int) -> FaissIndex:
        """Train an index on a sample of the stored vectors, where needed, and add all of them.

        Raises:
            InputError: FAISS cannot train it.
        """
        index = make(plan.factory, dimension)
        if not index.is_trained:
            keys = snapshot.sample(plan.sample, SEED)
            parts = [vectors for _, vectors in snapshot.vectors(keys.tolist())]
            sample = np.concatenate(parts) if parts else np.empty((0, dimension), np.float32)
            try:
                index.train(sample)
            except RuntimeError as error:
                raise InputError(
                    f"FAISS cannot train {plan.factory!r} on {len(sample)} vectors: {str(error).strip()[-200:]}"
                ) from error
        made = cls(index, np.empty(0, np.int64))
        made.append(snapshot.all_vectors())
        return made

    @classmethod
    def from_file_form(cls, file_form: Any, dimension: int, *, mapped: bool = False) -> FaissIndex:
        """Read what `to_file_form` gave.

        Raises:
            ValueError: It is something else.
        """
        faiss = load_faiss()

        if type(file_form) is not faiss.IndexIDMap:
            raise ValueError(f"the file holds an {type(file_form).__name__}")
        index, keys = faiss.downcast_index(file_form.index), faiss.vector_to_array(file_form.id_map)
        alive = keys[keys != GONE]
        if not (
            type(index).__name__ in _CLASSES
            and index.metric_type == faiss.METRIC_INNER_PRODUCT
            and index.d == dimension
            and index.ntotal == len(keys)
            and (alive > 0).all()
            and (np.diff(alive) > 0).all()
        ):
            raise ValueError("the file holds an index that this library did not make")
        return cls(index, keys, file_form, mapped=mapped)

    def to_file_form(self) -> Any:
        """A FAISS index with the keys in it, which shares the vectors with this one."""
        faiss = load_faiss()

        keys = np.where(self._alive, self._keys, GONE)
        wrapped = faiss.IndexIDMap(faiss.IndexFlatIP(self._index.d))
        wrapped.index, wrapped.ntotal = self._index, self._index.ntotal
        faiss.copy_array_to_vector(keys, wrapped.id_map)
        return wrapped

    # -- changes

    def append(self, parts: Iterable[tuple[Keys, Vectors]]) -> None:
        """Add documents in parts: keys (N,) in ascending order, all larger than those here, and vectors (N, D)."""
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
        """Leave documents out of searches from now on. Keys that are not here mean nothing."""
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
        """How many vectors belong to documents that were deleted."""
        return len(self._keys) - self._living

    @property
    def largest(self) -> int:
        """The largest key; 0 if there is none."""
        return int(self._keys[-1]) if len(self._keys) else 0

    def contents(self) -> tuple[Keys, Vectors | None]:
        """The keys that are alive, (N,), and their vectors, (N, D), or None where FAISS compresses them."""
        keys: Keys = self._keys[self._alive]
        vectors = self._index.reconstruct_n(0, len(self._keys))[self._alive] if self.exact and len(keys) else None
        return keys, vectors

    def vectors(self, keys: Keys) -> Vectors | None:
        """The vectors of documents that are here, (N, D); None where FAISS compresses them."""
        return self._index.reconstruct_batch(self._positions(keys)) if self.exact else None

    def search(
        self, queries: Vectors, k: int, keys: Keys | None, nprobe: int | None = None, ef_search: int | None = None
    ) -> tuple[Vectors, Keys]:
        """Nearest vectors by inner product, as far as FAISS finds them.

        Args:
            queries: (N, D) unit rows, N ≥ 1.
            k: How many for each.
            keys: Search only these, which are alive; None: all.
            nprobe: Lists to look into, of an index that has lists.
            ef_search: Candidates to keep, of an index that is a graph.

        Returns:
            Scores and keys, both (N, k), best first. Keys are -1 where FAISS found no more.
        """
        faiss = load_faiss()

        selector, share = None, 1.0
        if keys is not None:
            selector = faiss.IDSelectorBitmap(self._bits_of(keys))
            share = len(keys) / len(self._keys)
        elif self.dead:
            selector, share = faiss.IDSelectorBitmap(self._alive_bits), self._living / len(self._keys)
        parameters = self._parameters(selector, share, nprobe, ef_search)
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

    def _parameters(self, selector: Any, share: float, nprobe: int | None, ef_search: int | None) -> Any:
        if selector is not None:
            return _parameters(self._index, selector, share, nprobe, ef_search)
        asked = nprobe, ef_search
        if asked != self._asked[0]:  # kept: making them takes as long as looking into a list
            self._asked = asked, _parameters(self._index, None, 1.0, nprobe, ef_search)
        return self._asked[1]

    def _positions(self, keys: Keys) -> NDArray[np.intp]:
        return np.searchsorted(self._keys, keys)

    def _count_alive(self) -> None:
        self._living = int(np.count_nonzero(self._alive))
        self._alive_bits = _bits(self._alive)
        self._chosen = None, self._alive_bits
        self._asked = ("", ""), None


def make(factory: str, dimension: int) -> Any:
    """An empty FAISS index over inner products."""
    faiss = load_faiss()
    return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)  # of its own class already


def describe(index: Any) -> str:
    """The parts of a FAISS index in words: equal for two that were built alike."""
    name = type(index).__name__.removeprefix("Index").replace("FlatIP", "Flat")
    if name == "Flat":
        return name
    details = []
    if hasattr(index, "nlist"):
        details.append(f"{index.nlist} lists")
    if hasattr(index, "hnsw"):
        details.append(f"{index.hnsw.nb_neighbors(1)} neighbours")
    storage = load_faiss().downcast_index(index.storage) if hasattr(index, "storage") else index
    details.append(f"{storage.sa_code_size()} bytes a vector")
    return f"{name} ({', '.join(details)})"


def _parameters(index: Any, selector: Any, share: float, nprobe: int | None, ef_search: int | None) -> Any:
    """FAISS's settings of one search. The fewer vectors may be found, the more lists and candidates are looked at."""
    faiss = load_faiss()

    if isinstance(index, faiss.IndexIVF):
        lists = default_nprobe(index.nlist) if nprobe is None else nprobe
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(index.nlist, round(lists / share)))
    if isinstance(index, faiss.IndexHNSW):
        kept = EF_SEARCH if ef_search is None else ef_search
        return faiss.SearchParametersHNSW(sel=selector, efSearch=min(max(index.ntotal, 1), round(kept / share)))
    return faiss.SearchParameters(sel=selector)


def _bits(chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(chosen, bitorder="little")
