"""How fast texts become vectors: sentence-transformers against glot-rag's backends, side by side in one run.

    python benchmarks/encode.py [--text texts.jsonl.gz] --json encode.json

The texts are `--text` ("text" of each line), or else documentation of the standard library. Every system embeds the
same texts with the same number of threads, in rounds one after the other; the median round counts. Cosines are to
sentence-transformers for mean pooling and to the torch encoder in float32 for GLOT. Needs sentence-transformers.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from glot_onnx import export_encoder
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from glot_rag import GlotEncoder, OnnxEncoder
from glot_rag.evaluation import load_stdlib
from glot_rag.resolve import resolve
from glot_rag.training.texts import read_texts

Encode = Callable[[list[str]], NDArray[np.float32]]
QUERY = "how do I read a file line by line without loading all of it?"


def systems(folder: Path) -> dict[str, tuple[Encode, Encode, str]]:
    """Name -> how it embeds documents and queries, and whose vectors its own are compared with."""
    st = SentenceTransformer(resolve("minilm").location, device="cpu")

    def stock(texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(st.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False))

    made: dict[str, tuple[Encode, Encode, str]] = {"sentence-transformers float32": (stock, stock, "")}
    for pooling in ("mean", "glot"):
        for dtype in ("float32", "bfloat16"):
            encoder = GlotEncoder.from_pretrained(pooling=pooling, dtype=dtype, device="cpu")
            compared = "sentence-transformers float32" if pooling == "mean" else "torch float32, glot"
            made[f"torch {dtype}, {pooling}"] = (encoder.encode_documents, encoder.encode_queries, compared)
            if dtype == "float32":
                export_encoder(encoder, folder / pooling)
                exported = OnnxEncoder(folder / pooling, threads=torch.get_num_threads())
                made[f"ONNX Runtime float32, {pooling}"] = (
                    exported.encode_documents,
                    exported.encode_queries,
                    compared,
                )
    return made


def main(
    text: Annotated[list[Path] | None, typer.Option(help="JSONL with texts.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Texts, the first ones.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    texts = [each.text for each in read_texts(text)] if text else list(load_stdlib(None).documents.values())
    texts = texts[:count]
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        made = systems(Path(folder))
        vectors = {name: documents(texts) for name, (documents, _, _) in made.items()}  # warms up, too
        seconds: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(rounds):
            for name, (documents, _, _) in made.items():
                start = time.perf_counter()
                documents(texts)
                seconds[name].append(time.perf_counter() - start)
        latency: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(100):
            for name, (_, queries, _) in made.items():
                start = time.perf_counter()
                queries([QUERY])
                latency[name].append(1000 * (time.perf_counter() - start))
    tokenizer = GlotEncoder.from_pretrained(pooling="mean").backbone.tokenizer
    tokens = sum(map(len, tokenizer(texts)))
    stock = next(iter(made))
    results: list[dict[str, Any]] = []
    for name, (_, _, compared) in made.items():
        median, p50 = statistics.median(seconds[name]), statistics.median(latency[name])
        cosine = float((vectors[name] * vectors[compared or name]).sum(1).min())
        results.append(
            {
                "system": name,
                "documents_a_second": len(texts) / median,
                "tokens_a_second": tokens / median,
                "times_stock": statistics.median(seconds[stock]) / median,
                "query_p50_ms": p50,
                "query_p50_of_stock": p50 / statistics.median(latency[stock]),
                "query_p99_ms": float(np.quantile(latency[name], 0.99)),
                "compared_with": compared,
                "min_cosine": cosine,
            }
        )
    table = Table(title=f"{len(texts)} texts, {tokens:,} tokens, {torch.get_num_threads()} threads, {rounds} rounds")
    for column in ("", "texts/s", "tokens/s", "x stock", "query p50 ms", "of stock", "least cosine"):
        table.add_column(column, justify="left" if not column else "right")
    for row in results:
        table.add_row(
            row["system"],
            f"{row['documents_a_second']:.0f}",
            f"{row['tokens_a_second']:,.0f}",
            f"{row['times_stock']:.2f}",
            f"{row['query_p50_ms']:.1f}",
            f"{row['query_p50_of_stock']:.2f}",
            f"{row['min_cosine']:.5f}",
        )
    console.print(table)
    if json_file:
        settings = {
            "texts": [path.name for path in text] if text else "python-stdlib",
            "count": len(texts),
            "tokens": tokens,
            "threads": torch.get_num_threads(),
            "rounds": rounds,
            "machine": platform.machine(),
            "torch": torch.__version__,
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"settings": settings, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
