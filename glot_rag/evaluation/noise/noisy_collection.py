"""A noisy collection on disk, in BEIR layout, so that any other system can be measured on the same documents.

    corpus.jsonl    the noisy documents
    signal.jsonl    the same documents without the noise, for `evaluate --gold`, and where the signal stands
    queries.jsonl, qrels/
    noise.json      the settings, and hashes of what was read and written

Documents are read from the collection one at a time, so memory does not grow with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glot_rag.errors import InputError
from glot_rag.evaluation.collections.collection import Collection, json_line
from glot_rag.evaluation.noise.corrupt import Corrupted
from glot_rag.evaluation.noise.noisy_documents import NoisyDocuments
from glot_rag.evaluation.noise.spec import Noise
from glot_rag.files import new_directory, write_atomically

FORMAT, VERSION = "glot-rag noisy collection", 1
SETTINGS_NAME, SIGNAL_NAME = "noise.json", "signal.jsonl"


def write_noisy_collection(
    collection: Collection,
    noise: Noise,
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    max_words: int = 170,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write a collection with noise in its documents; `evaluate` on `none` then gives what it gives on the noise.

    The folder appears as a whole or not at all. A document's noise is that of `corrupt`, to the bit. In
    `signal.jsonl` a line has `_id`, `text` (the signal, undamaged) and the half-open spans of characters of the noisy
    text that are the document's own, `spans`, and of those that OCR damaged, `damaged`.

    Args:
        collection: what to read.
        noise: what to put in.
        out: a folder that is missing or empty.
        seed: of the noise.
        max_words: as in `corrupt`.
        progress: is told how many documents are written, after each.

    Returns:
        The settings, as `noise.json` has them.

    Raises:
        InputError: there is something in `out`, a negative `max_words` or seed, or off-topic noise where no other
            document has any words.
    """
    from glot_rag import __version__

    folder = Path(out)
    documents = NoisyDocuments(collection, noise, seed=seed, max_words=max_words)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"'{folder}' exists and is not an empty folder: a noisy collection goes into one of its own.")
    settings: dict[str, Any] = {
        **{"format": FORMAT, "format_version": VERSION, "glot_rag": __version__, "noise": str(noise)},
        **{"parts": [asdict(part) for part in noise.parts], "ratio": noise.ratio, "seed": seed},
        **{"max_words": max_words, "dataset": collection.name, "documents": len(collection)},
        **{"problems": collection.problems, "queries_made": collection.queries_made, "input_sha256": collection.sha256},
    }
    with new_directory(folder) as staging:
        written = _write_documents(documents, staging, progress)
        collection.copy_queries(staging)
        settings["output_sha256"] = written
        write_atomically(staging / SETTINGS_NAME, (json.dumps(settings, indent=2) + "\n").encode())
    return settings


def _write_documents(
    documents: NoisyDocuments, staging: Path, progress: Callable[[int], None] | None
) -> dict[str, str]:
    digests = {"corpus.jsonl": hashlib.sha256(), SIGNAL_NAME: hashlib.sha256()}
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(staging / name, "wb")) for name in digests}
        for index in range(len(documents)):
            noisy = documents[index]
            key = documents.collection.key(index)
            own, damaged = spans(noisy)
            records: dict[str, dict[str, object]] = {
                "corpus.jsonl": {"_id": key, "title": "", "text": noisy.text},
                SIGNAL_NAME: {"_id": key, "title": "", "text": noisy.signal, "spans": own, "damaged": damaged},
            }
            for name, record in records.items():
                line = json_line(record)
                files[name].write(line)
                digests[name].update(line)
            if progress is not None:
                progress(index + 1)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def spans(noisy: Corrupted) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Half-open spans of characters of the noisy text: of runs of own words, and of each damaged word.

    >>> spans(Corrupted(text="buy a wlng now", signal="a wing", signal_mask=[False, True, True, False], damaged=[2]))
    ([(4, 10)], [(6, 10)])
    """
    own: list[tuple[int, int]] = []
    damaged: list[tuple[int, int]] = []
    bad = set(noisy.damaged)
    before = False
    words = re.finditer(r"\S+", noisy.text)  # white space as `str.split` has it
    for number, (word, is_own) in enumerate(zip(words, noisy.signal_mask, strict=True)):
        start, end = word.span()
        if is_own:
            own.append((own.pop()[0], end) if before else (start, end))
        if number in bad:
            damaged.append((start, end))
        before = is_own
    return own, damaged
