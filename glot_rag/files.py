"""Files on disk: replaced whole, flushed to the disk, and JSON records that say what format they are."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glot_rag.errors import BundleError, InputError

_MAX_RECORD_BYTES = 1 << 20
_MAX_WEIGHT_BYTES = 1 << 30


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by `data`: whoever opens it sees all of the old content or all of the new.

    Safe between threads and processes that write the same file: each has a temporary file of its own.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a file that is written and synced its name; both names are in one directory."""
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make names in a directory (a new file, a rename) survive a power cut."""
    if os.name == "nt":  # Windows cannot open a directory, and NTFS journals its names
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Fill a directory under a temporary name; it gets its own name when the block ends without an error.

    So it is there as a whole or not at all. `directory` must not exist or be empty.

    Raises:
        InputError: there is something at `directory`.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(f"{directory} exists and is not an empty directory; choose another")
    parent = directory.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f".{directory.name}.{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        sync_directory(temporary)
        if directory.exists():
            directory.rmdir()
        os.rename(temporary, directory)
        sync_directory(parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def replace_directory(new: Path, directory: Path) -> None:
    """Put a filled directory, on the same file system, in the place of another one, which is removed.

    The old one is moved aside first and removed last: if the new one cannot be put in place, the old one is back.

    Args:
        new: the directory with the new content.
        directory: the name that it gets; there may be a directory of that name.

    Raises:
        OSError: a rename failed; `directory` is as it was.
    """
    parent = directory.absolute().parent
    old = parent / f".{directory.name}.{secrets.token_hex(8)}.old"
    replaces = directory.exists()
    sync_tree(new)
    if replaces:
        os.rename(directory, old)
    try:
        os.rename(new, directory)
    except BaseException:
        if replaces:
            os.rename(old, directory)
        raise
    sync_directory(parent)
    if replaces:
        shutil.rmtree(old, ignore_errors=True)


def sync_tree(directory: Path) -> None:
    """Flush every file below a directory, and the directory's names, to the disk."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(Path(folder, name), "rb+" if os.name == "nt" else "rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def read_json_record(path: Path, expected_format: str, newest_version: int) -> dict[str, Any]:
    """Read a bundle's JSON record and check its format and version.

    Raises:
        BundleError: it is missing, damaged, of another format or newer than this library.
    """
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise BundleError(f"{path} is larger than {_MAX_RECORD_BYTES} bytes: not a {expected_format} record")
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): expected a {expected_format} record") from error
    except (ValueError, RecursionError) as error:  # too deeply nested is damaged, too
        raise BundleError(f"{path} is not JSON ({error}): the bundle is damaged, make it again") from error
    found = record.get("format") if isinstance(record, dict) else None
    if found != expected_format:
        raise BundleError(f"{path} says format {found!r}, expected {expected_format!r}")
    version = record.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= newest_version:
        raise BundleError(
            f"{path} has format version {version!r}; this glot-rag reads 1 to {newest_version}: upgrade it"
        )
    return dict(record)


def read_checked(path: Path, sha256: object, record: str) -> bytes:
    """Read a file of weights whose checksum stands in a record.

    Args:
        path: the file.
        sha256: what the record says of it.
        record: the record's name, for messages.

    Raises:
        BundleError: it is missing, larger than 1 GiB, or has another checksum.
    """
    try:
        if path.stat().st_size > _MAX_WEIGHT_BYTES:
            raise BundleError(f"{path} is larger than {_MAX_WEIGHT_BYTES} bytes: these are no weights of a head")
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BundleError(f"{path} has SHA-256 {found}, {record} says {sha256}: it is damaged")
    return data
