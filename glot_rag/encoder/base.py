"""GlotEncoder: texts in, unit vectors out, whatever runs the model. Importing this needs no torch."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glot_rag.embedder import Vectors
from glot_rag.encoder.loading import load_encoder
from glot_rag.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from glot_rag.denoise.denoised import Denoised
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.encoder.evidence import Evidence
    from glot_rag.models.tokenizer import Tokenizer

CAPABILITIES = ("chunks", "denoise", "explain", "fit")


class GlotEncoder(ABC):
    """Embeds documents and queries. An `Embedder`; calls are safe between threads. Make one with `from_pretrained`.

    Attributes:
        backend: what runs the model: "torch", "onnx" or "openvino".
        capabilities: what it can do beside encoding: "chunks" (`encode_chunks`), "denoise", "explain" and "fit". Any
            other of these methods raises UnsupportedError.
    """

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = "minilm",
        *,
        backend: str | None = None,
        pooling: str | None = None,
        head: str | os.PathLike[str] | None = None,
        denoise: bool | Denoiser | None = None,
        device: str | None = None,
        dtype: str | None = None,
        max_tokens: int | None = None,
        dimensions: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> Self:
        """Load an encoder.

        Args:
            name_or_path: "minilm" (all-MiniLM-L6-v2 and its shipped head), "mpnet", "e5", "smollm2", a hub id, a
                backbone's directory or .gguf file; a directory that `save` wrote; or an exported bundle
                (`glot-rag export`).
            backend: "torch", "onnx" or "openvino". None is torch, for an exported bundle ONNX Runtime. A bundle needs
                no torch and has the settings below built in, but for OpenVINO's dtype. Anything else is exported for
                "onnx" and "openvino" into the cache folder (`GLOT_RAG_CACHE`), which takes a minute or two and the
                extra `export`; from then on it loads from there, without torch.
            pooling: "glot", "adapool", "mean", "max", "cls" or "last". None is "glot" where a head ships for the
                backbone or `head` is given. For other backbones it is the one that the model's sentence-transformers
                files name: the vectors are those of `SentenceTransformer`, scaled to norm 1, and a warning says so.
            head: directory of a trained head (`glot-rag train --out`); None takes the one shipped for the backbone.
            denoise: None drops noisy lines and sentences from documents that have lines, where the head says so (the
                shipped one for minilm), or does as the saved encoder did if its pooling is not replaced. True drops
                single words, too, from texts without lines: with the encoder's own head, or the shipped one where the
                pooling has none. A `Denoiser` does it in its own way. False encodes documents as they are.
            device: "cpu", "cuda", …; None chooses.
            dtype: "float32", "float16", "bfloat16"; for OpenVINO "float32" or "bfloat16". None is bfloat16 where the
                hardware multiplies faster in it. The layers by which tokens are dropped run in float32 either way.
            max_tokens: longest input in tokens; None is the saved encoder's, or the model's own limit.
            dimensions: how many of a vector's first numbers are kept, before it is scaled to norm 1: for a pooling
                without parameters over a model that was trained for it (Matryoshka). None is the saved encoder's, or
                what the model's files say, or all.
            query_prompt: put before every query ("query: "); None is the saved encoder's, or what the model's files
                say, or none.
            document_prompt: the same for every document.

        Raises:
            ModelNotFoundError: no such backbone, or no trained head for it.
            BundleError: damaged or unfitting files, or no bundle where one is asked for.
            MissingExtraError: what runs the encoder is not installed.
            InputError: an argument that cannot be used, or a setting that a bundle has built in.
            UnsupportedError: a pooling without parameters, for a model whose vectors take more (a Dense layer).
        """
        encoder = load_encoder(
            name_or_path,
            backend,
            pooling=pooling,
            head=head,
            denoise=denoise,
            device=device,
            dtype=dtype,
            max_tokens=max_tokens,
            dimensions=dimensions,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
        )
        if not isinstance(encoder, cls):
            raise InputError(
                f"{os.fspath(name_or_path)!r} makes a {type(encoder).__name__} (backend {encoder.backend!r}), not a "
                f"{cls.__name__}: use GlotEncoder.from_pretrained, which loads either"
            )
        return encoder

    @property
    @abstractmethod
    def backend(self) -> str:
        """What runs the model: "torch", "onnx" or "openvino"."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """What it can do beside encoding: of "chunks", "denoise", "explain" and "fit"."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """D, the length of every vector."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of everything that decides a vector: backbone, poolings, prompts, truncation, denoising; not the dtype.

        Encoders of one fingerprint give the same vectors and can share an index, whatever runs them.
        """

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut."""

    @property
    @abstractmethod
    def embeds_alike(self) -> bool:
        """Whether a text has the same vector as a query and as a document."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The tokeniser, cut to `max_tokens`."""

    @abstractmethod
    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text stands: to cut chunks by their number of tokens.

        Args:
            text: of any length.

        Returns:
            (first character, end) of each token, in order; special tokens are left out.
        """

    @abstractmethod
    def encode_documents(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """Embed documents.

        Args:
            texts: N strings. An empty or all-white text has the vector of the special tokens around it. An encoder that
                denoises reads all of what it keeps, in windows, whose vectors are averaged by their tokens; another one
                cuts what a text has beyond `max_tokens`.
            show_progress: draw a progress bar on stderr.
            batch_tokens: tokens a batch may hold, padding included; None chooses.

        Returns:
            (N, D) float32, every row of norm 1; (0, D) for an empty list. A text's row does not depend on what else is
            in the list (to float32 rounding; in bfloat16 the least cosine measured is 0.9997).

        Raises:
            InputError: not a list of strings, or batch_tokens below 1.
        """

    @abstractmethod
    def encode_queries(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """Embed queries: with the query's prompt and pooling, and never denoised.

        Args:
            texts: N strings. What one has beyond `max_tokens` is cut.
            show_progress: draw a progress bar on stderr.
            batch_tokens: tokens a batch may hold, padding included; None chooses.

        Returns:
            (N, D) float32, every row of norm 1: `queries @ documents.T` are cosines.

        Raises:
            InputError: not a list of strings, or batch_tokens below 1.
        """

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder into a directory, for `from_pretrained`.

        Raises:
            InputError: the directory holds something else.
        """

    def encode_chunks(self, text: str, spans: Sequence[tuple[int, int]], *, batch_tokens: int | None = None) -> Vectors:
        """Embed the chunks of one document, each with the text around it in sight (late chunking).

        The backbone runs once over the document, of any length, and each chunk is pooled over its own tokens. One chunk
        over the whole text is one vector for a document of which nothing is cut. The document is not denoised first:
        spans are those of the text that is given.

        Args:
            text: the document.
            spans: N chunks as (first character, end), of any splitter.
            batch_tokens: tokens a batch may hold, padding included; None chooses.

        Returns:
            (N, D) float32, every row of norm 1, to search with `encode_queries`.

        Raises:
            InputError: a span outside the text or without a token, or the text is no string.
            UnsupportedError: "chunks" is not among the capabilities.
        """
        raise self._unsupported("chunks", "encode_chunks")

    def denoise(self, texts: Sequence[str], groups: Sequence[str] | None = None) -> list[Denoised]:
        """Documents without what looks like noise, as the encoder reads them: for a language model's prompt, say.

        Args:
            texts: N strings.
            groups: the name of each document's group (site, folder, sender), as for `fit`; None for none.

        Returns:
            N results: the clean text, where it stood in the document, which share of the words was kept, and every
            block with the probability that it is noise.

        Raises:
            InputError: not a list of strings, or another number of groups.
            UnsupportedError: "denoise" is not among the capabilities.
        """
        raise self._unsupported("denoise", "denoise")

    def without_denoiser(self) -> GlotEncoder:
        """An encoder for documents that were denoised before: what is left of them has the vectors of this one."""
        return self

    def explain(self, text: str, query: str | None = None) -> Evidence:
        """Show what the document vector of a text is made of, and what each token adds to a query's score.

        Args:
            text: the document.
            query: what it is held against; None for the weights alone.

        Returns:
            For each token its text, character span, weight in the vector, contribution to the score and, for a trained
            pooling, the probability that it is noise; the token graph (None for a pooling without one); and, for an
            encoder that denoises, what was dropped and why.

        Raises:
            InputError: the text or the query is no string.
            UnsupportedError: "explain" is not among the capabilities.
        """
        raise self._unsupported("explain", "explain")

    def fit(
        self, documents: Sequence[str], groups: Sequence[str] | None = None, *, show_progress: bool = False
    ) -> GlotEncoder:
        """The same encoder for one corpus: what recurs there from document to document is taken for noise.

        Give it the documents that will be indexed, noise and all. Documents that come later need not have been among
        them. If the corpus changes its nature, fit again and index again: the vectors are others then (`fingerprint`).
        Queries are embedded as before.

        Args:
            documents: N texts, at least 50, or 3 with lines for an encoder that denoises; up to 20,000 are counted.
            groups: the name of each document's group (host, folder, sender): see `Denoiser.fit`.
            show_progress: draw a progress bar on stderr.

        Returns:
            A new encoder over the same backbone. It holds counts of tokens, no text; `save` writes them, too.

        Raises:
            InputError: too few documents, not a list of strings, or another number of groups.
            UnsupportedError: "fit" is not among the capabilities.
        """
        raise self._unsupported("fit", "fit")

    def _unsupported(self, capability: str, method: str) -> UnsupportedError:
        able = ", ".join(sorted(self.capabilities)) or "nothing beside encoding"
        return UnsupportedError(f"{self!r} has no {method}(): its capabilities are {able}. {WAYS_OUT[capability]}")


WAYS_OUT = {
    "chunks": "Load the encoder with backend='torch'",
    "denoise": "Use Denoiser.from_pretrained(), which serves any embedder, or pooling='glot' with backend='torch'",
    "explain": "Load an encoder that `save` or `glot-rag export` wrote",
    "fit": "Use a trained pooling with a noise classifier, as the shipped heads for minilm have, and backend='torch'",
}
