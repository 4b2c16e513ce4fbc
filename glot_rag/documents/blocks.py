"""Blocks: the lines, list items, table rows and sentences of a text, each with its place.

A block is what is kept or dropped as a whole when a text is cleaned, and where chunks begin and end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple
from unicodedata import category

from glot_rag.documents.scripts import CLAUSE_ENDS, CLOSERS, FULL_STOPS, IDEOGRAPHS, PHRASED

Kind = Literal["unknown", "heading", "paragraph", "list", "table", "code", "quoted"]

LONG_LINE = 600  # characters; a longer line is cut into its sentences
FEWEST_LINES = 3  # a title and a text are no layout yet
RUN_WORDS = 40  # words of a run, where a sentence is as long as that, too

BREAKS = "\n\r\f\v\x1c\x1d\x1e\x85\u2028\u2029"
_LINE = re.compile(rf"\S(?:[^{BREAKS}]*\S)?")
# After closing punctuation and before something that can begin a sentence. In scripts without spaces a full stop needs
# none after it, with closing quotes; a space after many letters of a script that has no full stop ends a phrase.
_SENTENCE_END = re.compile(
    r"(?<![\s.][A-Za-z]\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b[DMJS]r\.)(?<!\bMrs\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bNo\.)"
    r"(?<=[.!?…؟۔।॥])[\"'”’»)\]]*\s+(?=[^\s\Wa-z]|[\"'“‘«(\[¿¡])"
    rf"|(?<=[{FULL_STOPS}])[{CLOSERS}]*(?![{FULL_STOPS}{CLOSERS}])"
    rf"|(?<=[{PHRASED}]{{20}})\s+(?=[{PHRASED}])"
)
_RUN = re.compile(rf"(?:\S+\s*){{1,{RUN_WORDS}}}")
# Where a part of text without spaces may be cut: after a clause, or between letters.
_CLAUSE_END = re.compile(rf"(?<=[{CLAUSE_ENDS}])(?=[{IDEOGRAPHS}{PHRASED}])|(?<=[{PHRASED}])\s+")


class Block(NamedTuple):
    """A part of a text, `text[start:end]`, without white space at its ends.

    Attributes:
        start: Its first character.
        end: One past its last character.
        kind: What it is, where the file says so.
        level: Of a heading: 1 (the outermost) to 6. Otherwise 0.
    """

    start: int
    end: int
    kind: Kind = "unknown"
    level: int = 0


def split_blocks(text: str, known: Sequence[Block] = ()) -> list[Block]:
    """Cut a text into blocks, in order, that together hold every character but the white space between them.

    A line is a block. One of more than `LONG_LINE` characters becomes its sentences, and so does a text that is a
    single line; a sentence that is still too long becomes runs of `RUN_WORDS` words.

    Args:
        text: Any text.
        known: Blocks that a loader made, in order and without overlap: lines within one take its kind and level.
    """
    lines = [match.span() for match in _LINE.finditer(text)]
    limit = LONG_LINE if len(lines) > 1 else 0
    blocks: list[Block] = []
    following = iter(known)
    block = next(following, None)
    for start, end in lines:
        while block is not None and block.end <= start:
            block = next(following, None)
        kind, level = (block.kind, block.level) if block is not None and block.start <= start else ("unknown", 0)
        if end - start <= limit or kind in ("heading", "code"):
            blocks.append(Block(start, end, kind, level))
        else:
            blocks += [Block(*span, kind, level) for span in _sentences(text, start, end)]
    return blocks


def has_lines(text: str) -> bool:
    """Whether a text has enough lines for its layout to say something: `FEWEST_LINES`, blank ones left out."""
    return next(islice(_LINE.finditer(text), FEWEST_LINES - 1, None), None) is not None


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of a line; of word runs where a sentence is longer than `LONG_LINE`."""
    for match in [*_SENTENCE_END.finditer(text, start, end), None]:
        stop = end if match is None else match.end()
        if stop - start <= LONG_LINE:
            yield from _stripped(text, start, stop)
        else:
            for run in _RUN.finditer(text, start, stop):
                yield from _clauses(text, *run.span())
        start = stop


def _clauses(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Parts of up to `LONG_LINE` characters of a run that has no spaces, or few."""
    while end - start > LONG_LINE:
        limit = start + LONG_LINE
        cut = max((match.end() for match in _CLAUSE_END.finditer(text, start + 1, limit)), default=limit)
        while cut == limit and limit > start + LONG_LINE // 2 and category(text[limit]) in ("Mn", "Mc"):
            limit = cut = limit - 1  # an accent or vowel sign stays with its letter
        yield from _stripped(text, start, cut)
        start = cut
    yield from _stripped(text, start, end)


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The span without white space at its ends; nothing where it holds nothing else."""
    part = text[start:end]
    left = end - start - len(part.lstrip())
    if left < end - start:
        yield start + left, start + len(part.rstrip())


class TextBuilder:
    """Puts blocks together to a text, one line or more a block, and remembers where each stands.

    Attributes:
        blocks: Those that were added.
        length: Characters of the text so far.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.length = 0
        self.blocks: list[Block] = []

    def add(self, text: str, kind: Kind = "paragraph", level: int = 0) -> None:
        """Add a block on a line of its own. White space at its end is removed, in front only where it is a line."""
        text = text.rstrip().strip(BREAKS) if kind == "code" else text.strip()
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n")
            self.length += 1
        start = self.length + len(text) - len(text.lstrip())
        self._parts.append(text)
        self.length += len(text)
        self.blocks.append(Block(start, self.length, kind, level))

    @property
    def text(self) -> str:
        """All blocks, with a line break between them."""
        return "".join(self._parts)
