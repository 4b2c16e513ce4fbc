"""Mail: single messages and mail folders, by the standard library's parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import chain, pairwise
from typing import BinaryIO, cast

from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.loaders.base import MAX_LINE, FileContext, Loaded
from glot_rag.documents.loaders.html import read_html
from glot_rag.errors import DatasetError

_KEPT = {
    "from": "from",
    "to": "to",
    "cc": "cc",
    "date": "date",
    "message-id": "message_id",
    "in-reply-to": "in_reply_to",
}
_MAX_MESSAGE = 1 << 26
_MAX_PARTS = 1000
_DATED = re.compile(rb"From \S+ .*\d{4}\s*\Z")
_HEADER = re.compile(rb"[\w-]+:")


def load_eml(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """One message: its subject is the title, its plain text (else its HTML) the text; attachments are named only."""
    yield _message(file.read(stream), file, None)


def load_mbox(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A mail folder of any size: each message is a document."""
    lines: list[bytes] = []
    size, number, before = 0, 0, b""
    read = iter(lambda: stream.readline(MAX_LINE), b"")
    for line, following in pairwise(chain(read, [b"", b""])):
        if lines and (not line or (not before.strip() and _begins_message(line, following))):
            number += 1
            if size > _MAX_MESSAGE:
                file.fail(number, f"a message larger than {_MAX_MESSAGE >> 20} MB")
            else:
                try:
                    yield _message(b"".join(lines[1:]), file, number)
                except DatasetError as error:
                    file.fail(number, str(error))
            lines, size = [], 0
        if not line:
            return
        size += len(line)
        if size <= _MAX_MESSAGE or not lines:
            lines.append(line)
        before = line


def _begins_message(line: bytes, following: bytes) -> bool:
    """Whether a line after a blank one is no sentence that begins with "From", which many programs leave as it is."""
    return bool(_DATED.match(line) or (line.startswith(b"From ") and _HEADER.match(following)))


def _message(data: bytes, file: FileContext, number: int | None) -> Loaded:
    message = message_from_bytes(data, policy=policy.default)
    headers = {key.lower() for key in message.keys()}  # noqa: SIM118 (a message's iterator is over its headers' names)
    if not headers & {"from", "subject", "date", "to", "message-id"}:
        raise DatasetError("not a mail: it has none of the headers From, To, Subject, Date and Message-ID")
    metadata: dict[str, object] = {key: shown for name, key in _KEPT.items() if (shown := _header(message, name))}
    attachments: list[str] = []
    left = iter(range(_MAX_PARTS))
    bodies = _bodies(message, attachments, file, left)
    if next(left, None) is None:
        file.note(f"a message of {_MAX_PARTS} parts or more; the first were read")
    if attachments:
        metadata["attachments"] = attachments
    builder = TextBuilder()
    for kind, content in bodies:
        if kind == "text/html":
            read_html(content, builder)
            continue
        for line in content.split("\n"):
            builder.add(line, "quoted" if line.lstrip().startswith(">") else "unknown")
    return Loaded(builder.text, builder.blocks, _header(message, "subject"), metadata, number)


def _bodies(
    part: EmailMessage, attachments: list[str], file: FileContext, left: Iterator[int]
) -> list[tuple[str, str]]:
    """What a message says, in order, as (type, text); of alternatives the plain one, if it says something.

    It may be in several parts: programs split it around a picture, a mailing list adds its footer, and a message that
    is forwarded is a part, too.

    Args:
        part: The message, or a part of it.
        attachments: Names of attachments are added.
        file: That it is in.
        left: As many parts as may still be read.
    """
    if next(left, None) is None:
        return []
    kind, name = part.get_content_type(), part.get_filename()
    attached = bool(name) or part.get_content_disposition() == "attachment"
    if attached:
        attachments.append(str(name or kind))
    if part.is_multipart():
        found = [_bodies(cast(EmailMessage, each), attachments, file, left) for each in part.get_payload()]
        if kind != "multipart/alternative":
            return list(chain(*found))
        said = [bodies for bodies in found if any(text.strip() for _, text in bodies)]
        return next((bodies for bodies in said if bodies[0][0] == "text/plain"), said[0] if said else [])
    return [(kind, _content(part, file))] if kind in ("text/plain", "text/html") and not attached else []


def _content(part: EmailMessage, file: FileContext) -> str:
    """The text of a part, by its transfer encoding and charset."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    return file.decode(data, part.get_content_charset()).replace("\r\n", "\n").replace("\0", "")


def _header(message: EmailMessage, name: str) -> str:
    try:
        shown = str(message.get(name, ""))
    except Exception:  # the standard library's parser fails on some malformed headers in many ways
        return ""
    return " ".join(shown.replace("\0", "").encode("utf-8", "replace").decode("utf-8").split())
