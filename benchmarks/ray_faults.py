"""What a corpus embedded on Ray comes to when something dies: rows, what is made again, and equality to one process.

    python benchmarks/ray_faults.py --json benchmarks/results/ray-faults.json       # needs Ray and minilm; five minutes

The faults are those of tests/integrations/ray, where a fake encoder makes them quick; here it is minilm, in float32, on
two CPUs. Each run is held against one of a single process over the same documents. A document that ends its process
would end that one, too: there it raises an error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from glot_rag.shards import embed_corpus, parts

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "integrations" / "ray"), str(TESTS / "shards")]
faults: Any = importlib.import_module("faults")
fake_encoder: Any = importlib.import_module("fake_encoder")
ENCODER = "minilm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    parts._EVERY = 4  # files a part: small shards, of which many are whole when something dies
    fake_encoder.load_these()
    with tempfile.TemporaryDirectory() as folder:
        found = {"settings": {"encoder": ENCODER}, "faults": list(all_faults(Path(folder), arguments.documents))}
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def all_faults(folder: Path, documents: int) -> Iterator[dict[str, Any]]:
    """A fault after the other, each on a cluster of its own."""
    corpus = fake_encoder.write_corpus(folder / "corpus", documents)
    here = one_process(corpus, folder / "here")

    def on_a_cluster(name: str, *ends: Callable[[Any, Any], None]) -> dict[str, Any]:
        with faults.cluster() as nodes:
            calls = [lambda end=end: end(*nodes) for end in ends]
            report = faults.embedded_while(corpus, folder / name, ENCODER, *calls)
        return row(name, folder / name, here, report.recomputed, len(report.set_aside))

    yield on_a_cluster("none")
    yield on_a_cluster("a worker is killed", lambda *_: faults.kill_a_worker())
    yield on_a_cluster("one node of two is lost", lambda made, other: made.remove_node(other, allow_graceful=False))
    name = "the process that started the run is killed, and started again"
    _, again = faults.kill_the_driver(corpus, folder / name, ENCODER)
    yield row(name, folder / name, here, again, 0)
    bad = corpus / "030 bad.txt"
    bad.write_text("POISON")
    here = one_process(corpus, folder / "here, one set aside")
    yield on_a_cluster("a document raises an error")
    bad.write_text("DEADLY")
    yield on_a_cluster("a document ends its process")


def one_process(corpus: Path, out: Path) -> Path:
    embed_corpus([corpus], out, ENCODER, denoise=False, dtype="float32")
    return out


def row(name: str, out: Path, here: Path, again: int, set_aside: int) -> dict[str, Any]:
    return {"fault": name, **faults.outcome(out, here)._asdict(), "again": again, "set_aside": set_aside}


if __name__ == "__main__":
    main()
