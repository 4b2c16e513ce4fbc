"""`glot-rag embed` and `glot-rag push`: a corpus that takes more than one process, and shards for other databases."""

from __future__ import annotations

import importlib
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glot_rag.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from glot_rag.shards import Engine


class EngineName(str, Enum):
    """What runs the work."""

    local = "local"
    ray = "ray"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(embed)
    app.command()(push)


def embed(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders, which every worker must be able to open.")],
    out: Annotated[Path, typer.Option(help="Directory of the run; a run that was cut off goes on.")],
    backbone: Annotated[str | None, typer.Option(help="As for `index`; minilm if not given.")] = None,
    denoise: Annotated[bool | None, typer.Option("--denoise/--no-denoise", help="As for `index`.")] = None,
    engine: Annotated[
        EngineName, typer.Option(help="ray: the cluster at RAY_ADDRESS, or one here.")
    ] = EngineName.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of ray; as many as there is room for if not given.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0.0, help="Of each worker, e.g. 1 or 0.5.")] = 0.0,
) -> None:
    """Read, denoise, chunk and embed a corpus into Parquet shards, for `import-index` and `push`."""
    from glot_rag.shards import embed_corpus

    if engine is EngineName.local and (workers is not None or gpus):
        raise InputError("--workers and --gpus go with --engine ray; one process runs the local engine")
    running = _ray(workers, gpus) if engine is EngineName.ray else None
    dtype = "bfloat16" if gpus else None
    report = embed_corpus(paths, out, backbone, denoise=denoise, dtype=dtype, engine=running, show_progress=True)
    for line in report.lines():
        typer.echo(line, err=True)
    typer.echo(f"{report.chunks:,} chunks in {report.shards:,} shards in {out}")
    if not report.chunks and not report.removed:
        raise InputError(f"no text in {', '.join(map(str, paths))}: nothing to embed")


def push(
    source: Annotated[Path, typer.Argument(help="Directory that `embed` wrote.")],
    store: Annotated[str, typer.Argument(help="MODULE:FUNCTION, which takes LangChain Embeddings and gives a store.")],
) -> None:
    """Send shards to any vector store of LangChain's; a second run replaces, it does not double.

    FUNCTION is in a module, here or installed: def make(embeddings): return QdrantVectorStore(client, "pages", …)
    """
    module, colon, name = store.partition(":")
    if not (module and colon and name):
        raise InputError(f"the store must be MODULE:FUNCTION, such as my_store:make, got {store!r}")
    sys.path.insert(0, "")  # the working directory, as `python -m` has it
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{store}: {error}") from error
    pushing = importlib.import_module("langchain_glot.pushing")  # built on this library, so looked up only here
    count = pushing.push_shards(source, make, show_progress=True)
    typer.echo(f"{count:,} chunks pushed to {store}")


def _ray(workers: int | None, gpus: float) -> Engine:
    try:
        found: Engine = importlib.import_module("ray_glot").RayEngine(workers, gpus=gpus)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "ray", "ray") from error
    return found
