"""Reading documents and vectors out of another library's FAISS store, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from langchain_core.documents import Document
from numpy.typing import ArrayLike

from glot_rag.errors import InputError
from glot_rag.index import Document as IndexDocument
from langchain_glot.denoising import without_facts

BATCH = 1024


class FaissStore(Protocol):
    """What is read of a store; `FAISS` of langchain-community has it."""

    @property
    def index(self) -> Any:
        """The FAISS index."""
        ...

    @property
    def docstore(self) -> Any:
        """Has `search(id)`, which gives a document, or a message if there is none."""
        ...

    @property
    def index_to_docstore_id(self) -> Mapping[int, str]:
        """Position in the index -> id in the docstore."""
        ...


def read_faiss(store: FaissStore) -> Iterator[tuple[list[IndexDocument], ArrayLike]]:
    """Batches of documents and their vectors, by position.

    Raises:
        InputError: The index does not give its vectors back, or the three parts of the store do not fit together.
    """
    ids = _ids_by_position(store)
    if ids:
        _check_gives_back(store.index)
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        yield [_document(store.docstore, id) for id in batch], store.index.reconstruct_n(start, len(batch))


def _check_gives_back(index: Any) -> None:
    # One vector first: reconstruct_n of an index that cannot do it ends the process, as FAISS throws in an OpenMP loop.
    try:
        index.reconstruct(0)
    except RuntimeError as error:
        raise InputError(
            f"the FAISS index, {type(index).__name__}, does not give its vectors back ({error}); for an IVF index call "
            "make_direct_map() first, for others add the documents to a new store"
        ) from error


def _ids_by_position(store: FaissStore) -> list[str]:
    # A failed addition leaves vectors without an id behind, and later ids are counted from there: whose vector is
    # whose is then not known for any of them.
    ids, vectors = store.index_to_docstore_id, store.index.ntotal
    if sorted(ids) != list(range(vectors)):
        raise InputError(
            f"the FAISS index holds {vectors} vectors and index_to_docstore_id {len(ids)} ids, which are not for the "
            "same positions, so it is not known whose vectors they are; add the documents to a new store instead"
        )
    return [ids[position] for position in range(vectors)]


def _document(docstore: Any, id: str) -> IndexDocument:
    document = docstore.search(id)
    if not isinstance(document, Document):
        raise InputError(f"the docstore has no document {id!r}: {document}")
    return IndexDocument(document.page_content, id, without_facts(document.metadata))
