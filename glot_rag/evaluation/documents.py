"""A folder of documents without queries -> a collection whose queries are made from the documents, and say so.

A title, a heading or a sentence of a document is the query that this document answers, and is taken out of it. Such
queries are easier than those of people, as they share the document's words: compare systems by them, not collections.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from typing import Literal

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.datasets import QueryHalf, RetrievalDataset, check_half, drop, judged_dataset, note

QuerySource = Literal["auto", "title", "heading", "first", "heldout"]
QUERY_SOURCES: tuple[QuerySource, ...] = ("auto", "title", "heading", "first", "heldout")
MIN_BODY_WORDS = 10
_WORDS = {"title": (2, 40), "heading": (2, 15), "first": (4, 40), "heldout": (5, 40)}
_LABELS = {"title": "title", "heading": "heading", "first": "first sentence", "heldout": "held-out sentence"}
_SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<=[.!?])\s+(?=\S)")
_MOST_ERRORS = 5

# A query and the text that is left without it.
Made = tuple[str, str]


def load_documents(
    path: str | os.PathLike[str],
    queries: QueryHalf = "all",
    *,
    query_from: QuerySource = "auto",
    seed: int = 0,
) -> RetrievalDataset:
    """Read a folder of .txt, .md, .html and .jsonl files as a retrieval collection with one relevant document a query.

    A document from which no query can be made, or whose query another one shares, stays in the collection as one more
    that may be found wrongly.

    Args:
        path: a folder, or one file of those kinds.
        queries: which half, by the position of the query.
        query_from: `title` (of the file's own), `heading` (the first line, where it is one), `first` (the first
            sentence), `heldout` (another sentence, drawn at random), or `auto`: the first of title, heading and first
            sentence that there is.
        seed: of the draw of held-out sentences.

    Raises:
        InputError: an unknown `queries` or `query_from`.
        DatasetError: nothing to read there, an id that comes twice, or no query could be made.
    """
    from glot_rag.index.readers import read_documents

    check_half(queries)
    if query_from not in QUERY_SOURCES:
        raise InputError(f"query_from must be one of {', '.join(QUERY_SOURCES)}; got {query_from!r}.")
    sources = [name for name in _LABELS if name != "heldout"] if query_from == "auto" else [query_from]
    reader = read_documents(path, on_error="skip")
    documents: dict[str, str] = {}
    made: dict[str, tuple[str, str, str]] = {}  # id -> (source, query, text without it)
    for document in reader:
        key, file = str(document.id), str(document.metadata.get("path", path))
        if key in documents:
            raise DatasetError(f"{file}: the id {key!r} comes twice in '{path}'; give every document its own.")
        documents[key] = document.text
        title = document.metadata.get("title")
        blocks = r"\n" if file.endswith((".md", ".html", ".htm")) else r"\n\s*\n"
        for source in sources:
            found = _make(source, document.text, str(title or ""), blocks, random.Random(f"{seed} {key}"))
            if found:
                made[key] = (source, *found)
                break

    problems = [f"{error}" for error in reader.skipped[:_MOST_ERRORS]]
    if len(reader.skipped) > _MOST_ERRORS:
        problems.append(f"{len(reader.skipped) - _MOST_ERRORS} more files or lines that cannot be read, left out.")
    note(reader.empty, "files without any text", "left out", problems)
    documents = drop(
        documents, [key for key, text in documents.items() if not text.strip()], "empty documents", problems
    )
    note([key for key in documents if key not in made], "queries that could not be made", "left out", problems)
    by_text: dict[str, list[str]] = {}
    for key, (_, query, _) in made.items():
        by_text.setdefault(_normal(query), []).append(key)
    shared = [key for keys in by_text.values() if len(keys) > 1 for key in keys]
    note(shared, "queries that several documents would answer", "left out", problems)
    asked = {key: query for key, (_, query, _) in made.items() if len(by_text[_normal(query)]) == 1}
    documents |= {key: made[key][2] for key in asked}
    dataset = judged_dataset(
        os.path.basename(os.path.abspath(path)),
        documents,
        asked,
        {key: {key: 1} for key in asked},
        queries,
        problems,
        f"'{path}'",
        f"No query could be made from {' or '.join(_LABELS[each] + 's' for each in sources)}: try another query_from.",
    )
    for key in dataset.queries:
        label = _LABELS[made[key][0]]
        dataset.queries_made[label] = dataset.queries_made.get(label, 0) + 1
    return dataset


def _make(source: str, text: str, title: str, blocks: str, rng: random.Random) -> Made | None:
    """A query of that source and the document without it, if the document has one and enough is left."""
    fewest, most = _WORDS[source]
    for query, rest in _CANDIDATES[source](text, title, blocks, rng):
        enough = len(rest.split()) >= MIN_BODY_WORDS
        # A title that the text says again would be found by it.
        if enough and fewest <= len(query.split()) <= most and _normal(query) not in _normal(rest):
            return query, rest
    return None


def _titles(text: str, title: str, blocks: str, rng: random.Random) -> Iterator[Made]:
    own = _normal(title)
    if own:
        yield title, "\n".join(line for line in text.split("\n") if _normal(line) != own).strip()


def _headings(text: str, title: str, blocks: str, rng: random.Random) -> Iterator[Made]:
    line, _, rest = text.strip().partition("\n")
    # A line that ends like a sentence, or goes on in the next one, is running text.
    if line.strip()[-1:] not in (".", ",", ";", "!") and not rest.lstrip()[:1].islower():
        yield " ".join(line.split()).lstrip("# "), rest.strip()


def _first(text: str, title: str, blocks: str, rng: random.Random) -> Iterator[Made]:
    yield from list(_sentences(text, blocks))[:1]


def _held_out(text: str, title: str, blocks: str, rng: random.Random) -> Iterator[Made]:
    sentences = list(_sentences(text, blocks))[1:]
    rng.shuffle(sentences)
    yield from sentences


def _sentences(text: str, blocks: str) -> Iterator[Made]:
    """Every sentence and the text without it; none goes beyond a block."""
    start = 0
    for block in [*re.finditer(blocks, text), None]:
        end = block.start() if block else len(text)
        for sentence in _SENTENCE_END.split(text[start:end]):
            if not sentence.strip():
                continue
            at = text.index(sentence, start)
            rest = f"{text[:at].rstrip()} {text[at + len(sentence) :].lstrip()}".strip()
            yield " ".join(sentence.split()), rest
            start = at + len(sentence)
        start = block.end() if block else end


_CANDIDATES: dict[str, Callable[[str, str, str, random.Random], Iterator[Made]]] = {
    "title": _titles,
    "heading": _headings,
    "first": _first,
    "heldout": _held_out,
}


def _normal(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")
