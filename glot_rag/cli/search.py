"""`glot-rag search`: a query's best passages, each with where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from glot_rag.checks import choose
from glot_rag.cli.options import console, index_encoder
from glot_rag.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from glot_rag.index import Hit
    from glot_rag.index.options import Mode

# Sentences of a passage -> how well each answers the query
Worth = Callable[[list[str]], Sequence[float]]
_PASSAGE = 600  # characters shown
_PER_SOURCE = 8  # chunks looked at for each document that --group shows
# What a terminal would obey, if a document or a file's name holds it, is shown as a sign; as many characters as before
_SIGNS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | dict.fromkeys(
    range(127, 160), "\ufffd"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(search)


def search(
    directory: Annotated[Path, typer.Argument(help="Directory of the index.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 5,
    mode: Annotated[
        str, typer.Option(help="hybrid (words and vectors), vector, or keyword, which loads no model.")
    ] = "hybrid",
    as_json: Annotated[bool, typer.Option("--json", help="Print the hits as a JSON list.")] = False,
    group: Annotated[bool, typer.Option("--group", help="The best passage of each document only.")] = False,
    encoder: Annotated[
        Path | None, typer.Option(help="Embed with this saved or exported encoder; the index's own if not given.")
    ] = None,
) -> None:
    """Search an index that `glot-rag index` made."""
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import GlotIndex
    from glot_rag.index.keywords.analysis import analyzer
    from glot_rag.index.options import MODES

    choose("--mode", mode, MODES)
    if not query.strip():
        raise InputError("the query is empty: say what to look for")
    GlotIndex.open(directory, read_only=True, check=False).close()  # a wrong path is told before a model is loaded
    chosen = None
    if mode != "keyword":
        chosen = GlotEncoder.from_pretrained(encoder) if encoder else index_encoder(directory)
    with GlotIndex.open(directory, encoder=chosen, read_only=True) as opened:
        hits = opened.search(query, k=k * _PER_SOURCE if group else k, mode=cast("Mode", mode))
        language, empty = opened.manifest.language, not len(opened)
    if group:
        best: dict[str, Hit] = {}
        for hit in hits:
            best.setdefault(str(hit.metadata.get("document") or hit.metadata.get("source", hit.id)), hit)
        hits = list(best.values())[:k]
    if as_json:
        records = [{"id": h.id, "score": h.score, "text": h.text, "metadata": dict(h.metadata)} for h in hits]
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    screen = console()
    if not hits:
        screen.print("Nothing found: " + ("the index is empty." if empty else "no document has one of these words."))

    def worth(sentences: list[str]) -> Sequence[float]:
        """How well each answers the query: by vectors where a model is loaded, else by the words they share."""
        if chosen is not None:
            cosines: list[float] = (chosen.encode_documents(sentences) @ chosen.encode_queries([query])[0]).tolist()
            return cosines
        words = analyzer(language)
        asked = set(words.query(query))
        return [float(len(asked & set(words.query(sentence)))) for sentence in sentences]

    for rank, hit in enumerate(hits, start=1):
        for line in _shown(rank, hit, worth):
            screen.print(line, soft_wrap=True)  # the terminal wraps: a path that is copied stays whole
        screen.print()


def _shown(rank: int, hit: Hit, worth: Worth) -> list[Text]:
    """Title, source with the lines, headings, and the passage with the sentence that answers best in bold."""
    from rich.text import Text

    metadata = hit.metadata
    source = str(metadata.get("source", hit.id))
    title = str(metadata.get("title") or Path(source).name).translate(_SIGNS)
    place, document = source, str(metadata.get("document", ""))  # a row, a message
    if document:
        place = document if document.startswith(source) else f"{source}, {document}"
    lines, headings = metadata.get("lines"), metadata.get("headings")  # anything, where a file has such a column
    if isinstance(lines, list):
        place += ":" + "-".join(map(str, lines))
    elif "page" in metadata:
        place += f", page {metadata['page']}"
    elif "start" in metadata and "end" in metadata:
        place += f" [{metadata['start']}:{metadata['end']}]"
    above = " > ".join(str(each) for each in headings if each != title) if isinstance(headings, list) else ""
    about = [Text.assemble((f"{rank}. {title}", "bold"), (f"  {hit.score:.3f}", "dim"))]
    about.append(Text(f"{place}{f'  ({above})' if above else ''}".translate(_SIGNS), style="dim"))
    return [*about, _passage(hit.text, worth)]


def _passage(text: str, worth: Worth) -> Text:
    from rich.text import Text

    from glot_rag.documents import split_blocks

    spans = [(block.start, block.end) for block in split_blocks(text)]
    shown = text.translate(_SIGNS)
    if len(spans) < 2:
        return Text(shown[:_PASSAGE])
    values = worth([text[start:end] for start, end in spans])
    start, end = spans[max(range(len(spans)), key=values.__getitem__)]
    first = max(0, min(start - _PASSAGE // 2, len(text) - _PASSAGE))
    passage = Text(
        ("… " if first else "") + shown[first : first + _PASSAGE] + (" …" if first + _PASSAGE < len(text) else "")
    )
    shift = 2 * bool(first) - first
    passage.stylize("bold", max(0, start + shift), end + shift)
    return passage
