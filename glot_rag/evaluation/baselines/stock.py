"""The backbone as its makers ship it: the same files through sentence-transformers, nothing of this library."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import InputError, MissingExtraError


class StockEncoder:
    """A sentence-transformers model as an `Embedder`.

    Args:
        model: the model.
        fingerprint: of the model's files and library.
    """

    def __init__(self, model: Any, fingerprint: str) -> None:
        self._model = model
        self.fingerprint = fingerprint

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        return int(self._model.get_embedding_dimension())

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """N texts -> (N, D) unit vectors."""
        vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=show_progress)
        return np.asarray(vectors, dtype=np.float32)

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """As `encode_documents`."""
        return self.encode_documents(texts, show_progress=show_progress)


def load_stock(encoder: Embedder) -> StockEncoder:
    """The sentence-transformers model of the backbone that an encoder runs.

    Raises:
        InputError: the encoder has no backbone, or its files are no sentence-transformers model (no `modules.json`).
        MissingExtraError: sentence-transformers is not installed.
    """
    backbone: Any = getattr(encoder, "backbone", None)
    if backbone is None:
        raise InputError("The baseline 'stock' needs an encoder that runs torch: leave it out.")
    source = backbone.source
    if source.is_local and not (Path(source.location) / "modules.json").is_file():
        raise InputError(f"'{source.name}' is no sentence-transformers model (no modules.json): leave 'stock' out.")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "sentence-transformers") from error
    version = metadata.version("sentence-transformers")
    model = SentenceTransformer(source.location, device=str(backbone.device))
    return StockEncoder(model, f"sentence-transformers {version} {backbone.fingerprint}")
