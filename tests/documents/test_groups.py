"""The group of a document, from its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glot_rag.documents.groups import group_of, groups_of


@pytest.mark.parametrize(
    ("metadata", "group"),
    [
        ({"from": "Ann Lee <Ann@Example.org>", "source": "/mail/1.eml"}, "ann@example.org"),
        ({"sender": "bob@example.org"}, "bob@example.org"),
        ({"from": "Paris", "source": "trips/3.txt"}, "trips"),
        ({"source": "https://Docs.Example.org:8080/a/b.html"}, "docs.example.org"),
        ({"source": "/crawl/17.html", "url": "https://example.org/x"}, "example.org"),
        ({"source": "/site/a/page.html"}, "/site/a"),
        ({"source": "docs.zip!guide/one.md"}, "docs.zip!guide"),
        ({"file_path": Path("site") / "page.html"}, "site"),
        ({"source": r"C:\mail\1.txt"}, r"C:\mail"),
        ({"source": "https://[broken/x"}, "https://[broken"),
        ({"source": "page.html"}, ""),
        ({"source": 3, "from": None}, ""),
        ({}, ""),
    ],
)
def test_group_of(metadata: dict[str, Any], group: str) -> None:
    assert group_of(metadata) == group


def test_groups_of_a_key_or_of_what_there_is() -> None:
    metadata = [{"site": "a", "source": "/x/1"}, {"site": 2}, {"site": None}]
    assert groups_of(metadata, "site") == ["a", "2", ""]
    assert groups_of(metadata) == ["/x", "", ""]
    assert groups_of(metadata, "host") is None
    assert groups_of([{}, {}]) is None
    assert groups_of([]) is None
