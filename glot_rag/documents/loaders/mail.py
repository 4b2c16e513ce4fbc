"""Mail: single messages and mail folders, by the standard library's parser."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import BinaryIO

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


def load_eml(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """One message: its subject is the title, its plain text (else its HTML) the text; attachments are named only."""
    yield _message(file.read(stream), file, None)


def load_mbox(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A mail folder of any size: each message is a document."""
    lines: list[bytes] = []
    size, number, before = 0, 0, b""
    while True:
        line = stream.readline(MAX_LINE)
        if (not line or (line.startswith(b"From ") and not before.strip())) and lines:
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


def _message(data: bytes, file: FileContext, number: int | None) -> Loaded:
    message = message_from_bytes(data, policy=policy.default)
    headers = {key.lower() for key in message.keys()}  # noqa: SIM118 (a message's iterator is over its headers' names)
    if not headers & {"from", "subject", "date", "to", "message-id"}:
        raise DatasetError("not a mail: it has none of the headers From, To, Subject, Date and Message-ID")
    metadata: dict[str, object] = {key: shown for name, key in _KEPT.items() if (shown := _header(message, name))}
    texts: dict[str, EmailMessage] = {}
    attachments = []
    for count, part in enumerate(message.walk()):
        if count > _MAX_PARTS:
            file.note(f"a message of more than {_MAX_PARTS} parts; the first were read")
            break
        name = part.get_filename()
        if name or part.get_content_disposition() == "attachment":
            attachments.append(str(name or part.get_content_type()))
        elif part.get_content_type() in ("text/plain", "text/html"):
            texts.setdefault(part.get_content_type(), part)
    if attachments:
        metadata["attachments"] = attachments
    builder = TextBuilder()
    if "text/plain" in texts:
        for line in _content(texts["text/plain"], file).split("\n"):
            builder.add(line, "quoted" if line.lstrip().startswith(">") else "unknown")
    if not builder.blocks and "text/html" in texts:
        read_html(_content(texts["text/html"], file), builder)
    return Loaded(builder.text, builder.blocks, _header(message, "subject"), metadata, number)


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
