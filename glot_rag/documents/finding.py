"""Which files there are below some paths, and the hash that tells whether one has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import NoReturn

from glot_rag.documents.loaders import LIBRARIES, LOADERS, LOADERS_VERSION
from glot_rag.errors import DatasetError

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

# What Python, package managers and Sphinx (scripts and styles; its pages' sources) put beside people's own files
_LEFT_OUT = frozenset(("__pycache__", "node_modules", "_static", "_sources"))
# What Hugging Face's `save_to_disk` puts beside the rows
_ABOUT_ROWS = frozenset(("dataset_info.json", "state.json"))
# What says of a folder that glot-rag wrote it: an index, one exported, a run of `embed`, lists, an encoder, a denoiser
_RECORDS = ("index.json", "run.json", "lists.json", "encoder.json", "onnx.json", "denoiser.json")
_MARKS = (b'"glot-rag/', b'"glot_rag_export"')
_INDEX = ("store.sqlite", "store.commit")
_BLOCK = 1 << 20  # bytes hashed at a time


def find_files(paths: Paths) -> list[str]:
    """The files in files and folders: absolute paths with `/`, sorted, each once, symbolic links resolved.

    Hidden files and folders are left out, what a saved data set says of itself, and what glot-rag wrote (an index in
    one of the folders, say), unless that is given itself; links to folders are not followed
    (they may form loops), and what is not a regular file (a pipe, say) is left alone.

    Raises:
        DatasetError: A path that does not exist, or a folder that cannot be read.
    """
    found: set[str] = set()
    for path in _each(paths):
        root = os.path.realpath(path)
        if os.path.isdir(root):
            found.update(_walk(root))
        elif os.path.isfile(root):
            found.add(Path(root).as_posix())
        else:
            what = "it is neither a file nor a folder" if os.path.exists(path) else "there is no such file or folder"
            raise DatasetError(f"{os.fspath(path)}: {what}")
    return sorted(found)


def named_files(paths: Paths) -> frozenset[str]:
    """Those of the paths that are files and no folders, as `find_files` gives them."""
    return frozenset(Path(os.path.realpath(path)).as_posix() for path in _each(paths) if os.path.isfile(path))


def _each(paths: Paths) -> Iterable[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else paths


def _walk(root: str) -> Iterator[str]:
    def fail(error: OSError) -> NoReturn:
        raise DatasetError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for folder, folders, names in os.walk(root, onerror=fail):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _LEFT_OUT and not _written_here(os.path.join(folder, name))
        ]
        about = {"dataset_dict.json"} | (_ABOUT_ROWS if any(name.endswith(".arrow") for name in names) else set())
        for name in set(names) - about:
            path = os.path.join(folder, name)
            if os.path.islink(path) and os.path.exists(path):
                path = os.path.realpath(path)
            # A broken link counts as a file, so that reading it says so; a pipe or a socket would block.
            if not name.startswith(".") and (os.path.isfile(path) or not os.path.exists(path)):
                yield Path(path).as_posix()


def _written_here(folder: str) -> bool:
    """Whether a folder holds what glot-rag wrote."""
    if all(os.path.isfile(os.path.join(folder, name)) for name in _INDEX):
        return True
    for name in _RECORDS:
        try:
            with open(os.path.join(folder, name), "rb") as stream:
                head = stream.read(200)
                if any(mark in head for mark in _MARKS):
                    return True
        except OSError:
            continue
    return False


def file_hash(path: str) -> str:
    """A hash of a file's bytes and of the version of what reads it; empty for a file that cannot be opened.

    A newer loader, or a newer library behind it, may find another text in the same bytes.
    """
    digest = hashlib.sha256(_readers(PurePosixPath(path).suffix.lower()).encode())
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


@cache
def _readers(suffix: str) -> str:
    """The versions of the loaders and of the libraries that read files of a suffix; an archive may hold any kind."""
    every = tuple(name for names in LIBRARIES.values() for name in names)
    names = LIBRARIES.get(suffix, () if suffix in LOADERS else every)
    return " ".join([str(LOADERS_VERSION), *(f"{name}={_version(name)}" for name in dict.fromkeys(names))])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
