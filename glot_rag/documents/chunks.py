"""Chunks: the parts of a document that get a vector each, cut between blocks and counted in the model's tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from glot_rag.documents.blocks import Block, split_blocks
from glot_rag.documents.document import Document
from glot_rag.errors import InputError

# A text -> the (start, end) of each of its tokens, special tokens left out. Every tokeniser can give it, so that no
# model is imported here.
TokenSpans = Callable[[str], Sequence[tuple[int, int]]]

_PIECE = 1 << 16  # characters tokenised at a time, which bounds the memory of a long text
_PREFIX_SHARE = 4  # at most a quarter of a chunk's tokens are its prefix
_LOOK_BACK = 256  # characters before a cut in which its word or grapheme begins
_HEADING_CHARACTERS = 200


@dataclass(frozen=True)
class Chunk:
    """A part of a document.

    Attributes:
        source: Where the document was read.
        number: Its place among the chunks of that source, from 0.
        text: `document.text[start:end]`: what is stored and shown.
        start: Its first character in the document's text.
        end: One past its last character.
        title: The document's title, or an empty text.
        headings: The headings above it, the outermost first.
        prefix: What is embedded in front of the text: the title and the headings; empty unless asked for.
    """

    source: str
    number: int
    text: str
    start: int
    end: int
    title: str = ""
    headings: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def id(self) -> str:
        """`source#number`."""
        return f"{self.source}#{self.number}"

    @property
    def embedded(self) -> str:
        """What the encoder reads."""
        return f"{self.prefix}\n{self.text}" if self.prefix else self.text


def chunk_document(
    document: Document,
    token_spans: TokenSpans,
    *,
    max_tokens: int = 254,
    overlap: int = 32,
    prefix: bool = False,
    first_number: int = 0,
) -> Iterator[Chunk]:
    """Cut a document into chunks.

    Chunks end where a block ends, unless a block alone has more than `max_tokens` tokens: it is cut between words, and
    where there is no space, between graphemes. A heading stays with what follows it, and once a chunk is half full,
    the next heading begins another.

    Args:
        document: What to cut. Its `blocks` tell which lines are headings.
        token_spans: Tells where the tokens of a text stand.
        max_tokens: Tokens that a chunk may have, its prefix included. Leave room for the special tokens.
        overlap: Tokens at the end of a chunk that the next one repeats, at most: whole blocks where they fit, else
            whole words. Nothing is repeated across a heading.
        prefix: Give each chunk the title and the headings above it as a prefix.
        first_number: The number of the first chunk, where a source has several documents.

    Raises:
        InputError: `max_tokens` below 1, or an `overlap` that is negative or more than half of it.
    """
    if max_tokens < 1:
        raise InputError(f"max_tokens must be 1 or more, got {max_tokens}")
    if not 0 <= overlap <= max_tokens // 2:
        raise InputError(f"overlap must be from 0 to half of max_tokens ({max_tokens // 2}), got {overlap}")
    text = document.text
    blocks = split_blocks(text, document.blocks)
    tokens = _token_starts(text, blocks, token_spans)
    pieces = list(_pieces(text, blocks, tokens, max(1, max_tokens - max_tokens // _PREFIX_SHARE)))
    paths = _heading_paths(text, pieces)

    @lru_cache(maxsize=64)
    def count_prefix(shown: str) -> int:
        return len(token_spans(shown + "\n"))

    def count(start: int, end: int) -> int:
        return bisect_left(tokens, end) - bisect_left(tokens, start)

    first, number = 0, first_number
    while first < len(pieces):
        shown = ""
        if prefix:
            title = "" if text.startswith(document.title, pieces[first].start) else document.title
            shown = _prefix(title, paths[first], count_prefix, max_tokens // _PREFIX_SHARE)
        room = max_tokens - (count_prefix(shown) if shown else 0)
        piece = pieces[first]
        start = piece.start
        if first and piece.kind != "heading":
            repeated = min(overlap, room - count(piece.start, piece.end))
            start = _overlap_start(text, pieces, first, tokens, repeated)
        last = first
        while last + 1 < len(pieces) and count(start, pieces[last + 1].end) <= room:
            opens_section = pieces[last + 1].kind == "heading" != pieces[last].kind
            if opens_section and 2 * count(start, pieces[last].end) >= room:
                break
            last += 1
        while first < last < len(pieces) - 1 and pieces[last].kind == "heading":
            last -= 1  # it goes with what follows
        end = pieces[last].end
        yield Chunk(document.source, number, text[start:end], start, end, document.title, paths[first], shown)
        first, number = last + 1, number + 1


def _token_starts(text: str, blocks: Sequence[Block], token_spans: TokenSpans) -> list[int]:
    """Where each token of the text begins."""
    starts: list[int] = []
    first = 0
    for number, block in enumerate(blocks):
        if number + 1 < len(blocks) and blocks[number + 1].end - blocks[first].start <= _PIECE:
            continue
        for piece in range(blocks[first].start, block.end, _PIECE):  # a single block may be longer than a piece
            shown = text[piece : min(piece + _PIECE, block.end)]
            # Byte-level tokenisers count the space before a word to it.
            starts += [
                piece + start + (end - start > 1 and shown[start].isspace())
                for start, end in token_spans(shown)
                if end > start
            ]
        first = number + 1
    return starts


def _pieces(text: str, blocks: Sequence[Block], tokens: Sequence[int], most: int) -> Iterator[Block]:
    """The blocks, those of more than `most` tokens cut between words or graphemes."""
    for block in blocks:
        start = block.start
        token = bisect_left(tokens, start)
        end_token = bisect_left(tokens, block.end)
        while end_token - token > most:
            cut = _cut(text, start, tokens[token + most])
            yield block._replace(start=start, end=start + len(text[start:cut].rstrip()))
            rest = text[cut : block.end]
            start = cut + len(rest) - len(rest.lstrip())
            token = bisect_left(tokens, start)
        yield block._replace(start=start)


def _cut(text: str, start: int, position: int) -> int:
    """The last place up to `position` where a word begins; else where a grapheme begins; after `start`."""
    low = max(start + 1, position - _LOOK_BACK)
    for at in range(position, low - 1, -1):
        if text[at - 1].isspace() and not text[at].isspace():
            return _grapheme_start(text, start, at)
    return _grapheme_start(text, start, position)


def _grapheme_start(text: str, start: int, position: int) -> int:
    """The beginning of the grapheme (a character with its accents, a flag, an emoji sequence) that holds `position`.

    One of more than `_LOOK_BACK` characters, which only an attack has, is cut.
    """
    import regex

    low = max(start, position - _LOOK_BACK)
    for match in regex.finditer(r"\X", text[low : position + 1]):
        begin, end = low + match.start(), low + match.end()
        if begin == position:
            return position
        if end > position:
            return begin if begin > start else position
    return position


def _overlap_start(text: str, pieces: Sequence[Block], first: int, tokens: Sequence[int], overlap: int) -> int:
    """Where a chunk begins that repeats up to `overlap` tokens before `pieces[first]`: at a block, else at a word."""
    start, before = pieces[first].start, pieces[first - 1]
    if overlap < 1 or before.kind == "heading":
        return start
    earliest = tokens[max(0, bisect_left(tokens, start) - overlap)]
    found = start
    while first and pieces[first - 1].start >= earliest and pieces[first - 1].kind != "heading":
        first -= 1
        found = pieces[first].start
    if found < start:
        return found
    for at in range(max(earliest, before.start + 1), start):
        if text[at - 1].isspace() and not text[at].isspace():
            return _grapheme_start(text, before.start, at)
    return start


def _heading_paths(text: str, blocks: Sequence[Block]) -> list[tuple[str, ...]]:
    """The headings above each block, the outermost first; a heading is not above itself."""
    paths: list[tuple[str, ...]] = []
    above: list[tuple[int, str]] = []
    for block in blocks:
        if block.kind == "heading":
            above = [(level, heading) for level, heading in above if level < block.level]
        paths.append(tuple(heading for _, heading in above))
        if block.kind == "heading":
            above = [*above, (block.level, " ".join(text[block.start : block.end].split())[:_HEADING_CHARACTERS])]
    return paths


def _prefix(title: str, headings: tuple[str, ...], count: Callable[[str], int], most: int) -> str:
    """Title and headings on one line; the outermost headings are left out where they are too long, then all."""
    parts = [part for part in dict.fromkeys((title, *headings)) if part]
    while parts and count(" > ".join(parts)) > most:
        parts.pop(1 if len(parts) > 1 else 0)
    return " > ".join(parts)
