"""The command line, `glot-rag`: the commands are in the modules beside this one.

Results go to stdout, progress to stderr. Exit code 0 on success, 2 on bad arguments or bad input with one message.
"""

from __future__ import annotations

import io
import sys
import warnings

import typer

from glot_rag.cli import (
    denoise,
    doctor,
    embed,
    evaluate,
    explain,
    export,
    index,
    maintenance,
    paper,
    search,
    serve,
    train,
)
from glot_rag.errors import GlotError, IndexRecoveryWarning

app = typer.Typer(
    name="glot-rag",
    help="Embeddings that survive noisy documents: token-graph pooling over a frozen transformer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (index, embed, search, denoise, explain, evaluate, train, export, serve, maintenance, paper, doctor):
    commands.register(app)


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows its escape
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore", IndexRecoveryWarning)  # the log says the same, without a line of the source
    try:
        app()
    except GlotError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # `glot-rag … | head`: nobody reads on
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that must not be written to
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(2)
