"""`glot-rag serve`: the HTTP server and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import ENCODER_HELP


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    index: Annotated[
        Path | None, typer.Option(help="Index to search; made if missing. Embeddings alone without.")
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"{ENCODER_HELP} the index's own, or minilm, if not given.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8_000,
    keys: Annotated[
        Path | None, typer.Option(help="File of lines `read SHA256` or `write SHA256`, one a key. Open to all without.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Change nothing: another process may write.")] = False,
) -> None:
    """Serve embeddings to OpenAI's contract, search, denoising, and a page to look at. Ctrl-C ends it."""
    from glot_rag.serving.server import load_app, run

    app = load_app(index, model, host=host, keys=keys, read_only=read_only)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{shown}:{port}/  (API: /docs; Ctrl-C ends it)", err=True)
    run(app, host, port)
