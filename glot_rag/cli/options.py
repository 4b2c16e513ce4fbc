"""Options that several commands have, and where they print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glot_rag.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from glot_rag.encoder.base import GlotEncoder


def in_a_folder(path: Path | None) -> Path | None:
    """A file that is to be written: that its folder is missing is told at once, not after minutes of work."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}")
    return path


ENCODER_HELP = "minilm, mpnet, e5, smollm2, a hub id, a directory, a .gguf file, a saved encoder or an exported one;"
Backbone = Annotated[
    str,
    typer.Option(
        "--backbone", help="minilm, mpnet, e5, smollm2, a hub id, a directory, a .gguf file or a saved encoder."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]


def console(stderr: bool = False) -> Console:
    """The terminal: results go to stdout, progress to stderr."""
    from rich.console import Console

    return Console(stderr=stderr)


def index_encoder(directory: Path) -> GlotEncoder:
    """The encoder that was saved with an index.

    Raises:
        InputError: There is none.
    """
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.encoder.loading import is_bundle

    saved = directory / "encoder"
    if not is_bundle(saved) and not (saved / "encoder.json").is_file():
        raise InputError(
            f"{directory} does not say which encoder made it (no encoder/encoder.json, which `glot-rag index` writes): "
            f"open it from Python with GlotIndex.open(path, encoder=...)"
        )
    return GlotEncoder.from_pretrained(saved)
