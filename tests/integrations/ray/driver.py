"""A run on a Ray cluster of its own, in a process that a test may end: driver.py CORPUS OUT."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

from fake_engine import FakeEngine, fake_encoder, small_ray

from glot_rag.shards import embed_corpus, embedding, parts, run

if __name__ == "__main__":
    small_ray()
    parts._EVERY = 8
    embedding.load_encoder = run.load_encoder = fake_encoder.load
    report = embed_corpus(
        [sys.argv[1]],
        sys.argv[2],
        fake_encoder.FakeEncoder(seconds=0.02),
        denoise=False,
        engine=FakeEngine(workers=2),
    )
    print(report.recomputed)  # noqa: T201
