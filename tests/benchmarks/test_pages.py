"""The script that turns pages into a collection and its gold texts."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from pathlib import Path

from glot_rag.evaluation import GoldTexts, load_beir

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "pages.py"
BODY = "The lid opens with one hand and a filter keeps lime out of the cup which can be washed and dried on a rack."


def test_headlines_are_queries_and_leave_the_texts(tmp_path: Path) -> None:
    hosts = [f"host{number}.example" for number in range(60)]
    mine = [host for host in hosts if zlib.crc32(host.encode()) % 5 == 0]
    other = next(host for host in hosts if host not in mine)
    text = f"Home | News\n  The Quick\tKettle - Shop\n{BODY}\nAgain: the quick kettle"
    gold = f"The quick kettle\n{BODY}"
    pages = [
        {"id": "a", "host": mine[0], "title": "The quick  kettle", "text": text, "gold": gold},
        {"id": "b", "host": mine[1], "title": "Kettle", "text": f"Kettle\n{BODY}", "gold": BODY},
        {"id": "c", "host": mine[1], "title": "A short page", "text": "A short page", "gold": "A short page"},
        {"id": "d", "host": mine[2], "title": "Twice said", "text": BODY, "gold": BODY},
        {"id": "e", "host": mine[2], "title": "twice said", "text": BODY, "gold": BODY},
        {"id": "f", "host": other, "title": "Trained on this", "text": BODY, "gold": BODY},
    ]
    with gzip.open(tmp_path / "pages.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(page) + "\n" for page in pages)
    out = tmp_path / "out"
    command = [sys.executable, SCRIPT, tmp_path / "pages.jsonl.gz", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5 pages of 3 validation hosts, 1 queries")
    found = load_beir(out / "noisy")
    assert list(found.documents) == ["a", "b", "c", "d", "e"]
    assert found.queries == {"a": "The quick kettle"}
    assert found.qrels == {"a": {"a": 1}}
    assert found.documents["a"] == f"Home | News\n- Shop\n{BODY}\nAgain:"
    assert GoldTexts(out / "gold").text("a") == BODY
    GoldTexts(out / "gold").check(found)
