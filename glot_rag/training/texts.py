"""Training texts and real noise lines from JSON Lines files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glot_rag.denoise.noisy_views import LINE_FAMILIES
from glot_rag.documents.jsonl import read_objects, shortened
from glot_rag.errors import DatasetError, InputError

_MIN_WORDS = 12  # shorter texts leave no signal once part of them is replaced by noise


@dataclass(frozen=True)
class TrainingText:
    """A clean text.

    Attributes:
        text: the text.
        query: what someone might ask to find it (its title or a query), empty if there is none.
        source: where it comes from; texts of one source make up a simulated corpus.
    """

    text: str
    query: str
    source: str = ""


def read_texts(paths: Iterable[str | os.PathLike[str]]) -> list[TrainingText]:
    """Read texts, dropping repeated ones and those under 12 words.

    Args:
        paths: `.jsonl` or `.jsonl.gz`: one object a line with "text", and optionally "query" or "title", and "source"
            (the file's name if there is none).

    Raises:
        DatasetError: no such file, a malformed line (with its number), or nothing to train on.
    """
    seen: set[str] = set()
    texts = []
    for path in map(Path, paths):
        for found in (text_of(record, place, path.name) for place, record in read_objects(path)):
            if long_enough(found) and found.text not in seen:
                seen.add(found.text)
                texts.append(found)
    if not texts:
        raise DatasetError(f"no text of at least {_MIN_WORDS} words in {', '.join(map(str, paths)) or 'no files'}")
    return texts


def long_enough(text: TrainingText) -> bool:
    """Whether enough signal is left of a text once part of it is replaced by noise."""
    return len(text.text.split()) >= _MIN_WORDS


def sample(texts: list[TrainingText], limit: int, seed: int) -> list[TrainingText]:
    """At most `limit` of the texts, drawn at random, in their order."""
    if limit < 1:
        raise InputError(f"limit must be at least 1; got {limit}")
    if len(texts) <= limit:
        return texts
    chosen = np.random.default_rng([seed, 0]).choice(len(texts), limit, replace=False)
    return [texts[i] for i in np.sort(chosen)]


def read_noise_lines(paths: Iterable[str | os.PathLike[str]]) -> dict[str, list[str]]:
    """Read real lines of pages, code, licences and the like, which training mixes into the texts as noise.

    Args:
        paths: `.jsonl` or `.jsonl.gz`: one object a line with "line" and "family", as benchmarks/gather.py writes them.

    Returns:
        The lines of each family, in their order.

    Raises:
        DatasetError: no such file, a malformed line (with its number), or a family that training does not know.
    """
    known = sorted({kind for kinds in LINE_FAMILIES.values() for kind in kinds})
    lines: dict[str, list[str]] = {}
    for path in map(Path, paths):
        for place, record in read_objects(path):
            line, family = record.get("line"), record.get("family")
            if not isinstance(line, str) or family not in known:
                raise DatasetError(
                    f'{place}: expected a string "line" and a "family" ({", ".join(known)}), got {shortened(record)}'
                )
            lines.setdefault(family, []).append(line)
    return lines


def text_of(record: dict[str, Any], place: str, file: str) -> TrainingText:
    """The text of a JSON Lines record, with its query and source.

    Args:
        record: as in `read_texts`.
        place: where it stands, for the message.
        file: the source of a record that names none.

    Raises:
        DatasetError: a field is missing or is no string.
    """
    if not isinstance(record.get("text"), str):
        raise DatasetError(f'{place}: expected an object with a string "text", got {shortened(record)}')
    query = record.get("query") or record.get("title") or ""
    if not isinstance(query, str):
        raise DatasetError(f'{place}: "query" or "title" must be a string, got {query!r:.80}')
    source = record.get("source") or file
    if not isinstance(source, str):
        raise DatasetError(f'{place}: "source" must be a string, got {source!r:.80}')
    return TrainingText(record["text"], query, source)
