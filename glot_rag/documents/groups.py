"""The group of a document, read from its metadata: who sent it, the site it is from, or the folder it lies in.

What recurs within a group (a site's menu, a sender's disclaimer) is noise there: see `Denoiser.fit`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from urllib.parse import urlsplit

_SENDER = ("from", "sender")
_PLACE = ("url", "source", "link", "file_path", "path", "file")  # as loaders of all three frameworks name it
_SEPARATORS = re.compile(r"[/\\]")


def group_of(metadata: Mapping[str, object]) -> str:
    """The sender's address, else the host of a URL, else the folder of a path; an empty text where there is none.

    Args:
        metadata: of a document; `from` and `sender` are looked at first, then `url`, `source`, `link`, `file_path`,
            `path` and `file`.
    """
    for key in _SENDER:
        address = parseaddr(str(metadata.get(key) or ""))[1]
        if "@" in address:
            return address.lower()
    places = [place for key in _PLACE if (place := _text(metadata.get(key)))]
    hosts = (_host(place) for place in places)
    folders = (_folder(place) for place in places)
    return next(filter(None, hosts), "") or next(filter(None, folders), "")


def groups_of(metadata: Sequence[Mapping[str, object]], key: str | None = None) -> list[str] | None:
    """The group of each of N documents, as `Denoiser.fit` and `Denoiser.denoise` take them.

    Args:
        metadata: of N documents.
        key: the key that names the group; None reads it as `group_of` does.

    Returns:
        N names, or None where no document has a group. A document without one has the empty name.
    """
    names = [group_of(each) if key is None else _name(each.get(key)) for each in metadata]
    return names if any(names) else None


def _name(value: object) -> str:
    return "" if value is None else str(value)


def _text(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else value if isinstance(value, str) else ""


def _host(place: str) -> str:
    try:
        parts = urlsplit(place)
        return parts.hostname or "" if parts.scheme in ("http", "https", "ftp") else ""
    except ValueError:  # such as a bracket in a file's name
        return ""


def _folder(place: str) -> str:
    ends = [match.start() for match in _SEPARATORS.finditer(place)]
    return place[: ends[-1]] if ends else ""
