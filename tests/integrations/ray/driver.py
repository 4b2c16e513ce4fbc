"""A run on a Ray cluster of its own, in a process that a test may end: driver.py CORPUS OUT [ENCODER]."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

from fake_engine import FakeEngine, fake_encoder, small_ray

from glot_rag.shards import embed_corpus, parts

if __name__ == "__main__":
    small_ray()
    parts._EVERY = 4
    fake_encoder.load_these()
    encoder = sys.argv[3] if len(sys.argv) > 3 else fake_encoder.FakeEncoder(seconds=0.02)
    report = embed_corpus(
        [sys.argv[1]], sys.argv[2], encoder, denoise=False, dtype="float32", engine=FakeEngine(workers=2)
    )
    print(report.recomputed)  # noqa: T201
