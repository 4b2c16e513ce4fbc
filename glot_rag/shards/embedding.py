"""Documents -> chunks with vectors: a function from columns to columns, for any engine that runs Python functions."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from glot_rag.documents.document import Document
from glot_rag.documents.reading import SetAside
from glot_rag.documents.validation import check_document
from glot_rag.errors import InputError
from glot_rag.fingerprint import fingerprint
from glot_rag.index.chunking import Chunker, ChunkOptions, NoiseReport, StoredChunk
from glot_rag.shards.format import Columns

if TYPE_CHECKING:
    from glot_rag.denoise.denoised import Denoised
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.encoder.base import GlotEncoder

GROUP_CHARACTERS, GROUP_DOCUMENTS = 1 << 17, 256  # of documents that are denoised and embedded together
_ENCODED = 256  # chunks at a time
_SPECIAL_TOKENS = 8  # room in the encoder's limit for those around a chunk and for a prompt
_CHUNK_TOKENS = 248

logger = logging.getLogger(__name__)
T = TypeVar("T")
Result = TypeVar("Result")


class Embedded(NamedTuple):
    """What some documents became.

    Attributes:
        columns: their chunks: see `EmbedBatch`.
        set_aside: documents that could not be embedded, with the reason.
        noise: what was dropped.
    """

    columns: Columns
    set_aside: list[SetAside]
    noise: NoiseReport


@dataclass(frozen=True)
class EmbedBatch:
    """Embeds a batch of documents: columns in, columns out. It holds names and numbers only, so it travels well.

    The encoder and the denoiser are loaded once a process, when the first batch comes. The same documents give the same
    rows, whatever else is embedded, up to rounding; the same batch with the same dtype gives the same bytes on the same
    machine.

    Args:
        encoder: directory of a saved or exported encoder, or a name that `GlotEncoder.from_pretrained` takes. One that
            denoises by itself would look for noise twice where there is a denoiser, too.
        denoiser: directory of a saved `Denoiser`, or a name; None keeps all.
        chunk_tokens: tokens a chunk; None is 248, or what the encoder reads if that is less.
        keep_noise: keep chunks that are mostly noise, too.
        dtype: "float32", "float16" or "bfloat16"; None lets each process choose, which machines may do differently.
    """

    encoder: str
    denoiser: str | None = None
    chunk_tokens: int | None = None
    keep_noise: bool = False
    dtype: str | None = None

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> Columns:
        """Embed a batch.

        Args:
            batch: columns `text` and `id`, N values each; `metadata`, if it is there, holds dicts or JSON objects.
                Lists, NumPy arrays and columns of a data frame will do.

        Returns:
            Columns of M chunks, in the order of the documents:

            - id: `document#number`, the same at every run
            - document: the document's id
            - hash: SHA-256 of the document's text, 32 digits
            - text: what is kept of the document there
            - metadata: a JSON object: the document's, and `headings`, `start`, `end`, `kept`
            - start, end: where the chunk stood in the document's text
            - vector: (M, D) float32, rows of norm 1

            A document that cannot be embedded is left out, with a warning in the log that says why.

        Raises:
            InputError: a column is missing, or one is shorter than another.
        """
        documents = [(document.id, document) for document in _documents(batch)]
        parts = [self.embed(group) for group in grouped(documents)]
        for each in (each for part in parts for each in part.set_aside):
            logger.warning("%s is set aside: %s", each.place, each.reason)
        return _joined([part.columns for part in parts], self.dimension)

    def embed(self, documents: Sequence[tuple[str, Document]]) -> Embedded:
        """The same for (file, document), with an account; at best a group of `grouped`."""
        set_aside: list[SetAside] = []
        noise = NoiseReport()
        chunker = self._chunker()

        def fail(document: Document, error: Exception) -> None:
            set_aside.append(SetAside(document.id, f"{type(error).__name__}: {error!s:.500}"))

        def denoise(some: Sequence[tuple[str, Document]]) -> list[Denoised | None]:
            return chunker.denoise([document for _, document in some])

        kept: list[tuple[Document, list[StoredChunk]]] = []
        cleaned = _each(denoise, documents, lambda pair, error: fail(pair[1], error))
        for (file, document), denoised in cleaned:
            try:
                kept.append((document, list(chunker.cut(document, denoised, file, noise))))
            except Exception as error:  # what a document does to a library is not known before
                fail(document, error)

        def encode(some: Sequence[tuple[Document, list[StoredChunk]]]) -> list[Any]:
            texts = [chunk.embedded for _, chunks in some for chunk in chunks]
            parts = [self._encoder.encode_documents(texts[at : at + _ENCODED]) for at in range(0, len(texts), _ENCODED)]
            vectors = np.concatenate([np.empty((0, self.dimension), np.float32), *parts])
            ends = np.cumsum([len(chunks) for _, chunks in some])
            return np.split(vectors, ends[:-1]) if len(ends) else []

        encoded = _each(encode, kept, lambda pair, error: fail(pair[0], error))
        rows = [_columns(document, chunks, vectors) for (document, chunks), vectors in encoded]
        return Embedded(_joined(rows, self.dimension), set_aside, noise)

    @property
    def dimension(self) -> int:
        """D."""
        return self._encoder.dimension

    @property
    def fingerprints(self) -> dict[str, str]:
        """`encoder`, which decides the vectors' space, and `settings`, of all that decides the chunks."""
        settings = {"chunks": asdict(self._options()), "denoiser": self._denoiser_fingerprint()}
        return {"encoder": self._encoder.fingerprint, "settings": fingerprint(settings)[:16]}

    @property
    def _encoder(self) -> GlotEncoder:
        return load_encoder(self.encoder, self.dtype)

    def _denoiser_fingerprint(self) -> str | None:
        return None if self.denoiser is None else load_denoiser(self.denoiser, self.dtype).fingerprint

    def _options(self) -> ChunkOptions:
        most = self._encoder.max_tokens - _SPECIAL_TOKENS
        tokens = min(most, _CHUNK_TOKENS) if self.chunk_tokens is None else self.chunk_tokens
        if not 16 <= tokens <= most:
            raise InputError(f"chunk_tokens must be from 16 to {most}, which the encoder reads; got {tokens}")
        return ChunkOptions(tokens, overlap=min(32, tokens // 8), keep_noise=self.keep_noise)

    def _chunker(self) -> Chunker:
        denoiser = None if self.denoiser is None else load_denoiser(self.denoiser, self.dtype)
        return Chunker(self._encoder.token_spans, self._options(), denoiser)


def grouped(documents: Sequence[tuple[str, Document]]) -> Iterator[list[tuple[str, Document]]]:
    """Documents that are embedded together: some hundreds, or one that is long."""
    group: list[tuple[str, Document]] = []
    size = 0
    for each in documents:
        if group and (len(group) >= GROUP_DOCUMENTS or size + len(each[1].text) > GROUP_CHARACTERS):
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each[1].text)
    if group:
        yield group


def _each(
    work: Callable[[Sequence[T]], Sequence[Result]], items: Sequence[T], fail: Callable[[T, Exception], None]
) -> list[tuple[T, Result]]:
    """What work makes of the items, all at once; if that fails, one by one, so that only the bad ones are left out."""
    if not items:
        return []
    try:
        return list(zip(items, work(items), strict=True))
    except Exception as error:
        if len(items) == 1:
            fail(items[0], error)
            return []
    return [pair for item in items for pair in _each(work, [item], fail)]


def _columns(document: Document, chunks: Sequence[StoredChunk], vectors: Any) -> Columns:
    count = len(chunks)
    digest = hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return {
        "id": [f"{document.id}#{number}" for number in range(count)],
        "document": [document.id] * count,
        "hash": [digest] * count,
        "text": [chunk.text for chunk in chunks],
        "metadata": [json.dumps(chunk.metadata, ensure_ascii=False, separators=(",", ":")) for chunk in chunks],
        "start": [chunk.metadata["start"] for chunk in chunks],
        "end": [chunk.metadata["end"] for chunk in chunks],
        "vector": vectors,
    }


def _joined(parts: Sequence[Columns], dimension: int) -> Columns:
    names = ("id", "document", "hash", "text", "metadata", "start", "end")
    joined: Columns = {name: [value for part in parts for value in part[name]] for name in names}
    joined["vector"] = np.concatenate([np.empty((0, dimension), np.float32), *(part["vector"] for part in parts)])
    return joined


def _documents(batch: Mapping[str, Sequence[Any]]) -> list[Document]:
    missing = {"id", "text"} - set(batch)
    if missing:
        raise InputError(f"a batch needs the columns id and text, got {', '.join(map(str, batch)) or 'none'}")
    ids, texts = list(batch["id"]), list(batch["text"])
    bodies = list(batch["metadata"]) if "metadata" in batch else [None] * len(ids)
    if not len(ids) == len(texts) == len(bodies):
        raise InputError(f"the columns id, text and metadata have {len(ids)}, {len(texts)} and {len(bodies)} values")
    return [
        check_document(Document(text, str(id), json.loads(body) if isinstance(body, str) else body or {}))
        for id, text, body in zip(ids, texts, bodies, strict=True)
    ]


@cache
def load_encoder(path: str, dtype: str | None = None) -> GlotEncoder:
    """An encoder, loaded once a process."""
    from glot_rag.encoder.base import GlotEncoder

    return GlotEncoder.from_pretrained(path, dtype=dtype)


@cache
def load_denoiser(path: str, dtype: str | None = None) -> Denoiser:
    """A denoiser, loaded once a process."""
    from glot_rag.denoise.denoiser import Denoiser

    return Denoiser.from_pretrained(path, dtype=dtype)
