"""`glot-rag explain`: a page that shows what a document's vector is made of, and why it matches a query."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import in_a_folder
from glot_rag.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    text: Annotated[str, typer.Argument(help="A file of any format that is read, or the text itself.")],
    out: Annotated[Path, typer.Option(help="The page (HTML) to write.", callback=in_a_folder)],
    query: Annotated[str | None, typer.Option(help="Show what each word adds to this query's score.")] = None,
) -> None:
    """Write a page that shows which words make a document's vector, and what was dropped as noise and why."""
    from glot_rag.encoder.base import GlotEncoder

    document = _text(text)
    encoder = GlotEncoder.from_pretrained("minilm")
    evidence = encoder.explain(document, query)
    mean = encoder.with_pooling("mean").explain(document, query)  # type: ignore[attr-defined]  # it runs through torch
    evidence.save_html(out, mean)
    dropped = "" if evidence.denoised is None else f"; {evidence.denoised.kept:.0%} of the words kept"
    score = "" if evidence.score is None else f"; score {evidence.score:.3f}, mean pooling {mean.score:.3f}"
    typer.echo(f"{out}{dropped}{score}")


def _text(given: str) -> str:
    try:
        is_file, is_folder = Path(given).is_file(), Path(given).is_dir()
    except (OSError, ValueError):  # longer than a name can be
        is_file = is_folder = False
    if is_folder or not given.strip():
        raise InputError(
            f"{given!r} is {'a folder' if is_folder else 'empty'}: give one file's path, or a text in quotes"
        )
    if not is_file:
        if "\n" not in given and " " not in given.strip() and ("/" in given or Path(given).suffix):
            raise InputError(f"there is no file {given}: give a file's path, or the text itself in quotes")
        return given
    from glot_rag.documents import read_documents

    documents = read_documents([given])
    texts = [each.text for each in documents]
    if not texts:
        raise InputError("; ".join([f"{given} holds no text", *documents.report.lines()]))
    return "\n".join(texts)
