"""Files without queries -> a collection whose queries are made from the documents; reports say that they are.

A title, a heading or a sentence is taken out of a document and becomes the query that this document answers. Such
queries share the document's words, so they are easier than those of people: compare methods by them, not collections.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, closing
from typing import Literal

from glot_rag.errors import InputError
from glot_rag.evaluation.collections.collection import Judged, MemoryCollection
from glot_rag.evaluation.collections.judgements import QueryHalf, check_half, judged_queries
from glot_rag.evaluation.collections.skip_counter import SkipCounter
from glot_rag.evaluation.collections.spooled import SpooledCollection, room_for, temporary_database

QuerySource = Literal["auto", "title", "heading", "first", "heldout"]
QUERY_SOURCES: tuple[QuerySource, ...] = ("auto", "title", "heading", "first", "heldout")
MIN_BODY_WORDS = 10
MAX_QUERIES = 2_000  # their nDCG is known to a point or two, and a million would be a million to embed
_WORDS = {"title": (2, 40), "heading": (2, 15), "first": (4, 40), "heldout": (5, 40)}
_LABELS = {"title": "title", "heading": "heading", "first": "first sentence", "heldout": "held-out sentence"}
_SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<=[.!?])\s+(?=\S)")
_MOST_ERRORS = 5

# A query and the text that is left without it.
Made = tuple[str, str]


def load_folder(
    path: str | os.PathLike[str],
    queries: QueryHalf = "all",
    *,
    query_from: QuerySource = "auto",
    max_queries: int = MAX_QUERIES,
    seed: int = 0,
) -> MemoryCollection:
    """Read what `open_folder` opens into memory; arguments and errors are the same."""
    return open_folder(path, queries, query_from=query_from, max_queries=max_queries, seed=seed).load()


def open_folder(
    path: str | os.PathLike[str],
    queries: QueryHalf = "all",
    *,
    query_from: QuerySource = "auto",
    max_queries: int = MAX_QUERIES,
    seed: int = 0,
) -> SpooledCollection:
    """Read a folder of files as a retrieval collection with one relevant document a query.

    A document without a query, or with a query that another document shares, stays in the collection: it may be found
    wrongly. The documents stay in a temporary file until the collection is closed.

    Args:
        path: a folder, or one file.
        queries: which half, by the position of the query.
        query_from: `title` (of the file's own), `heading` (the first line, where it is one), `first` (the first
            sentence), `heldout` (another sentence, drawn at random), or `auto`: the first of title, heading and first
            sentence that there is.
        max_queries: how many queries at most, drawn at random; documents that have none keep their whole text.
        seed: of that draw and of the draw of held-out sentences.

    Raises:
        InputError: an unknown `queries` or `query_from`, or `max_queries` below 1.
        DatasetError: nothing to read there, an id that comes twice, or no query could be made.
    """
    from glot_rag.documents import read_documents

    check_half(queries)
    if query_from not in QUERY_SOURCES:
        raise InputError(f"query_from must be one of {', '.join(QUERY_SOURCES)}; got {query_from!r}.")
    if max_queries < 1:
        raise InputError(f"max_queries must be 1 or more, got {max_queries}.")
    sources = [name for name in _LABELS if name != "heldout"] if query_from == "auto" else [query_from]
    # Ids are paths within the folder, so that a collection is the same wherever it lies; noise is what is measured.
    folder = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    reader = read_documents(path, html="all", relative_to=folder)
    collection = SpooledCollection(os.path.basename(os.path.abspath(path)))
    without = SkipCounter("queries that could not be made")
    with ExitStack() as opened:
        opened.callback(collection.close)
        made = opened.enter_context(closing(_MadeQueries()))
        for document in reader:
            key = str(document.id)
            position = collection.add(key, document.text, reader.place)
            if position is None:
                continue
            drawn = f"{seed} {key}".encode("utf-8", "surrogatepass")
            title = str(document.metadata.get("title") or "")
            blocks = r"\n" if document.blocks else r"\n\s*\n"
            for source in sources:
                found = _make(source, document.text, title, blocks, random.Random(drawn))
                if found:
                    made.add(position, source, *found, reader.place)
                    break
            else:
                without.add(key)

        problems = collection.problems
        aside = reader.report.set_aside
        problems += [f"{place}: {reason}" for place, reason in aside[:_MOST_ERRORS]]
        if len(aside) > _MOST_ERRORS:
            problems.append(f"{len(aside) - _MOST_ERRORS} more files or lines that cannot be read, left out.")
        empty_files = SkipCounter("files without any text")
        for name in reader.report.empty:
            empty_files.add(name)
        empty_files.report(problems)
        collection.report_empty()
        without.report(problems)
        asked: dict[str, str] = {}
        label_of: dict[str, str] = {}
        for position, source, query, rest in made.drawn(max_queries, seed, collection.key, problems):
            key = collection.key(position)
            asked[key], label_of[key] = query, _LABELS[source]
            collection.replace(position, rest)
        remedy = f"No query could be made from {' or '.join(_LABELS[each] + 's' for each in sources)}: "
        qrels = {key: {key: 1} for key in asked}
        kept = judged_queries(asked, qrels, queries, problems, f"'{path}'", remedy + "try another query_from.")
        for key in kept:
            collection.queries_made[label_of[key]] = collection.queries_made.get(label_of[key], 0) + 1
        collection.judge(Judged(kept, {key: qrels[key] for key in kept}, problems))
        made.close()
        opened.pop_all()
    return collection


class _MadeQueries:
    """A table on disk of the queries that could be made, by the position of their document."""

    def __init__(self) -> None:
        self._database = temporary_database()
        self._database.execute(
            "CREATE TABLE made (position INTEGER PRIMARY KEY, digest BLOB, source TEXT, query BLOB, rest BLOB)"
        )

    def add(self, position: int, source: str, query: str, rest: str, place: str) -> None:
        """Keep a query of the document at `position`, and the document without it; `place` is for errors' messages."""
        normal, *texts = (text.encode("utf-8", "surrogatepass") for text in (_normal(query), query, rest))
        row = (position, hashlib.sha256(normal).digest()[:16], source, *texts)
        with room_for(place):
            self._database.execute("INSERT INTO made VALUES (?, ?, ?, ?, ?)", row)

    def drawn(
        self, count: int, seed: int, key: Callable[[int], str], problems: list[str]
    ) -> Iterator[tuple[int, str, str, str]]:
        """Draw at most `count` queries that one document alone has -> (position, source, query, rest), by position."""
        self._database.execute("CREATE INDEX digests ON made (digest)")
        alone = "SELECT MIN(position) FROM made GROUP BY digest HAVING COUNT(*) = 1"
        shared = SkipCounter("queries that several documents would answer")
        beyond = SkipCounter(f"queries more than {count:,}, which were drawn at random")
        for (position,) in self._database.execute(f"SELECT position FROM made WHERE position NOT IN ({alone})"):
            shared.add(key(position))
        shared.report(problems)
        (total,) = self._database.execute(f"SELECT COUNT(*) FROM ({alone})").fetchone()
        chosen: Container[int] = range(total)
        if total > count:
            chosen = set(random.Random(f"{seed} queries").sample(range(total), count))
        for number, (position,) in enumerate(self._database.execute(f"{alone} ORDER BY 1")):
            if number not in chosen:
                beyond.add(key(position))
                continue
            columns = "SELECT source, query, rest FROM made WHERE position = ?"
            source, *texts = self._database.execute(columns, (position,)).fetchone()
            query, rest = (text.decode("utf-8", "surrogatepass") for text in texts)
            yield position, source, query, rest
        beyond.report(problems)

    def close(self) -> None:
        """Remove the file."""
        self._database.close()


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
