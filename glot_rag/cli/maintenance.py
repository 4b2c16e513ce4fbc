"""The commands that look after an index: none of them loads a model."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from glot_rag.errors import IndexNotFoundError

Directory = Annotated[Path, typer.Argument(help="Directory of the index.")]
Destination = Annotated[Path, typer.Argument(help="A directory that is empty or does not exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ExportFormat(str, Enum):
    """What an index is exported as."""

    jsonl = "jsonl"
    parquet = "parquet"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (info, verify, delete, compact, reindex, backup):
        app.command()(command)
    app.command("export-index")(export_index)
    app.command("import-index")(import_index)


def info(directory: Directory, as_json: AsJson = False) -> None:
    """Show size and settings of an index."""
    from glot_rag.index import GlotIndex

    with GlotIndex.open(directory, read_only=True, check=False) as index:
        stats = asdict(index.stats())
    if as_json:
        typer.echo(json.dumps(stats, indent=2))
        return
    for name, value in stats.items():
        shown = f"{value:,}" if isinstance(value, int) else "-" if value is None else value
        typer.echo(f"{name + ':':15}{shown}")


def verify(directory: Directory, as_json: AsJson = False) -> None:
    """Check every checksum of an index; exit code 1 if anything is wrong. Alters nothing."""
    from glot_rag.index import GlotIndex

    with GlotIndex.open(directory, read_only=True, check=False) as index:
        report = index.verify()
    if as_json:
        typer.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=2, ensure_ascii=False))
    else:
        for problem in report.problems:
            typer.echo(problem)
        found = "all is well" if report.ok else f"{len(report.problems):,} problems"
        typer.echo(f"{report.documents:,} documents and {report.vectors:,} vectors are intact; {found}")
    if not report.ok:
        raise typer.Exit(1)


def delete(
    directory: Directory,
    names: Annotated[
        list[str], typer.Argument(help="Ids as `search --json` shows them, or files or folders with all they gave.")
    ],
) -> None:
    """Delete documents by id, or all that came from a file or a folder; exit code 1 if there is none of a name."""
    from glot_rag.index import GlotIndex

    missing = []
    with GlotIndex.open(directory) as index:
        count, ids = 0, index.ids()
        for name in names:
            # `glot-rag index` stores a file's resolved path; the source is a member of it, where it is an archive.
            path = Path(name).resolve().as_posix()
            given = {"$in": [name, path]}
            found = index.delete([name]) + index.delete(filter={"$or": [{"source": given}, {"file": given}]})
            found += index.delete([id for id in ids if id.startswith(f"{path.rstrip('/')}/")])
            if not found:
                missing.append(name)
            count += found
        typer.echo(f"{count:,} documents deleted; {len(index):,} in {directory}")
    if missing:
        typer.echo(f"Not in the index, neither as an id nor as a file or folder: {', '.join(missing)}", err=True)
        raise typer.Exit(1)


def compact(directory: Directory) -> None:
    """Give back the disk space of what was deleted."""
    from glot_rag.index import GlotIndex

    with GlotIndex.open(directory) as index:
        before = index.stats().bytes
        index.compact()
        typer.echo(f"{before:,} bytes before, {index.stats().bytes:,} after")


def reindex(
    directory: Directory,
    index_type: Annotated[str, typer.Argument(help="flat, hnsw, ivf, sq8, ivfpq or auto.")],
) -> None:
    """Search through another type of index from now on, built from the stored vectors."""
    from glot_rag.index import GlotIndex

    with GlotIndex.open(directory) as index:
        index.reindex(index_type)
        stats = index.stats()
    typer.echo(f"{stats.documents:,} documents in {stats.serving}: {stats.reason}")


def backup(directory: Directory, destination: Destination) -> None:
    """Copy an index, also while others read it and write to it."""
    from glot_rag.index import GlotIndex

    with GlotIndex.open(directory, read_only=True, check=False) as index:
        index.backup(destination)
    with GlotIndex.open(destination, read_only=True) as copy:  # with all checks
        typer.echo(f"{len(copy):,} documents in {destination}")


def export_index(
    directory: Directory,
    destination: Destination,
    format: Annotated[ExportFormat, typer.Option(help="parquet needs pyarrow.")] = ExportFormat.jsonl,
) -> None:
    """Write documents and vectors as plain files."""
    from glot_rag.index import GlotIndex, export_index

    with GlotIndex.open(directory, read_only=True, check=False) as index:
        count = export_index(index, destination, format.value)
    typer.echo(f"{count:,} documents in {destination}")


def import_index(
    source: Annotated[Path, typer.Argument(help="Directory that export-index or embed wrote.")],
    directory: Annotated[
        Path, typer.Argument(help="Of the index. Of what embed wrote also one that is there already.")
    ],
) -> None:
    """Make an index of what export-index or embed wrote; nothing is embedded again."""
    from glot_rag.index import import_index

    if not (source / "run.json").is_file():
        if not (source / "index.json").is_file():
            raise IndexNotFoundError(f"{source} is neither what export-index wrote nor what embed wrote")
        typer.echo(f"{import_index(source, directory):,} documents in {directory}")
        return
    from glot_rag.shards import import_shards, index_of_shards

    with index_of_shards(source, directory) as index:
        report = import_shards(source, index, show_progress=True)
        count = len(index)
    typer.echo(
        f"{report.chunks:,} chunks of {report.shards:,} shards imported, {report.unchanged:,} shards unchanged, "
        f"{report.removed:,} chunks removed; {count:,} in {directory}"
    )
