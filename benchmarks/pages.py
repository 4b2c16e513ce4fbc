"""Real web pages as a retrieval collection: a BEIR folder, and its gold folder with the main content alone.

    python benchmarks/pages.py pages.jsonl.gz --out pages
    glot-rag evaluate --dataset pages/noisy --gold pages/gold --noise none --pooling mean --denoise

A line of the input has `id`, `host`, `title`, `text` (all visible text, a line a text node) and `gold` (the main
content). A page's headline is the query that the page answers; it is removed from the text and from the gold text.
Only pages of validation hosts are taken (`zlib.crc32(host) % 5 == 0`), which no head was trained on; `--part report`
takes those of report hosts (1), which nothing was chosen on either. Pages without a headline of two words, with the
headline of another page, or with fewer than 20 gold words are documents without a query.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FEWEST_WORDS = 20  # of a gold text
FEWEST_TITLE_WORDS = 2
PARTS = {"validation": 0, "report": 1}


def read_pages(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a .jsonl or .jsonl.gz file."""
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def is_of(part: str, host: str) -> bool:
    """Whether a host's pages belong to a part; training takes the hosts of neither."""
    return zlib.crc32(host.encode()) % 5 == PARTS[part]


def without_headline(text: str, headline: str) -> str:
    """The text without the headline, wherever it stands and however it is spaced; lines that are left empty go, too."""
    words = r"\s+".join(map(re.escape, headline.split()))
    removed = re.sub(words, " ", text, flags=re.IGNORECASE)
    return "\n".join(line.strip() for line in removed.split("\n") if line.strip(" \t-–—|:·•"))


def write_folders(pages: list[dict[str, Any]], out: Path) -> tuple[int, int]:
    """Write `out/noisy` in BEIR layout and `out/gold/corpus.jsonl` -> how many documents and queries."""
    titles = Counter(normal(page["title"]) for page in pages)
    noisy: list[str] = []
    gold: list[str] = []
    queries, qrels = [], ["query-id\tcorpus-id\tscore\n"]
    for page in pages:
        key, title = page["id"], " ".join((page["title"] or "").split())
        texts = page["text"], page["gold"]
        enough = len(without_headline(page["gold"], title).split()) >= FEWEST_WORDS if title else False
        if enough and len(title.split()) >= FEWEST_TITLE_WORDS and titles[normal(title)] == 1:
            texts = without_headline(page["text"], title), without_headline(page["gold"], title)
            queries.append(json.dumps({"_id": key, "text": title}, ensure_ascii=False) + "\n")
            qrels.append(f"{key}\t{key}\t1\n")
        for lines, text in zip((noisy, gold), texts, strict=True):
            lines.append(json.dumps({"_id": key, "title": "", "text": text}, ensure_ascii=False) + "\n")
    (out / "noisy" / "qrels").mkdir(parents=True, exist_ok=True)
    (out / "gold").mkdir(exist_ok=True)
    for path, lines in (
        (out / "noisy" / "corpus.jsonl", noisy),
        (out / "gold" / "corpus.jsonl", gold),
        (out / "noisy" / "queries.jsonl", queries),
        (out / "noisy" / "qrels" / "test.tsv", qrels),
    ):
        path.write_text("".join(lines), encoding="utf-8")
    return len(noisy), len(queries)


def normal(title: str | None) -> str:
    """A title as titles are compared."""
    return " ".join((title or "").lower().split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, help="JSON Lines, perhaps gzipped: id, host, title, text, gold")
    parser.add_argument("--out", type=Path, required=True, help="folder for noisy/ and gold/")
    parser.add_argument("--part", default="validation", choices=PARTS)
    options = parser.parse_args()
    pages = [page for page in read_pages(options.pages) if is_of(options.part, page["host"])]
    documents, queries = write_folders(pages, options.out)
    print(f"{documents} pages of {len({page['host'] for page in pages})} {options.part} hosts, {queries} queries")
    print(f"glot-rag evaluate --dataset {options.out}/noisy --gold {options.out}/gold --noise none --pooling mean")


if __name__ == "__main__":
    main()
