"""Adding one batch of documents to the store: checked, encoded where needed, committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from glot_rag.documents.validation import stored_form
from glot_rag.errors import IndexCorruptedError
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.store.schema import Row
from glot_rag.index.store.store import Store
from glot_rag.index.validation import unit_vectors

Encode = Callable[[list[str]], ArrayLike]


def add_documents(
    store: Store, documents: Sequence[object], encode: Encode, given: ArrayLike | None
) -> tuple[list[str], int]:
    """Check, encode and store one batch of documents, in one commit. The caller holds the writer's lock.

    Args:
        store: Where they go.
        documents: N of them; of several with one id the last one is stored.
        encode: M texts -> (M, D), called at most once, for the texts that are new or changed.
        given: (N, D) vectors to store instead of encoding, or None.

    Returns:
        The N ids, and the number of stored documents that changed.

    Raises:
        InputError: Something cannot be stored; nothing was.
    """
    dimension = store.manifest.dimension
    checked = [stored_form(document) for document in documents]
    ids = [id for id, _, _ in checked]
    vectors = None if given is None else unit_vectors(given, dimension, ids)
    last = {id: number for number, id in enumerate(ids)}
    keys: dict[str, int] = {}
    intact: dict[str, tuple[Row, bytes]] = {}
    # Nobody else writes, so what is read here is still true at the commit. Encoding happens outside of a transaction.
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
    changed = {id for id, n in last.items() if id not in intact or intact[id][0].text != checked[n][1]}
    changed |= {id for id, vector in wanted.items() if id in intact and intact[id][1] != vector}
    words = analyzer(store.manifest.language)
    counts = {id: words.document(checked[last[id]][1]) for id in changed}
    with store.transaction() as transaction:
        for id, vector in wanted.items():
            _, text, metadata = checked[last[id]]
            if id in changed:
                if id in keys:
                    transaction.remove(keys[id])
                transaction.insert(id, text, metadata, vector, counts[id])
            elif intact[id][0].metadata != metadata:
                transaction.update_metadata(intact[id][0], metadata)
    return ids, transaction.changes


def _encode(texts: dict[str, str], encode: Encode, dimension: int) -> dict[str, bytes]:
    if not texts:
        return {}
    vectors = unit_vectors(encode(list(texts.values())), dimension, list(texts))
    return {id: vector.tobytes() for id, vector in zip(texts, vectors, strict=True)}
