from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glot_rag.errors import DatasetError
from glot_rag.training.documents import NoisyDocument, installed_texts, made_pages, read_training_data
from glot_rag.training.texts import TrainingText

LONG = "one two three four five six seven eight nine ten eleven twelve"
PAGE = """<html><head><title>The stone bridge</title></head><body>
<nav><a href="/">Home</a> <a href="/news">News</a> <a href="/sport">Sport</a></nav>
<article><h1>The stone bridge</h1>
<p>The city council voted on Tuesday to rebuild the old stone bridge across the river after a long debate.</p>
<p>Engineers had warned that the arches, which were built in 1871, could no longer carry heavy lorries.</p>
<p>Work is to begin in spring and will take about two years, during which a ferry will run every ten minutes.</p>
</article>
<footer>Privacy policy - Terms of use - Contact the editors of this paper - Rights reserved</footer></body></html>"""


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_signal_is_what_is_no_noise() -> None:
    document = NoisyDocument("Home\nkeep this\nFooter", ((0, 4), (15, 21)), "site")
    assert document.signal == "\nkeep this\n"
    assert NoisyDocument("all of it", (), "site").signal == "all of it"


def test_json_lines_with_noise_or_main_content_are_documents_and_others_are_texts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"text": LONG, "title": "count"},
        {"text": f"Home News\n{LONG} a", "noise": [[0, 9]], "group": "site"},
        {"text": f"Home\n{LONG} b", "gold": f"{LONG} b", "host": "example.org", "title": "count more"},
        {"text": f"{LONG} c", "noise": []},
    )
    data = read_training_data([path])
    assert data.documents == [
        NoisyDocument(f"Home News\n{LONG} a", ((0, 9),), "site"),
        NoisyDocument(f"Home\n{LONG} b", ((0, 4),), "example.org", "count more"),
        NoisyDocument(f"{LONG} c", (), "a.jsonl"),
    ]
    # What is left of documents without their noise is text, too.
    assert data.texts == [
        TrainingText(LONG, "count", "a.jsonl"),
        TrainingText(f"{LONG} a", "", "site"),
        TrainingText(f"{LONG} b", "count more", "example.org"),
        TrainingText(f"{LONG} c", "", "a.jsonl"),
    ]


def test_a_folder_gives_pages_whose_markup_says_what_is_noise_and_texts(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "bridge.html").write_text(PAGE)
    (tmp_path / "notes.txt").write_text("\n".join(f"{LONG} {number}" for number in range(30)))
    data = read_training_data([tmp_path])
    (page,) = data.documents
    assert page.title == "The stone bridge"
    assert page.group.endswith("site")
    assert "Home" in page.text
    kept = page.signal.split()
    assert "council" in kept
    assert "Sport" not in kept
    assert "Privacy" not in kept
    passages = [text for text in data.texts if text.source == tmp_path.as_posix()]
    assert [len(text.text.split()) for text in passages] == [13 * 12, 13 * 12, 13 * 6]
    assert any("council" in text.text and "Sport" not in text.text for text in data.texts)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "a b", "noise": [[0, 4]]}, r'a\.jsonl:1: "noise" must be sorted \[start, end\] character spans'),
        ({"text": "a b", "noise": [[2, 3], [0, 1]]}, r'a\.jsonl:1: "noise" must be sorted'),
        ({"text": "a b", "noise": [[0.5, 1]]}, r'a\.jsonl:1: "noise" must be sorted'),
        ({"text": "a b", "noise": "0-3"}, r'a\.jsonl:1: "noise" must be sorted'),
        ({"text": "a b", "gold": 3}, r'a\.jsonl:1: "gold" must be a string \(the main content\), got 3'),
        ({"text": "a b", "gold": "a", "host": 3}, r'a\.jsonl:1: "group" or "host" must be a string, got 3'),
        ({"noise": []}, r'a\.jsonl:1: expected an object with a string "text"'),
        ({"text": "too short"}, r"no text of at least 12 words in .*a\.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named(record: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        read_training_data([write(tmp_path / "a.jsonl", record)])


def test_made_pages_hold_a_text_between_noise() -> None:
    texts = [
        TrainingText(f"The {number}th hen lays brown eggs. It is fed with corn. {LONG}", "") for number in range(9)
    ]
    pages = made_pages(texts, 5, seed=3)
    assert len(pages) == 5
    assert len({page.group for page in pages}) == 5
    originals = {text.text for text in texts}
    for page in pages:
        assert " ".join(page.signal.split()) in originals
        assert len(page.noise) >= 4
        assert all(page.text[start:end].strip() for start, end in page.noise)
        assert page.text.index("hen") > page.noise[0][1]
    assert made_pages(texts, 5, seed=3) == pages
    assert made_pages(texts, 5, seed=4) != pages


def test_made_pages_take_real_lines() -> None:
    texts = [TrainingText(f"{LONG} {number}", "") for number in range(20)]
    pages = made_pages(texts, 20, seed=0, lines={"page": ["Zebra crossing"]})
    assert sum("Zebra crossing" in page.text for page in pages) > 15
    assert not any("Zebra" in page.signal for page in pages)


def test_installed_packages_have_texts() -> None:
    data = installed_texts()
    assert len({text.source for text in data.texts}) > 20
    assert len(data.texts) > 500
    assert all(len(text.text.split()) >= 12 for text in data.texts)
    assert data.documents == []
