"""Search by vectors, by keywords and by both, then let a cross-encoder order the best. Offline, a few seconds.

The query names a part number, which vectors hardly see, and asks a question, which words alone do not answer.

    python examples/hybrid_search.py                       # without a cross-encoder
    python examples/hybrid_search.py PATH-OR-NAME          # e.g. cross-encoder/ms-marco-MiniLM-L6-v2, if it is there
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from glot_rag import Document, GlotEncoder, GlotIndex

QUERY = "why does the X-4410 pump stop"
TEXTS = {
    "X-4410 overheating": "The X-4410 switches itself off when its motor gets hot. Clean the fins, and start it again.",
    "X-4410 parts list": "X-4410: housing, rotor, two seals, one filter, four screws.",
    "overheating": "A pump that runs dry gets hot and comes to a halt; check the water level first.",
    "warranty": "Keep the receipt: the warranty covers two years from the day of purchase.",
}


def cross_encoder(name: str) -> Any:
    """The model, or None where sentence-transformers or the model is missing."""
    try:
        from sentence_transformers import CrossEncoder

        return CrossEncoder(name, local_files_only=True)
    except Exception as error:
        print(f"no cross-encoder ({error.__class__.__name__}): reranking is skipped")
        return None


def main() -> None:
    model = cross_encoder(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        encoder = GlotEncoder.from_pretrained()
        with GlotIndex.create(Path(folder) / "index", encoder) as index:
            index.add([Document(text, id) for id, text in TEXTS.items()])
            for mode in ("vector", "keyword", "hybrid"):
                hits = index.search(QUERY, k=3, mode=mode)
                print(f"{mode}: " + ", ".join(f"{hit.id} ({hit.score:.2f})" for hit in hits))
            if model is not None:
                hits = index.search(
                    QUERY, k=3, mode="hybrid", rerank=lambda q, texts: model.predict([(q, t) for t in texts])
                )
                print("reranked: " + ", ".join(f"{hit.id} ({hit.score:.2f})" for hit in hits))


if __name__ == "__main__":
    main()
