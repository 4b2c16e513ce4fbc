"""A corpus into shards of chunks with vectors: read, fitted to, embedded; a run that was cut off goes on.

A run's directory holds `run.json` (what decides the vectors), the saved `encoder/` and `denoiser/`, `documents/` (what
was read) and `chunks/` (what was made of it): see `glot_rag.shards.format`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from glot_rag.documents.finding import Paths, find_files
from glot_rag.documents.loaders import HtmlText, ReadOptions
from glot_rag.documents.reading import ReadReport, SetAside
from glot_rag.encoder.loading import denoiser_of
from glot_rag.errors import DatasetError, FingerprintMismatchError, IndexLockedError, InputError
from glot_rag.files import new_directory, read_json_record, sync_tree, write_atomically
from glot_rag.index.chunking import NoiseReport
from glot_rag.progress import bar
from glot_rag.shards.chunk_shards import EmbedShard
from glot_rag.shards.embedding import EmbedBatch, load_denoiser, load_encoder
from glot_rag.shards.engine import Engine, LocalEngine
from glot_rag.shards.fitting import COUNTS, fit_over
from glot_rag.shards.format import (
    CHUNKS,
    DOCUMENTS,
    ShardRecord,
    arrow,
    manifests,
    read_columns,
    remove_shard,
)
from glot_rag.shards.parts import ReadPart, document_shards, part_records, plan_parts, remove_part

if TYPE_CHECKING:
    from glot_rag.encoder.base import GlotEncoder

RECORD, RECORD_FORMAT, RECORD_VERSION = "run.json", "glot-rag/embedding", 1
ENCODER, DENOISER, LOCK = "encoder", "denoiser", "run.lock"
logger = logging.getLogger(__name__)


@dataclass
class EmbedReport:
    """What became of a corpus.

    Attributes:
        read: what was read in this run, and what was not.
        unchanged: files that were read by an earlier run.
        noise: what was dropped as noise, over all shards that this run embedded.
        shards: shards of chunks that are there now.
        chunks: chunks in them.
        embedded: chunks that this run made.
        recomputed: chunks that were made twice, as the first maker died.
        set_aside: documents that could not be embedded.
        removed: shards of files that changed or are gone.
        seconds: of embedding.
    """

    read: ReadReport = field(default_factory=ReadReport)
    unchanged: int = 0
    noise: NoiseReport = field(default_factory=NoiseReport)
    shards: int = 0
    chunks: int = 0
    embedded: int = 0
    recomputed: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    removed: int = 0
    seconds: float = 0.0

    def lines(self, most: int = 10) -> list[str]:
        """The report for people."""
        shown = [*self.read.lines(most), *self.noise.lines(most)]
        if self.set_aside:
            shown.append(f"{len(self.set_aside):,} documents could not be embedded:")
            shown += [f"  {place}: {reason}" for place, reason in self.set_aside[:most]]
            shown += [f"  … and {len(self.set_aside) - most:,} more"] * (len(self.set_aside) > most)
        if self.recomputed:
            shown.append(
                f"{self.recomputed:,} chunks were made again, as what made them died before their shard was whole"
            )
        speed = f" ({self.embedded / self.seconds:,.0f} a second)" if self.seconds and self.embedded else ""
        unchanged = f"; {self.unchanged:,} files unchanged" if self.unchanged else ""
        shown.append(f"{self.embedded:,} chunks embedded{speed}; {self.chunks:,} in {self.shards:,} shards{unchanged}")
        return shown


def embed_corpus(
    paths: Paths,
    out: str | os.PathLike[str],
    encoder: str | os.PathLike[str] | GlotEncoder | None = None,
    *,
    denoise: bool | None = None,
    chunk_tokens: int | None = None,
    keep_noise: bool | None = None,
    html: HtmlText | None = None,
    dtype: str | None = None,
    engine: Engine | None = None,
    show_progress: bool = False,
) -> EmbedReport:
    """Read a corpus, drop its noise, cut and embed it, and write Parquet shards that `import_shards` takes.

    Whatever ends a run, the next one goes on: what has a manifest is not made again. Files that changed are read again;
    those of an earlier run that are not among the paths stay.

    Args:
        paths: files and folders of any format that is read; every worker must be able to open them.
        out: the run's directory. What it was made with holds for later runs: leave the settings out then.
        encoder: a name, a directory, or a `GlotEncoder`; None is "minilm", with mean pooling where noise is dropped.
        denoise: drop noise, also what recurs in the corpus where it has 50 documents; None is True.
        chunk_tokens: tokens a chunk; None is 248, or what the encoder reads if that is less.
        keep_noise: keep chunks that are mostly noise, too; None is False.
        html: text of web pages: "main" (without navigation) or "all"; None is "main".
        dtype: "float32", "float16" or "bfloat16", of all workers; None is what the encoder chooses here. For GPUs say
            "bfloat16", unless this machine has one, too.
        engine: runs the work; None is this process. `ray_glot.RayEngine` runs a cluster.
        show_progress: draw progress bars on stderr.

    Raises:
        InputError: a setting that cannot be used, or `out` holds something else.
        FingerprintMismatchError: `out` was made with another encoder or other settings.
        DatasetError: a path that does not exist, a damaged shard, or two documents with one id.
        IndexLockedError: another run writes to `out`.
        MissingExtraError: pyarrow is not installed.
    """
    arrow()  # refused before anything is written
    engine = engine or LocalEngine()
    files = find_files(paths)
    folder = Path(out).absolute()
    report = EmbedReport()
    with _locked(folder):
        settings = _settings(folder, encoder, denoise, chunk_tokens, keep_noise, html, dtype)
        _sweep(folder)
        with bar(disable=not show_progress) as progress:
            watch = _Watch(progress)
            shards = _read(folder, files, settings.read, engine, report, watch)
            embed = _embedding(folder, settings, shards, engine)
            _embed(folder, embed, shards, engine, report, watch)
    return report


@dataclass(frozen=True)
class _Settings:
    """What a run was asked for, and what it keeps."""

    denoise: bool
    read: ReadOptions
    chunk_tokens: int | None
    keep_noise: bool
    dtype: str | None


def _settings(
    folder: Path,
    encoder: str | os.PathLike[str] | GlotEncoder | None,
    denoise: bool | None,
    chunk_tokens: int | None,
    keep_noise: bool | None,
    html: HtmlText | None,
    dtype: str | None,
) -> _Settings:
    """Those of the directory, or new ones; the encoder is saved there.

    Raises:
        FingerprintMismatchError: the directory was made with others than are asked for.
    """
    asked: dict[str, Any] = {
        "denoise": denoise,
        "chunk_tokens": chunk_tokens,
        "keep_noise": keep_noise,
        "html": html,
        "dtype": dtype,
    }
    if (folder / RECORD).is_file():
        kept = read_json_record(folder / RECORD, RECORD_FORMAT, RECORD_VERSION)
        wrong = [name for name, value in asked.items() if value is not None and value != kept.get(name)]
        if wrong:
            raise FingerprintMismatchError(
                f"{folder} was made with {wrong[0]}={kept.get(wrong[0])!r}, not {asked[wrong[0]]!r}; leave it out, or "
                "choose another directory"
            )
        if encoder is not None:
            found = _load(encoder, kept["denoise"]).fingerprint
            if found != kept["encoder"]:
                raise FingerprintMismatchError(
                    f"{folder} was made by encoder {kept['encoder']!r}, the one in hand is {found!r}; leave it out, or "
                    "choose another directory"
                )
        asked = {name: kept[name] for name in asked}
    else:
        asked |= {"denoise": denoise is not False, "keep_noise": bool(keep_noise), "html": html or "main"}
        loaded = _load("minilm" if encoder is None else encoder, bool(asked["denoise"]))
        asked["dtype"] = dtype or _dtype_of(loaded)
        (folder / ENCODER).mkdir(parents=True, exist_ok=True)
        loaded.save(folder / ENCODER)
        sync_tree(folder / ENCODER)
        load_encoder.cache_clear()
        EmbedBatch(str(folder / ENCODER), None, chunk_tokens, dtype=asked["dtype"]).fingerprints  # noqa: B018 (refuses what cannot be used)
        record = {"format": RECORD_FORMAT, "format_version": RECORD_VERSION, "encoder": loaded.fingerprint, **asked}
        for kind in (DOCUMENTS, CHUNKS):
            (folder / kind).mkdir(exist_ok=True)
        write_atomically(folder / RECORD, json.dumps(record, indent=2).encode() + b"\n")
    read = ReadOptions(asked["html"] or "main")
    return _Settings(bool(asked["denoise"]), read, asked["chunk_tokens"], bool(asked["keep_noise"]), asked["dtype"])


def _load(encoder: str | os.PathLike[str] | GlotEncoder, denoise: bool) -> GlotEncoder:
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.encoder.loading import is_bundle

    if not isinstance(encoder, (str, os.PathLike)):
        return encoder
    saved = is_bundle(encoder) or (Path(encoder) / "encoder.json").is_file()
    # GLOT would look for noise in clean chunks once more.
    return GlotEncoder.from_pretrained(encoder, pooling="mean" if denoise and not saved else None, denoise=False)


def _dtype_of(encoder: GlotEncoder) -> str | None:
    """What an encoder computes in; None for an exported one, which has it built in.

    A process chooses by a measurement, so that two could choose differently, and vectors would differ in their third
    digit: the choice of one holds for all.
    """
    found = getattr(getattr(encoder, "backbone", None), "dtype", None)
    return None if found is None else str(found).removeprefix("torch.")


def _read(
    folder: Path, files: Sequence[str], options: ReadOptions, engine: Engine, report: EmbedReport, watch: _Watch
) -> list[ShardRecord]:
    """Read what is not read yet. Returns all shards of documents."""
    known = {record.name: record for record in part_records(folder)}
    # A part of which some files are given is planned anew with all of its files that are still there.
    given = set(files)
    touched = [key for key, record in known.items() if given & set(record.made_from["files"])]
    given |= {file for key in touched for file in known[key].made_from["files"] if os.path.exists(file)}
    parts = plan_parts(sorted(given))
    hashes = {
        key: record.made_from["hashes"]
        for key, record in known.items()
        if all(shard.file(folder).is_file() for shard in document_shards(record))
    }
    items = [{"key": part.key, "files": list(part.files), "known": hashes.get(part.key)} for part in parts]
    read = {"folder": str(folder), "options": {**asdict(options), "strict": False}}
    for done in watch(engine.map(ReadPart, read, items), "reading", len(items), "documents"):
        report.unchanged += done["unchanged"]
        report.read.files += done.get("files", 0)
        report.read.documents += done.get("documents", 0)
        report.read.set_aside += [SetAside(*each) for each in done.get("set_aside", ())]
        report.read.unknown += Counter(done.get("unknown", {}))
    for key in set(touched) - {part.key for part in parts}:
        remove_part(folder, key)
    shards = sorted(
        (shard for record in part_records(folder) for shard in document_shards(record)), key=lambda shard: shard.name
    )
    _check_unique(folder, shards)
    return shards


def _check_unique(folder: Path, shards: Sequence[ShardRecord]) -> None:
    """Refuse two documents of one id, of whose chunks one would replace the other's."""
    hashes = [
        np.fromiter(map(hash, columns["id"]), np.int64, len(columns["id"]))
        for shard in shards
        for columns in read_columns(folder, shard, ["id"])
    ]
    values, counts = np.unique(np.concatenate([np.empty(0, np.int64), *hashes]), return_counts=True)
    twice = set(values[counts > 1].tolist())
    seen: dict[str, str] = {}
    for shard in shards if twice else ():
        for columns in read_columns(folder, shard, ["id", "file"]):
            for id, file in zip(columns["id"], columns["file"], strict=True):
                if id in seen:
                    raise DatasetError(
                        f"two documents have the id {id!r}, in {seen[id]} and {file}: change one of them"
                    )
                if hash(id) in twice:
                    seen[id] = file


