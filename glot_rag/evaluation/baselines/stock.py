"""The backbone as its makers ship it: the same files through sentence-transformers, nothing of this library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.models.registry import resolve


def load_stock(backbone: str) -> Callable[[Sequence[str]], Vectors]:
    """The sentence-transformers model of a backbone: texts -> (N, D) unit vectors, for documents and queries.

    Raises:
        InputError: the files are no sentence-transformers model (they lack `modules.json`).
        MissingExtraError: sentence-transformers is not installed.
    """
    source = resolve(backbone)
    if source.is_local and not (Path(source.location) / "modules.json").is_file():
        raise InputError(f"'{backbone}' is no sentence-transformers model (no modules.json): leave --system stock out")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "sentence-transformers") from error
    model = SentenceTransformer(source.location)

    def embed(texts: Sequence[str]) -> Vectors:
        vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    return embed
