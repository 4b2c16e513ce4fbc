"""One batch of documents into the store: checked, encoded where need be, committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError
from glot_rag.index.rows import Row
from glot_rag.index.store import Store
from glot_rag.index.validation import check_document, unit_vectors

Encode = Callable[[list[str]], ArrayLike]


def ingest(store: Store, documents: Sequence[object], encode: Encode, given: ArrayLike | None) -> tuple[list[str], int]:
    """Add or replace documents by id, in one commit. The caller holds the writer's lock.

    Args:
        store: Where to.
        documents: N of them; of several with one id the last one is stored.
        encode: M texts -> (M, D), called once at most, for the texts that are new or changed.
        given: (N, D) vectors to store instead, or None.

    Returns:
        The N ids, and the number of stored documents that changed.

    Raises:
        InputError: Something that cannot be stored; nothing was.
    """
    dimension = store.manifest.dimension
    checked = [check_document(document) for document in documents]
    ids = [id for id, _, _ in checked]
    vectors = None if given is None else unit_vectors(given, dimension, ids)
    last = {id: number for number, id in enumerate(ids)}
    keys: dict[str, int] = {}
    intact: dict[str, tuple[Row, bytes]] = {}
    # Nobody else writes, so what is read here still holds at the commit: encoding takes no time of a transaction's.
    with store.snapshot() as snapshot:
        for id, columns in snapshot.raw_by_id(list(last)).items():
            keys[id] = columns[0]
            try:
                intact[id] = snapshot.decode(columns)
            except IndexCorruptedError:
                continue  # replacing a damaged document is how it is repaired
    if vectors is None:
        fresh = {id: checked[n][1] for id, n in last.items() if id not in intact or intact[id][0].text != checked[n][1]}
        encoded = _encode(fresh, encode, dimension)
        wanted = {id: encoded[id] if id in encoded else intact[id][1] for id in last}
    else:
        wanted = {id: vectors[n].tobytes() for id, n in last.items()}
    with store.transaction() as transaction:
        for id, vector in wanted.items():
            _, text, metadata = checked[last[id]]
            old, old_vector = intact.get(id, (None, None))
            if old is None or (old.text, old_vector) != (text, vector):
                if id in keys:
                    transaction.remove(keys[id])
                transaction.insert(id, text, metadata, vector)
            elif old.metadata != metadata:
                transaction.update_metadata(old, metadata)
    return ids, transaction.changes


def _encode(texts: dict[str, str], encode: Encode, dimension: int) -> dict[str, bytes]:
    if not texts:
        return {}
    vectors: Vectors = unit_vectors(encode(list(texts.values())), dimension, list(texts))
    return {id: vector.tobytes() for id, vector in zip(texts, vectors, strict=True)}
