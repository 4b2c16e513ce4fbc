"""How fast documents are read, cut into blocks, measured and chunked; no model.

    python benchmarks/documents.py [--pages pages.jsonl.gz]
    python benchmarks/documents.py --megabytes 500    # memory; --many 100000 --index

Prints milliseconds (the best of five runs, processor time) for a megabyte of text, and for ten times the paragraphs how
much longer each loader takes: 10 is linear. Or, for a corpus of a size, time and peak memory.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

from glot_rag.documents import Document, chunk_document, read_documents, split_blocks
from glot_rag.documents.layout import layout_features
from glot_rag.documents.loaders import LOADERS, ReadOptions
from glot_rag.documents.loaders.base import FileContext
from glot_rag.embedder import Vectors
from glot_rag.index import GlotIndex
from glot_rag.index.chunking import Chunker, ChunkOptions
from glot_rag.index.corpus import index_corpus

LINE = "The kettle, number {}, boils a litre of water in two minutes and switches itself off when it is done."


def best(run: Callable[[], object], times: int = 5) -> float:
    """Seconds of processor time."""
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def a_megabyte(pages: Path | None) -> str:
    """Text of web pages, or lines of made-up prose and menus."""
    if pages is None:
        lines = (f"Home | Products {n} | About\n{LINE.format(n)}" for n in range(10_000))
        return "\n".join(lines)[: 1 << 20]
    with gzip.open(pages, "rt", encoding="utf-8") as file:
        return "\n".join(json.loads(line)["text"] for line in file)[: 1 << 20]


def words(text: str) -> list[tuple[int, int]]:
    """Stands for a tokeniser."""
    spans, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        spans.append((start, at))
    return spans


def paragraphs(suffix: str, count: int) -> bytes:
    """A file of so many paragraphs."""
    lines = [LINE.format(number) for number in range(count)]
    if suffix == ".html":
        return "".join(f"<p>{line} <b>b</b></p>\n" for line in lines).encode()
    if suffix in (".jsonl", ".json"):
        rows = [json.dumps({"text": line}) for line in lines]
        return ("\n".join(rows) if suffix == ".jsonl" else f"[{','.join(rows)}]").encode()
    if suffix == ".csv":
        return ("id,text\n" + "".join(f'{number},"{line}"\n' for number, line in enumerate(lines))).encode()
    if suffix == ".ipynb":
        return json.dumps({"cells": [{"cell_type": "markdown", "source": line} for line in lines]}).encode()
    if suffix == ".mbox":
        return "".join(f"From a@b Mon Jan  1 10:00:00 2024\nSubject: x\n\n{line}\n\n" for line in lines).encode()
    if suffix == ".docx":
        import docx
        from docx.oxml import parse_xml

        document, data = docx.Document(), BytesIO()
        body = document.element.body
        for line in lines:
            body.insert(len(body) - 1, parse_xml(f"<w:p {NAMES}><w:r><w:t>{line}</w:t></w:r></w:p>"))
        document.save(data)
        return data.getvalue()
    head = b"Subject: x\n\n" if suffix == ".eml" else b""
    return head + "\n\n".join(lines).encode()


NAMES = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def load(suffix: str, data: bytes, options: ReadOptions) -> int:
    """Characters of text in a file."""

    def fail(number: int, reason: str) -> None:
        raise RuntimeError(f"{suffix}:{number}: {reason}")

    context = FileContext(f"/x{suffix}", suffix, options, fail, lambda note: None)
    return sum(len(loaded.text) for loaded in LOADERS[suffix](BytesIO(data), context))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=Path, help="JSON Lines of web pages, gzipped, with their `text`")
    parser.add_argument("--many", type=int, default=0, help="so many small files are read and cut, and nothing else")
    parser.add_argument("--megabytes", type=int, default=0, help="a text file of that size is")
    parser.add_argument("--index", action="store_true", help="those are stored in an index, by hashes for vectors")
    arguments = parser.parse_args()
    if arguments.many or arguments.megabytes:
        corpus(arguments)
        return

    text = a_megabyte(arguments.pages)
    blocks = split_blocks(text)
    print(f"{len(text):,} characters, {len(blocks):,} blocks")
    print(f"  blocks          {1000 * best(lambda: split_blocks(text)):6.0f} ms")
    print(f"  layout features {1000 * best(lambda: layout_features(text, blocks)):6.0f} ms")
    print(f"  chunks          {1000 * best(lambda: list(chunk_document(Document(text), words)), 2):6.0f} ms")

    print("paragraphs          1,000     10,000   times as long")
    for suffix in (
        ".txt",
        ".html",
        ".html main",
        ".md",
        ".rst",
        ".csv",
        ".jsonl",
        ".json",
        ".ipynb",
        ".eml",
        ".mbox",
        ".docx",
    ):
        kind, _, main_content = suffix.partition(" ")
        options = ReadOptions(html="main" if main_content else "all")
        small, large = (best(partial(load, kind, paragraphs(kind, count), options), 2) for count in (1_000, 10_000))
        print(f"  {suffix:14} {1000 * small:7.1f} ms {1000 * large:7.1f} ms {large / small:8.1f}")


def corpus(arguments: argparse.Namespace) -> None:
    """Many small files, or a large one, read and cut; with `--index`, stored, too. Prints time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "files")
        for number in range(arguments.many):
            path = files / f"{number // 1000}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(LINE.format(number))
        if arguments.megabytes:
            files.mkdir(exist_ok=True)
            piece = "\n".join(LINE.format(number) for number in range(10_000)) + "\n"
            with open(files / "large.txt", "w") as file:
                for _ in range((arguments.megabytes << 20) // len(piece) + 1):
                    file.write(piece)
        start, before = time.process_time(), peak()
        reader = read_documents(files)
        if arguments.index:
            with GlotIndex.create(Path(folder, "index"), HashEncoder()) as index:
                count = index_corpus(index, reader, Chunker(words, ChunkOptions(248))).chunks
        else:
            count = sum(sum(1 for _ in chunk_document(document, words)) for document in reader)
        seconds = time.process_time() - start
        print(
            f"{arguments.many:,} files and one of {arguments.megabytes:,} MB: {count:,} chunks, {seconds:.0f} s of "
            f"processor time, {peak():,} MB at most ({before:,} before)"
        )


class HashEncoder:
    """Stands for a model: a text's vector is its hash."""

    dimension = 64
    fingerprint = "hash"

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """(N, 64) float32, rows of norm 1."""
        hashes = b"".join(hashlib.blake2b(text.encode(), digest_size=64).digest() for text in texts)
        rows = np.frombuffer(hashes, np.uint8).reshape(-1, 64).astype(np.float32) - 127.5
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    encode_queries = encode_documents


def peak() -> int:
    """Megabytes of memory that this process has used at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
