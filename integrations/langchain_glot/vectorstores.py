"""`GlotVectorStore`: LangChain's `VectorStore` interface over a `GlotIndex`."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor

from glot_rag.embedder import Embedder
from glot_rag.errors import IndexNotFoundError, InputError
from glot_rag.index import GlotIndex
from glot_rag.index.validation import check_count
from langchain_glot.adapter import encoder_of
from langchain_glot.denoising import Denoise, StoreDenoiser
from langchain_glot.documents import possible, to_store
from langchain_glot.faiss_store import FaissStore, read_faiss
from langchain_glot.search import SearchesIndex, refuse_unknown

if TYPE_CHECKING:
    from typing_extensions import Self

    from glot_rag import Denoiser

BATCH = 1024  # documents a commit


class GlotVectorStore(SearchesIndex):
    """Documents and vectors in a `GlotIndex`: kept on disk, with deletion and with filters applied before the search.

    All methods may be called from many threads; the async ones run in a thread. A search takes `filter=`, a dict like
    `{"lang": "en", "year": {"$gte": 2023}}`, with `$or`, `$not` and more (see
    `glot_rag.index.filters.compile_filter`). Scores are cosines, higher is nearer; relevance scores, which a
    retriever's `score_threshold` is compared with, are (1 + cosine) / 2. An argument that a method
    does not know is refused: a misspelt filter must not pass for none.

    Args:
        embedding: Makes the vectors.
        path: Directory of an index, opened if there is one and else made; one process at a time may have it, and
            any number `read_only`. None: a temporary directory, removed by `close` or when the store is garbage.
        fingerprint: For other embeddings than `GlotEmbeddings`: a name that changes whenever their vectors do. An
            index that was made under another one is refused. None: their class and model name, as far as they tell.
        read_only: Only search the index at `path`, which has to exist, also while another process writes to it; each
            search sees the last commit. What writes raises an `IndexReadOnlyError`.

    Raises:
        InputError: `embedding` is no `Embeddings`, `fingerprint` is given for `GlotEmbeddings`, which have one, or
            `read_only` without a `path`.
        IndexNotFoundError: `read_only`, and there is no index at `path`.
        FingerprintMismatchError: Other embeddings made the index at `path`.
        IndexLockedError: Another process has it open.
        IndexExistsError: There is something else at `path`.
        IndexCorruptedError: The index is damaged.

    Example:
        >>> from langchain_glot import GlotEmbeddings, GlotVectorStore
        >>> store = GlotVectorStore(GlotEmbeddings(), "my-index")  # doctest: +SKIP
        >>> store.add_texts(["Passports are renewed at the town hall."])  # doctest: +SKIP
        >>> store.similarity_search("where do I renew my passport?", k=1)  # doctest: +SKIP
    """

    def __init__(
        self,
        embedding: Embeddings,
        path: str | os.PathLike[str] | None = None,
        *,
        fingerprint: str | None = None,
        read_only: bool = False,
    ) -> None:
        if read_only and path is None:
            raise InputError("read_only needs the path of an index that exists")
        self._embedding = embedding
        self._encoder = encoder_of(embedding, fingerprint)
        temporary = None
        if path is None:
            path = temporary = tempfile.mkdtemp(prefix="glot-rag-")
        try:
            self._index = _open_or_create(path, self._encoder, read_only)
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._denoiser = StoreDenoiser(self._index)
        self._end = weakref.finalize(self, _release, self._index, temporary, os.getpid())

    def __getstate__(self) -> object:
        """Refused: one process at a time may have an index, and it is closed with the object that opened it."""
        raise InputError(
            "a GlotVectorStore cannot be copied or pickled; open its path again, with read_only=True beside this one"
        )

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | os.PathLike[str] | None = None,
        fingerprint: str | None = None,
        denoise: Denoise = None,
        **kwargs: Any,
    ) -> Self:
        """Make a store (see the class) and add texts to it (see `add_texts`); `from_documents` takes the same.

        A new store of 50 documents or more fits a `Denoiser` to them: what recurs from one to the next, such as the
        menu of their site, is left out of the vectors. The texts stay as they were given, and each hit's metadata say
        under `glot_denoised` which part of it the vector is made of; a search with `clean=True` gives only that. The
        denoiser is kept in the index's directory, and whatever is added later goes through it. A document's group is
        its sender, the host of its URL or its folder, as its metadata have it.

        Args:
            texts: N of them.
            embedding: As for the class.
            metadatas: N of them, or None.
            ids: N of them; None for one to be generated.
            path: As for the class. An index that has documents already stays as it is: with its denoiser, or without.
            fingerprint: As for the class.
            denoise: False embeds texts as they are. True drops noise from fewer than 50 as well, by a denoiser that is
                not fitted. A `Denoiser` or `GlotDenoiser` is used as it is. None fits one to 50 texts or more, unless
                they have come through a `GlotDenoiser`, `GlotEmbeddings(denoise=False)` embed them, or torch is not
                installed, which is logged.
            kwargs: None are known.

        Raises:
            InputError: As `add_texts`, or `denoise` for an index that was filled without a denoiser or has one.
            MissingExtraError, ModelNotFoundError: `denoise=True` without torch, or without the model.
        """
        refuse_unknown(kwargs)
        documents = list(to_store(texts, metadatas, ids))
        store = cls(embedding, path, fingerprint=fingerprint)
        try:
            store._denoiser.choose(denoise, embedding, documents)
            store._denoiser.add(iter(documents), BATCH)
        except BaseException:
            store.close()  # its caller will never get it, and an exception can keep it from being garbage
            raise
        return store

    @classmethod
    def from_faiss(
        cls,
        store: FaissStore,
        embedding: Embeddings,
        path: str | os.PathLike[str] | None = None,
        *,
        fingerprint: str | None = None,
    ) -> Self:
        """Take over the documents, ids and vectors of a FAISS store that is in memory; nothing is embedded again.

        Vectors are scaled to norm 1 and compared by their cosine. Where the FAISS index compared vectors of other norms
        by L2 distance or inner product, the order of results can change. A compressed index (PQ, SQ, LSH) gives only
        approximations of the vectors that went in.

        Args:
            store: `FAISS` of langchain-community, or another object with its `index`, `docstore` and
                `index_to_docstore_id`. Its pickle is never read.
            embedding: The one that made the vectors. This cannot be checked beyond their length.
            path: As for the class; an index that is there already gets the documents added.
            fingerprint: As for the class.

        Raises:
            InputError: The index does not give its vectors back, they have another length than the embeddings', or
                the three parts do not fit together. Batches before the one with the error may have been added.
        """
        made = cls(embedding, path, fingerprint=fingerprint)
        try:
            for documents, vectors in read_faiss(store):
                made._index.add_vectors(documents, vectors)
        except BaseException:
            made.close()
            raise
        return made

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings that were given."""
        return self._embedding

    @property
    def index(self) -> GlotIndex:
        """The index, for `verify`, `stats` and the rest of what it does."""
        return self._index

    @property
    def denoiser(self) -> Denoiser | None:
        """What added documents go through before they are embedded; None where they are embedded as they are.

        Raises:
            MissingExtraError: There is one, and torch is not installed.
            BundleError: Its files are damaged.
        """
        return self._denoiser.denoiser

    # -- writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = BATCH,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts; one whose id is there already replaces the old one, and is embedded only if the text changed.

        Args:
            texts: N of them.
            metadatas: N of them: JSON objects, or None.
            ids: N of them; None for one to be generated.
            batch_size: Texts embedded and committed together.
            kwargs: None are known.

        Returns:
            The N ids.

        Raises:
            InputError: A text, metadata or an id that cannot be stored, or not as many of them as texts. Nothing of
                its batch was stored.
        """
        refuse_unknown(kwargs)
        return self._denoiser.add(to_store(texts, metadatas, ids), check_count(batch_size, "batch_size"))

    def add_documents(
        self,
        documents: Sequence[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = BATCH,
        **kwargs: Any,
    ) -> list[str]:
        """As `add_texts`, for documents, which are not changed.

        Args:
            documents: N of them. The id of each is its own; without one it is generated.
            ids: N ids instead of the documents' own; None for one to be generated.
            batch_size: Documents embedded and committed together.
            kwargs: None are known.

        Returns:
            The N ids.

        Raises:
            InputError: As `add_texts`.
        """
        return self.add_texts(
            [document.page_content for document in documents],
            [document.metadata for document in documents],
            ids=[document.id for document in documents] if ids is None else ids,
            batch_size=batch_size,
            **kwargs,
        )

    def delete(self, ids: Sequence[str] | None = None, *, filter: dict[str, Any] | None = None, **kwargs: Any) -> bool:
        """Delete documents by id, or all that match a filter, in one commit.

        Args:
            ids: Ids that do not exist mean nothing. Neither ids nor a filter: all documents, as LangChain has it.
            filter: Instead of `ids`, e.g. `{"source": "manual.pdf"}`; see `GlotIndex.delete`.
            kwargs: None are known.

        Returns:
            True.

        Raises:
            InputError: A str in place of a list, ids and a filter together, an empty filter, or an unknown argument;
                nothing was deleted.
        """
        refuse_unknown(kwargs)
        if filter is not None:
            self._index.delete(None if ids is None else possible(ids), filter=filter)
        else:
            self._index.delete(self._index.ids() if ids is None else possible(ids))
        return True

    async def adelete(
        self, ids: Sequence[str] | None = None, *, filter: dict[str, Any] | None = None, **kwargs: Any
    ) -> bool:
        """`delete` in a thread. Older `langchain_core.indexing.aindex` only takes stores with a method of their own."""
        return await run_in_executor(None, self.delete, ids, filter=filter, **kwargs)

    # -- end

    def close(self) -> None:
        """Close the index, and remove it if it has no path. Safe to call twice.

        Warns:
            IndexRecoveryWarning: As `GlotIndex.close`.
        """
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_or_create(path: str | os.PathLike[str], encoder: Embedder, read_only: bool) -> GlotIndex:
    try:
        return GlotIndex.open(path, encoder, read_only=read_only)
    except IndexNotFoundError:
        if read_only:
            raise
        return GlotIndex.create(path, encoder)


def _release(index: GlotIndex, temporary: str | None, process: int) -> None:
    if os.getpid() != process:
        return  # after a fork, the index and its directory are still the parent's
    try:
        index.close()
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
