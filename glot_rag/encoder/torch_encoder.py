"""TorchEncoder: texts -> hidden states of a frozen backbone -> pooling -> unit vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.denoised import Denoised
from glot_rag.denoise.denoiser import Denoiser, rows_of
from glot_rag.denoise.fitting import fit_head
from glot_rag.denoise.torch_denoiser import TorchDenoiser, fits_words
from glot_rag.embedder import Vectors
from glot_rag.encoder.base import GlotEncoder
from glot_rag.encoder.encoding import pool_texts
from glot_rag.encoder.evidence import Evidence
from glot_rag.encoder.explaining import ReadWindow, explain
from glot_rag.encoder.late_chunking import pool_chunks
from glot_rag.encoder.reading import encode_left, is_read_as_query
from glot_rag.encoder.storage import Poolings, denoiser_for, load_parts, load_poolings, save_encoder
from glot_rag.encoder.torch_evidence import read_window
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.fingerprint import fingerprint
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, Pooling
from glot_rag.head.registry import find_head, freeze, pooling_fingerprint
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import Tokenizer, check_groups, check_texts

# (backbone's fingerprint, head's, number of documents) -> the fitted head
FittedHeads = dict[tuple[str, str, int], GlotHead | AdaPool]


class TorchEncoder(GlotEncoder):
    """Embeds texts with a frozen backbone and a pooling. Nothing that decides a vector can be changed afterwards.

    Args:
        backbone: the frozen transformer.
        pooling: for documents. A frozen copy is made: the head itself may go on being trained.
        query_pooling: for queries; None takes the documents' pooling. A head in residual form stays in the space of
            mean pooling, so queries, which carry no noise, are mean-pooled there (`from_pretrained` sees to it).
        query_prompt: put before every query, for backbones trained with one ("query: ").
        document_prompt: put before every document.
        denoiser: drops the noise from every document, looking at all of it, however long. What is left is encoded in
            windows, none of it is cut (`reads_as_query`). None encodes documents as they are.
        classifier: the pooling's noise classifier, which `fit` needs.
        whole: documents come denoised, and are read as with a denoiser; False cuts what is beyond `max_tokens`.

    Raises:
        BundleError: the pooling was made for states of another width, or reads layers that the backbone lacks.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: Pooling,
        *,
        query_pooling: Pooling | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        denoiser: Denoiser | None = None,
        classifier: NoiseClassifier | None = None,
        whole: bool = False,
    ) -> None:
        self._backbone = backbone
        self._pooling = freeze(pooling, backbone)
        own = query_pooling is None or query_pooling is pooling
        self._query_pooling = self._pooling if own or query_pooling is None else freeze(query_pooling, backbone)
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        self._denoiser = denoiser
        self._classifier = classifier
        self._whole = whole or denoiser is not None
        if self._query_pooling.output_size != self._pooling.output_size:
            raise BundleError(
                f"documents get vectors of length {self._pooling.output_size}, "
                f"queries of {self._query_pooling.output_size}"
            )

    # ---- other encoders over the same backbone

    def with_pooling(
        self,
        pooling: str,
        head: str | os.PathLike[str] | None = None,
        *,
        denoise: bool | Denoiser | None = None,
    ) -> TorchEncoder:
        """The same backbone, not loaded again, with another pooling.

        Args:
            pooling: as in `from_pretrained`. This encoder's own pooling keeps its head, fitted or not.
            head: directory of a trained head; None takes this encoder's own for its own pooling, else the shipped one.
            denoise: as in `from_pretrained`; None is this encoder's choice for its own pooling, else no.
        """
        own = head is None and pooling == self._pooling.name
        if own:
            block_head = self._denoiser.block_head if isinstance(self._denoiser, TorchDenoiser) else None
            poolings = Poolings(self._pooling, self._query_pooling, self._classifier, block_head=block_head)
        else:
            path = find_head(self._backbone.source.name, pooling, head)
            cut = self.dimension if path is None and isinstance(self._pooling, BaselinePooling) else None
            poolings = load_poolings(pooling, path, self._backbone, cut)
        if denoise is None:
            denoise = self._denoiser if own and self._denoiser is not None else False
        return self._with(poolings, denoiser_for(denoise, self._backbone, poolings))

    def fit(
        self,
        documents: Sequence[str],
        groups: Sequence[str] | None = None,
        *,
        show_progress: bool = False,
        heads: FittedHeads | None = None,
    ) -> TorchEncoder:
        """See `GlotEncoder.fit`. `heads` holds heads that were fitted to these documents already, and gets new ones."""
        if "fit" not in self.capabilities:
            raise self._unsupported("fit", "fit")
        done: FittedHeads = {} if heads is None else heads

        def fitted(
            backbone: Backbone,
            head: GlotHead | AdaPool,
            classifier: NoiseClassifier,
            texts: Sequence[str],
            names: Sequence[str] | None,
        ) -> GlotHead | AdaPool:
            # A denoiser fits its word head to the texts without lines, which may be fewer.
            key = backbone.fingerprint, pooling_fingerprint(head), len(texts)
            if key not in done:
                done[key] = fit_head(backbone, head, classifier, texts, names, show_progress=show_progress)
            return done[key]

        documents, groups = check_texts(documents), check_groups(groups, len(documents))
        pooling, denoiser = self._pooling, self._denoiser
        if self._classifier is not None and isinstance(pooling, (GlotHead, AdaPool)):
            # Of texts with lines it takes what does not recur for signal, which harms; it does not read them either.
            flat = denoiser.flat(documents) if denoiser else list(range(len(documents)))
            if fits_words(len(flat), len(documents) - len(flat)):
                pooling = fitted(self._backbone, pooling, self._classifier, *rows_of(documents, groups, flat))
        if isinstance(denoiser, TorchDenoiser) and denoiser.can_be_fitted:
            denoiser = denoiser.fit_with(partial(fitted, denoiser.backbone), documents, groups)
        elif denoiser is not None and denoiser.can_be_fitted:
            denoiser = denoiser.fit(documents, groups, show_progress=show_progress)
        queries = pooling if self._query_pooling is self._pooling else self._query_pooling
        return self._with(Poolings(pooling, queries, self._classifier), denoiser)

    def without_denoiser(self) -> TorchEncoder:
        """See `GlotEncoder.without_denoiser`."""
        if self._denoiser is None:
            return self
        return TorchEncoder(
            self._backbone,
            self._query_pooling if self._denoiser.drops_words else self._pooling,
            query_pooling=self._query_pooling,
            query_prompt=self._query_prompt,
            document_prompt=self._document_prompt,
            classifier=self._classifier,
            whole=True,
        )

    def _with(self, poolings: Poolings, denoiser: Denoiser | None) -> TorchEncoder:
        return TorchEncoder(
            self._backbone,
            poolings.documents,
            query_pooling=poolings.queries,
            query_prompt=self._query_prompt,
            document_prompt=self._document_prompt,
            denoiser=denoiser,
            classifier=poolings.classifier,
            whole=self._whole and self._denoiser is None,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `encoder.json`, and `head/` for a trained pooling. See `glot_rag.encoder.storage`.

        Raises:
            InputError: the directory holds something else, or queries have a trained pooling of their own.
        """
        save_encoder(self, path)

    # ---- what it is

    @property
    def backend(self) -> str:
        """What runs the model."""
        return "torch"

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do beside encoding."""
        trained = isinstance(self._pooling, (GlotHead, AdaPool))
        found = {"chunks", "explain"}
        if trained or self._denoiser is not None:
            found.add("denoise")
        if (trained and self._classifier is not None) or (self._denoiser and self._denoiser.can_be_fitted):
            found.add("fit")
        return frozenset(found)

    @property
    def backbone(self) -> Backbone:
        """The frozen transformer."""
        return self._backbone

    @property
    def pooling(self) -> Pooling:
        """What pools documents."""
        return self._pooling

    @property
    def query_pooling(self) -> Pooling:
        """What pools queries."""
        return self._query_pooling

    def reads_as_query(self, text: str) -> bool:
        """Whether the queries' pooling reads what is left of a document: see `is_read_as_query`."""
        words_dropped = self._denoiser is not None and self._denoiser.drops_words
        return is_read_as_query(text, whole=self._whole, words_dropped=words_dropped)

    @property
    def query_prompt(self) -> str:
        """Put before every query."""
        return self._query_prompt

    @property
    def document_prompt(self) -> str:
        """Put before every document."""
        return self._document_prompt

    @property
    def denoiser(self) -> Denoiser | None:
        """What cleans documents before they are encoded; None for an encoder that takes them as they are."""
        return self._denoiser

    @property
    def whole(self) -> bool:
        """Whether a document of any length is one vector, none of it cut."""
        return self._whole

    @property
    def classifier(self) -> NoiseClassifier | None:
        """The pooling's noise classifier."""
        return self._classifier

    @property
    def fitted(self) -> bool:
        """Whether the pooling or the denoiser knows what recurs in a corpus."""
        adjusted = isinstance(self._pooling, (GlotHead, AdaPool)) and self._pooling.adjustment is not None
        return adjusted or (self._denoiser is not None and self._denoiser.fitted)

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        return self._pooling.output_size

    @property
    def embeds_alike(self) -> bool:
        """Whether a text has the same vector as a query and as a document."""
        same_pooling = self._query_pooling is self._pooling and self._denoiser is None
        return same_pooling and self._query_prompt == self._document_prompt

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut."""
        return self._backbone.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The backbone's tokeniser."""
        return self._backbone.tokenizer

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """(first character, end) of each token of a text of any length: see `GlotEncoder.token_spans`."""
        return self._backbone.tokenizer.spans(text)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides a vector, but for the dtype: see `GlotEncoder.fingerprint`."""
        pooling, queries = pooling_fingerprint(self._pooling), pooling_fingerprint(self._query_pooling)
        return fingerprint(
            {
                "backbone": self._backbone.fingerprint,
                "max_tokens": self.max_tokens,
                "pooling": pooling,
                "query_pooling": None if queries == pooling else queries,
                "query_prompt": self._query_prompt or None,
                "document_prompt": self._document_prompt or None,
                "denoiser": None if self._denoiser is None else self._denoiser.fingerprint,
                "whole": True if self._whole and self._denoiser is None else None,
                "reads": "lines as a query" if self._whole else None,
            }
        )

    def __repr__(self) -> str:
        return (
            f"TorchEncoder({self._backbone.source.name!r}, pooling={self._pooling.name!r}, "
            f"{'fitted, ' * self.fitted}{'denoises, ' * (self._denoiser is not None)}dimension={self.dimension}, "
            f"dtype={str(self._backbone.dtype).removeprefix('torch.')}, device={str(self._backbone.device)!r})"
        )

    # ---- using it

    def encode_documents(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """N texts -> (N, D) float32 with rows of norm 1: see `GlotEncoder.encode_documents`."""

        def encode(left: list[str], as_query: bool) -> Vectors:
            return pool_texts(
                self._backbone,
                {"": self._query_pooling if as_query else self._pooling},
                left,
                whole=self._whole,
                prompt=self._document_prompt,
                show_progress=show_progress,
                batch_tokens=batch_tokens,
            )[""]

        return encode_left(
            self._denoiser,
            texts,
            self.reads_as_query,
            encode,
            show_progress=show_progress,
            batch_tokens=batch_tokens,
        )

    def encode_queries(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """As `encode_documents`, with the query's prompt and pooling."""
        return pool_texts(
            self._backbone,
            {"": self._query_pooling},
            texts,
            prompt=self._query_prompt,
            show_progress=show_progress,
            batch_tokens=batch_tokens,
        )[""]

    def encode_chunks(self, text: str, spans: Sequence[tuple[int, int]], *, batch_tokens: int | None = None) -> Vectors:
        """Late chunking: see `GlotEncoder.encode_chunks`."""
        (clean,) = check_texts([text])
        if len(clean) != len(text):
            raise InputError("the text has surrogate pairs, so characters cannot be counted: join them before")
        return pool_chunks(
            self._backbone, self._pooling, clean, spans, prompt=self._document_prompt, batch_tokens=batch_tokens
        )

    def denoise(self, texts: Sequence[str], groups: Sequence[str] | None = None) -> list[Denoised]:
        """Documents without noise, by the encoder's denoiser or else its own head: see `Denoiser.denoise`."""
        denoiser = self._denoiser
        if isinstance(self._pooling, (GlotHead, AdaPool)):
            # The pooling's head drops words here: inside the backbone nobody would see it.
            if denoiser is None:
                denoiser = TorchDenoiser(self._backbone, self._pooling, self._classifier)
            elif isinstance(denoiser, TorchDenoiser) and denoiser.head is None:
                denoiser = denoiser.with_words(self._pooling, self._classifier)
        if denoiser is None:
            raise self._unsupported("denoise", "denoise")
        return denoiser.denoise(texts, groups)

    def explain(self, text: str, query: str | None = None) -> Evidence:
        """What the document vector of a text is made of: see `GlotEncoder.explain`."""

        def read(left: str) -> Callable[[Sequence[int]], ReadWindow]:
            reading = self._query_pooling if self.reads_as_query(left) else self._pooling
            return partial(read_window, self._backbone, self._pooling, reading)

        return explain(self, read, text, query)


def as_torch(encoder: GlotEncoder) -> TorchEncoder:
    """The encoder, if it runs through torch, for callers that need its backbone and poolings.

    Raises:
        UnsupportedError: it runs otherwise.
    """
    if not isinstance(encoder, TorchEncoder):
        raise UnsupportedError(f"this needs an encoder that runs through torch, got {encoder!r}: load it with torch")
    return encoder


def load(name_or_path: str | os.PathLike[str], backend: str, **settings: object) -> TorchEncoder:
    """Load an encoder for `GlotEncoder.from_pretrained`, whose arguments and errors these are."""
    parts = load_parts(name_or_path, **settings)  # type: ignore[arg-type]
    return TorchEncoder(
        parts.backbone,
        parts.poolings.documents,
        query_pooling=parts.poolings.queries,
        query_prompt=parts.query_prompt,
        document_prompt=parts.document_prompt,
        denoiser=parts.denoiser,
        classifier=parts.poolings.classifier,
    )
