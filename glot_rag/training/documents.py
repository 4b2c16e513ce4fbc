"""Documents whose noise is known: what the block head is trained on.

Three kinds: documents of yours that say what is noise (JSON Lines), web pages, whose markup says it (trafilatura), and
pages made of clean texts with menus and footers around them, where there are too few of the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from glot_rag.denoise.line_grammars import page_line
from glot_rag.documents.blocks import split_blocks
from glot_rag.documents.jsonl import read_objects, shortened
from glot_rag.documents.reading import read_documents
from glot_rag.errors import DatasetError
from glot_rag.training.block_labels import noise_of_page
from glot_rag.training.texts import TrainingText, long_enough, text_of

_HTML = (".html", ".htm", ".xhtml")
_PASSAGE = 160  # words: a noisy view shows up to 170
_LEAST_NOISE = 0.02  # of a page's words; where trafilatura drops less it has found no main content
_SOURCES, _OF_A_PACKAGE = 100, 400  # files that are read of a package, and passages that it gives
_DOCSTRING = re.compile(r'"""(.+?)"""', re.DOTALL)
_MENU, _FOOTER = (3, 40), (2, 25)  # lines, from and to


@dataclass(frozen=True)
class NoisyDocument:
    """A document and where its noise is.

    Attributes:
        text: all of it.
        noise: sorted character spans of what should be dropped; none for a clean document.
        group: its site, folder or file. Documents of one group are never on both sides of a split.
        title: what someone might ask to find it, if it has one.
    """

    text: str
    noise: tuple[tuple[int, int], ...]
    group: str
    title: str = ""

    @property
    def signal(self) -> str:
        """The text without its noise."""
        ends = [0, *(end for _, end in self.noise)]
        starts = [*(start for start, _ in self.noise), len(self.text)]
        return "".join(self.text[end:start] for end, start in zip(ends, starts, strict=True))


class TrainingData(NamedTuple):
    """Clean texts for the word head, and documents with known noise for the block head."""

    texts: list[TrainingText]
    documents: list[NoisyDocument]


def read_training_data(paths: Sequence[str | os.PathLike[str]]) -> TrainingData:
    """Read what the heads learn from.

    Args:
        paths: JSON Lines (`.jsonl`, `.jsonl.gz`), or files and folders of any format that is indexed. A line has
            "text". With "noise" (character spans) or "gold" (the main content) it is a document whose noise is known;
            otherwise a clean text, perhaps with "title" or "query". "group", "host" or "source" is where it comes from.
            A web page is a document: what trafilatura leaves out, which sees its markup, is noise. Other files are
            clean text, cut into passages.

    Returns:
        The texts, without repeated ones and those under 12 words, and the documents.

    Raises:
        DatasetError: no such file, a malformed line (with its number), or nothing to train on.
        MissingExtraError: a format needs the extra `documents`.
    """
    texts: dict[str, TrainingText] = {}
    documents: list[NoisyDocument] = []
    for path in map(Path, paths):
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            for place, record in read_objects(path):
                text = text_of(record, place, path.name)
                if "noise" in record or "gold" in record:
                    documents.append(_document(record, text, place))
                else:
                    texts.setdefault(text.text, text)
        else:
            _read_files(path, texts, documents)
    # Main contents are clean texts, too: the word head learns from them.
    for document in documents:
        for text in _passages(document.signal, document.title, document.group):
            texts.setdefault(text.text, text)
    found = [text for text in texts.values() if long_enough(text)]
    if not found:
        raise DatasetError(f"no text of at least 12 words in {', '.join(map(str, paths)) or 'no files'}")
    return TrainingData(found, documents)


def installed_texts() -> TrainingData:
    """Descriptions of the installed Python packages and the documentation of their modules: texts, and no documents.

    For those who have no texts at hand. It is technical English, so texts of your own kind make a better head.

    Raises:
        DatasetError: hardly any package is installed.
    """
    texts: dict[str, TrainingText] = {}
    for package in sorted(distributions(), key=lambda each: str(each.metadata["Name"])):
        name = str(package.metadata["Name"])
        described = package.metadata.get_payload()  # type: ignore[attr-defined]
        if not described and "Description" in package.metadata:
            described = package.metadata["Description"]
        docs = [str(described or "")]
        sources = sorted(str(file) for file in package.files or () if file.suffix == ".py" and "test" not in str(file))
        for source in sources[:_SOURCES]:
            try:
                code = Path(str(package.locate_file(source))).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            docs += _DOCSTRING.findall(code)
        passages = [passage for text in docs for passage in _passages(text, "", name)]
        texts |= {each.text: each for each in passages[:_OF_A_PACKAGE] if long_enough(each)}
    if not texts:
        raise DatasetError("no installed Python package has documentation: give texts of your own with --text")
    return TrainingData(list(texts.values()), [])


def _document(record: Mapping[str, Any], text: TrainingText, place: str) -> NoisyDocument:
    group = record.get("group") or record.get("host") or text.source
    if not isinstance(group, str):
        raise DatasetError(f'{place}: "group" or "host" must be a string, got {group!r:.80}')
    if "noise" not in record:
        gold = record["gold"]
        if not isinstance(gold, str):
            raise DatasetError(f'{place}: "gold" must be a string (the main content), got {gold!r:.80}')
        return NoisyDocument(text.text, tuple(noise_of_page(text.text, gold)), group, text.query)
    spans = record["noise"]
    at = 0
    good = isinstance(spans, list)
    for span in spans if good else []:
        good = isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
        if not good or not at <= span[0] < span[1] <= len(text.text):
            good = False
            break
        at = span[1]
    if not good:
        raise DatasetError(
            f'{place}: "noise" must be sorted [start, end] character spans of the text, got {shortened({"": spans})}'
        )
    return NoisyDocument(text.text, tuple((start, end) for start, end in spans), group, text.query)


def _read_files(path: Path, texts: dict[str, TrainingText], documents: list[NoisyDocument]) -> None:
    """Add the passages and the web pages of a file or folder."""
    found = read_documents(path, html="main")
    pages = [file for file in found.files if file.endswith(_HTML)]
    whole = {each.id: each.text for each in read_documents(pages, html="all")} if pages else {}
    for document in found:
        title, group = str(document.metadata.get("title", "")), os.path.dirname(str(document.metadata["source"]))
        page = whole.get(document.id)
        if page is None:
            for text in _passages(document.text, title, group):
                texts.setdefault(text.text, text)
            continue
        noise = noise_of_page(page, document.text)
        if sum(end - start for start, end in noise) >= _LEAST_NOISE * len(page):
            documents.append(NoisyDocument(page, tuple(noise), group, title))


def _passages(text: str, title: str, source: str) -> list[TrainingText]:
    """A text in passages of whole blocks, each with its title as the query."""
    parts: list[list[str]] = [[]]
    for block in split_blocks(text):
        words = text[block.start : block.end].split()
        if parts[-1] and len(parts[-1]) + len(words) > _PASSAGE:
            parts.append([])
        parts[-1] += words
    return [TrainingText(" ".join(part), title, source) for part in parts if part]


def made_pages(
    texts: Sequence[TrainingText], count: int, seed: int, lines: Mapping[str, Sequence[str]] | None = None
) -> list[NoisyDocument]:
    """Pages with a text as the main content: menus, notices and footers stand before, after and between its lines.

    Args:
        texts: clean texts; each page shows another one, as long as they last.
        count: how many pages.
        seed: of every random choice.
        lines: real lines (`glot_rag.training.texts.read_noise_lines`), which are half of the lines around the texts.
    """
    vocabulary = sorted({word.strip(".,;:()").lower() for text in texts[:5000] for word in text.text.split()})
    vocabulary = [word for word in vocabulary if word.isalpha()] or ["page"]
    real = (lines or {}).get("page") or ()
    made = []
    for number, row in enumerate(np.random.default_rng([seed, 5]).permutation(len(texts))[:count]):
        rng = np.random.default_rng([seed, 6, number])
        made.append(_made_page(texts[row], rng, vocabulary, real, f"made page {number}"))
    return made


def _made_page(
    text: TrainingText, rng: np.random.Generator, vocabulary: Sequence[str], real: Sequence[str], group: str
) -> NoisyDocument:
    def surround(least: int, most: int) -> list[str]:
        around: list[str] = []
        wanted = int(rng.integers(least, most + 1))
        while len(around) < wanted:
            if real and rng.random() < 0.5:
                around.append(real[int(rng.integers(len(real)))])
                continue
            line = page_line(rng, vocabulary, "page")
            # The entries of a menu stand on lines of their own as often as on one.
            words = line.split()
            around += words if len(words) < 8 and rng.random() < 0.5 else [line]
        return around[:wanted]

    body = [text.text[block.start : block.end] for block in split_blocks(text.text)]
    at = int(rng.integers(len(body) + 1)) if rng.random() < 0.3 else len(body)
    parts = [(surround(*_MENU), True), (body[:at], False)]
    if at < len(body):
        parts += [(surround(1, 8), True), (body[at:], False)]
    return _joined([*parts, (surround(*_FOOTER), True)], group, text.query)


def _joined(parts: Sequence[tuple[Sequence[str], bool]], group: str, title: str) -> NoisyDocument:
    """A document of (lines, whether they are noise)."""
    lines: list[str] = []
    noise: list[tuple[int, int]] = []
    at = 0
    for some, is_noise in parts:
        for line in some:
            if is_noise and line.strip():
                noise.append((at, at + len(line)))
            lines.append(line)
            at += len(line) + 1
    return NoisyDocument("\n".join(lines), tuple(noise), group, title)
