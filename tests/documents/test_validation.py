"""What a document may hold, and the form in which its metadata are stored."""

from __future__ import annotations

import datetime
import enum
import json
import re
import uuid
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest

from glot_rag.documents.blocks import Block
from glot_rag.documents.document import Document
from glot_rag.documents.validation import MAX_METADATA_DEPTH, check_document, metadata_to_json, stored_form
from glot_rag.errors import InputError

BERLIN = datetime.timezone(datetime.timedelta(hours=2))


class Colour(str, enum.Enum):
    red = "r"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime.datetime(2026, 1, 31, 12, 0, 0), "2026-01-31T12:00:00"),
        (datetime.datetime(2026, 1, 31, 12, 0, 0, 5, BERLIN), "2026-01-31T12:00:00.000005+02:00"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.time(9, 5), "09:05:00"),
        (np.datetime64("2026-01-31T12:00"), "2026-01-31T12:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a") / "b", str(Path("a/b"))),
        (PureWindowsPath("a\\b"), "a\\b"),
        ((1, (2, "x")), [1, [2, "x"]]),
        (np.int64(-5), -5),
        (np.uint8(200), 200),
        (np.float64(0.5), 0.5),
        (np.float32(0.25), 0.25),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (Colour.red, "r"),
        ({"deep": [datetime.date(2026, 1, 1), None, True]}, {"deep": ["2026-01-01", None, True]}),
        (2**63 - 1, 2**63 - 1),
        ("\ufeff\u2028 𝔘", "\ufeff\u2028 𝔘"),
    ],
)
def test_the_stored_form_of_metadata(value: object, stored: Any) -> None:
    checked = check_document(Document("text", "id", {"key": value}))
    assert checked == Document("text", "id", {"key": stored})
    assert type(checked.metadata["key"]) is type(stored)
    assert json.loads(stored_form(checked)[2]) == {"key": stored}
    assert check_document(checked) == checked


def test_the_document_is_given_back_with_its_blocks() -> None:
    blocks = [Block(0, 4, "heading")]
    assert check_document(Document("text", "id", {}, blocks)).blocks == tuple(blocks)


def nested(depth: int, kind: str) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"k": value} if kind == "dict" else [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"good": 1, "when": {1, 2}}, "metadata['when'] must be a str, int, float, bool, None, list, dict, date"),
        ({"a": {"b": [b"x"]}}, "metadata['a']['b'][0] must be a str, int"),
        ({"a": np.ones(3)}, "metadata['a'] must be a str, int"),
        ({"a": object}, "got type"),
        ({1: "one"}, "metadata has the key 1 of type int; use str keys"),
        ({"a": {None: 1}}, "metadata['a'] has the key None of type NoneType"),
        ({"a": float("inf")}, "metadata['a'] must be a finite number, got inf"),
        ({"a": [np.float32("nan")]}, "metadata['a'][0] must be a finite number, got nan"),
        ({"a": [2**63]}, "metadata['a'][0] must fit in 64 bits, got an int of 65"),
        ({"a": -(2**63) - 1}, "must fit in 64 bits"),
        ({"a": "x\0"}, "metadata['a'] holds a NUL"),
        ({"a\0": "x"}, "a key of metadata holds a NUL"),
        ({"a": ["\ud800"]}, "metadata['a'][0] has a lone surrogate"),
        ({"\udc80": 1}, "a key of metadata has a lone surrogate"),
        ({"a": nested(900, "list")}, f"is more than {MAX_METADATA_DEPTH} levels deep; flatten it"),
        ({"deep": nested(900, "dict")}, "metadata['deep']['k']['k']"),
        ({"small": 1, "large": "x" * (1 << 20)}, "the largest value is that of 'large'"),
        ([("a", 1)], "metadata must be a dict, got list"),
    ],
)
def test_what_has_no_stored_form_is_refused_with_its_key(metadata: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        metadata_to_json(metadata, "metadata")


def test_metadata_that_hold_themselves() -> None:
    endless: dict[str, object] = {}
    endless["self"] = [endless]
    with pytest.raises(InputError, match="levels deep"):
        check_document(Document("text", "id", endless))


def test_as_deep_as_allowed() -> None:
    deepest = nested(MAX_METADATA_DEPTH - 1, "dict")
    assert check_document(Document("t", "i", {"a": deepest})).metadata == {"a": deepest}
    with pytest.raises(InputError, match="levels deep"):
        check_document(Document("t", "i", {"a": nested(MAX_METADATA_DEPTH, "dict")}))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("text", "expected a Document, got str"),
        (Document("text", ""), "must not be empty or hold a NUL"),
        (Document("text", "a\0"), "must not be empty or hold a NUL"),
        (Document("text", "é" * 513), "takes 1026 bytes in UTF-8, more than the 1024 allowed"),
        (Document("\ud800", "a"), "the text of document 'a' has a lone surrogate"),
        (Document(b"text", "a"), "must be a str, got bytes"),  # type: ignore[arg-type]
    ],
)
def test_a_document_that_cannot_be_stored(document: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_document(document)
