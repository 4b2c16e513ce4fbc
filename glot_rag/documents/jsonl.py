"""JSON Lines, plain or gzipped: the reader for training texts and retrieval collections."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from glot_rag.errors import DatasetError

_BOM = b"\xef\xbb\xbf"


def read_lines(path: Path, hint: str = "") -> Iterator[tuple[str, int, str]]:
    """The lines of a text file that are not blank.

    Args:
        path: a UTF-8 file, gzipped if its name ends in `.gz`; a byte-order mark at its head is skipped.
        hint: the way out, for the message about a file that cannot be read.

    Yields:
        The place as `file:line`, the byte at which the line starts, and its text without the line end.

    Raises:
        DatasetError: the file cannot be read, or a line is not UTF-8.
    """
    number = start = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                mark = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
                text = line[mark:]
                if text.strip():
                    yield f"{path}:{number}", start + mark, text.decode("utf-8").rstrip("\r\n")
                start += len(line)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:{number} is not UTF-8 text: {error}") from error
    except (OSError, EOFError, zlib.error) as error:  # the latter two: a gzip file that is cut off or damaged
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path} cannot be read: {reason}{'. ' * bool(hint)}{hint}") from error


def parse_json(text: str) -> Any:
    """Any JSON value. NaN and Infinity, which Python's own parser takes, are no JSON.

    Raises:
        DatasetError: the text is not JSON, or is nested too deeply.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise DatasetError("this JSON is nested too deeply to read") from None
    except ValueError as error:  # also a number of more digits than Python reads
        raise DatasetError(f"not JSON: {error}") from None


def parse_object(line: str, place: str) -> dict[str, Any]:
    """A line of JSON Lines.

    Args:
        line: its text.
        place: where it stands, for messages.

    Raises:
        DatasetError: the line is no JSON, or no object.
    """
    try:
        value = parse_json(line)
    except DatasetError as error:
        raise DatasetError(f"{place}: {error}") from None
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: expected a JSON object, got {line.strip():.80}")
    return value


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file, plain or gzipped, each with its place as `file:line`.

    Raises:
        DatasetError: the file cannot be read, or a line is not UTF-8 or no JSON object.
    """
    for place, _, line in read_lines(path):
        yield place, parse_object(line, place)


def shortened(record: dict[str, Any]) -> str:
    """The beginning of an object, for messages."""
    return json.dumps(record, ensure_ascii=False)[:80]
