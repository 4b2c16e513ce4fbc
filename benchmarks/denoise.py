"""Time the whole way of web pages to chunk vectors: denoised first, against everything, in one run of one thread.

    python benchmarks/denoise.py --pages pages.jsonl.gz --count 40

A way ends with the mean-pooled vectors of chunks of 1,000 characters, each 200 in common with the one before. Pages are
those of validation hosts, evenly spread; the file is that of `block_noise.py`. A page with "html" also goes through
trafilatura. Prints processor seconds, pages a second, words kept and chunks of each way, and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from block_noise import part_of, read

from glot_rag import Denoiser, TorchEncoder
from glot_rag.evaluation.methods import chunks_of
from glot_rag.models.tokenizer import sample_positions


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return make(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: what the hardware is faster in")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pages = [page for page in read(options.pages) if part_of(page["host"]) == "validation"]
    pages = [pages[position] for position in sample_positions(len(pages), options.count)]
    texts = [page["text"] for page in pages]
    denoiser = Denoiser.from_pretrained(dtype=options.dtype)
    encoder = TorchEncoder.from_pretrained(pooling="mean", denoise=False, dtype=options.dtype)
    denoiser.denoise(texts[:2])
    encoder.encode_documents(chunks_of(texts[0]))  # both are warm now
    ways: dict[str, Callable[[], list[str]]] = {
        "everything": lambda: texts,
        "denoised": lambda: [each.text for each in denoiser.denoise(texts)],
    }
    if all(page.get("html") for page in pages):
        import trafilatura

        ways["trafilatura"] = lambda: [trafilatura.extract(page["html"]) or "" for page in pages]
    words = sum(len(text.split()) for text in texts)
    report: dict[str, Any] = {"pages": len(pages), "words": words, "dtype": str(encoder.backbone.dtype)}
    for name, clean in ways.items():
        kept, cleaning = timed(clean)
        chunks = [chunk for text in kept for chunk in chunks_of(text)]
        _, encoding = timed(partial(encoder.encode_documents, chunks))
        report[name] = {
            "cleaning": round(cleaning, 2),
            "encoding": round(encoding, 2),
            "pages a second": round(len(pages) / (cleaning + encoding), 2),
            "words kept": round(sum(len(text.split()) for text in kept) / words, 3),
            "chunks": len(chunks),
        }
    report["peak memory in MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
