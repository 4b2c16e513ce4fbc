from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_a_file(loads: Any, shown: Callable[..., Any]) -> None:
    loaded = loads.one(
        ".md",
        "# Title *here*\n\nSome **bold** text\nover [lines](http://x).  \nhard\n\n- one\n- two\n  - three\n\n"
        "> said\n\n| a | b |\n|---|---|\n| 1 | `2` |\n\n```python\nif x:\n    y < z\n```\n\n"
        "![A kettle](k.png) &amp; more\n\nSub\n---\n",
    )
    assert loaded.title == "Title here"
    assert shown(loaded) == [
        ("Title here", "heading", 1),
        ("Some bold text over lines.", "paragraph", 0),
        ("hard", "paragraph", 0),
        ("one", "list", 0),
        ("two", "list", 0),
        ("three", "list", 0),
        ("said", "quoted", 0),
        ("a b", "table", 0),
        ("1 2", "table", 0),
        ("if x:\n    y < z", "code", 0),
        ("A kettle & more", "paragraph", 0),
        ("Sub", "heading", 2),
    ]


@pytest.mark.parametrize("tag", ["script", "style", "title", "textarea", "xmp", "noscript", "template", "plaintext"])
def test_a_tag_in_prose_is_text(loads: Any, tag: str) -> None:
    text = loads.text(".md", f"# Guide\n\nPut it in a <{tag}> element.\n\n## Next\n\nEverything is there.\n")
    assert text == f"Guide\nPut it in a <{tag}> element.\nNext\nEverything is there."


@pytest.mark.parametrize(
    "start",
    ["<script>", "<style>", "<textarea>", "<title>", "<!-- never closed", "<div><!-- never closed", "<?php",
     "<![CDATA[", "<noscript>", "<template>", '<div title="never closed'],
)  # fmt: skip
def test_a_block_that_is_never_closed_does_not_hide_the_rest(loads: Any, start: str) -> None:
    text = loads.text(".md", f"# Guide\n\n{start}\n\n## Next\n\nEverything *is* there.\n")
    assert text.startswith("Guide\n")
    assert text.endswith("\nNext\nEverything is there.")


def test_html_in_markdown(loads: Any) -> None:
    text = loads.text(
        ".md",
        "<script>\nbad()\n</script>\n\n<!-- no -->\n\n<p align=center>\n<b>Logo</b><br>line\n</p>\n\n"
        "a<br>b <img alt='k'> <kbd>c</kbd>",
    )
    assert text == "Logo\nline\na\nb k c"


def test_front_matter(loads: Any) -> None:
    loaded = loads.one(
        ".md", "---\ntitle: My page\ntags: [a, b]\nlang: en\ndate: 2024-05-01\nempty:\n---\n\n# Head\n\ntext\n"
    )
    assert (loaded.title, loaded.text) == ("My page", "Head\ntext")
    assert loaded.metadata == {"tags": ["a", "b"], "lang": "en", "date": "2024-05-01"}


@pytest.mark.parametrize(
    "head", ["a: &a [x]\nb: [*a, *a]", "- a list", "a: b: c", "{" * 1500, "x: !!python/object/apply:os.system [ls]"]
)
def test_front_matter_that_is_none_stays_text(loads: Any, head: str) -> None:
    loaded = loads.one(".md", f"---\n{head}\n---\n\ntext\n")
    assert loaded.metadata == {}
    assert loaded.text.endswith("text")


def test_deep_nesting_ends(loads: Any) -> None:
    assert "more" in loads.text(".md", ">" * 5_000 + " deep\n\nmore\n")
    assert "end" in loads.text(".md", "[" * 5_000 + "\n\nend\n")