def _embedding(folder: Path, settings: _Settings, shards: Sequence[ShardRecord], engine: Engine) -> dict[str, Any]:
    """The arguments of `EmbedBatch`; the denoiser is fitted and saved first, where it is not there yet."""
    if settings.denoise and not (folder / DENOISER).is_dir():
        fitted = fit_over(folder, shards, denoiser_of(folder / ENCODER), engine)
        with new_directory(folder / DENOISER) as new:
            fitted.save(new)
            sync_tree(new)
        load_denoiser.cache_clear()
    return {
        "encoder": str(folder / ENCODER),
        "denoiser": str(folder / DENOISER) if settings.denoise else None,
        "chunk_tokens": settings.chunk_tokens,
        "keep_noise": settings.keep_noise,
        "dtype": settings.dtype,
    }


def _embed(
    folder: Path,
    embed: dict[str, Any],
    shards: Sequence[ShardRecord],
    engine: Engine,
    report: EmbedReport,
    watch: _Watch,
) -> None:
    made = {record.name: record for record in manifests(folder, CHUNKS)}
    current = {shard.name: shard for shard in shards}
    for name in set(made) - set(current):
        remove_shard(folder, CHUNKS, name)
        report.removed += 1
    waiting = [
        {"name": shard.name, "rows": shard.rows, "sha256": shard.sha256}
        for shard in shards
        if shard.name not in made
        or made[shard.name].made_from["documents"] != shard.sha256
        or not made[shard.name].file(folder).is_file()
    ]
    settings = {"folder": str(folder), "embed": embed}
    started = time.monotonic()
    for done in watch(engine.map(EmbedShard, settings, waiting), "embedding", len(waiting), "rows"):
        report.embedded += done["rows"]
        report.recomputed += done["recomputed"]
        report.set_aside += [SetAside(*each) for each in done["set_aside"]]
        for name in ("words", "words_dropped", "blocks", "blocks_dropped", "chunks_dropped"):
            setattr(report.noise, name, getattr(report.noise, name) + done[name])
    report.seconds = time.monotonic() - started
    found = manifests(folder, CHUNKS)
    missing = set(current) - {record.name for record in found}
    if missing:
        raise DatasetError(f"{len(missing)} shards were not made, the first is {min(missing)}; run the command again")
    report.shards, report.chunks = len(found), sum(record.rows for record in found)


class _Watch:
    """Passes reports on and shows how far a phase is, and how fast."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def __call__(
        self, reports: Iterable[dict[str, Any]], what: str, total: int, counted: str
    ) -> Iterator[dict[str, Any]]:
        task = self._progress.add_task(what, total=total)
        started, count = time.monotonic(), 0
        for done in reports:
            count += done.get(counted, 0)
            speed = count / max(time.monotonic() - started, 1e-3)
            self._progress.update(task, advance=1, description=f"{what}, {speed:,.0f} {_NAMES[counted]}/s")
            logger.debug("%s: %s", what, done)
            yield done


_NAMES = {"documents": "documents", "rows": "chunks"}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One run at a time."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / LOCK).exists())):
        raise InputError(f"{folder} holds something else than a run of `glot-rag embed`: choose another directory")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IndexLockedError(f"another run writes to {folder}; wait for its end") from None
    try:
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    """Remove what writers left that died."""
    for path in [*(folder / DOCUMENTS).glob(".*.tmp"), *(folder / CHUNKS).glob(".*.tmp")]:
        path.unlink(missing_ok=True)
    if (folder / COUNTS).is_dir():
        for path in (folder / COUNTS).iterdir():
            path.unlink()
