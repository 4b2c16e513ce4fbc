"""Train the heads for a backbone and documents of your own, and hear whether they help. No labels needed.

    python examples/train_your_own.py [PATH …] [--backbone sentence-transformers/all-mpnet-base-v2]

PATH: files and folders of any format, or JSON Lines with "text". Web pages teach best, as their markup says what is
noise. Without a path it trains on what the installed Python packages say of themselves. Two heads come out: one that
drops noisy lines, one that drops noisy words of texts without lines.

A few hundred texts take a minute and show how it works. Heads worth using take some ten thousand texts of many kinds,
pages among them: see docs/train.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from glot_rag import TorchEncoder
from glot_rag.models.backbone import Backbone
from glot_rag.training.documents import installed_texts, read_training_data
from glot_rag.training.heads import train_heads

PAGE = """Home
News
Sport
The stone bridge across the river is to be rebuilt, the city council decided on Tuesday after a long debate.
Its arches, which were built in 1871, can no longer carry heavy lorries, engineers had warned.
Privacy policy
Terms of use
Log in | Register | Contact us"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, nargs="*", help="files, folders or JSON Lines to train on")
    parser.add_argument("--backbone", default="minilm", help="minilm, mpnet, e5, smollm2, a hub id or a path")
    parser.add_argument("--texts", type=int, default=1000, help="how many texts the word head learns from")
    parser.add_argument("--out", type=Path, default=Path("my-head"))
    options = parser.parse_args()

    data = read_training_data(options.path) if options.path else installed_texts()
    backbone = Backbone.load(options.backbone)
    report = train_heads(data, backbone, options.out, limit=options.texts, show_progress=True)
    print("\n".join(report.lines()))

    # The folder is what every part of the library takes: GlotEmbeddings(head="my-head"), for one.
    encoder = TorchEncoder.from_pretrained(options.backbone, head=options.out)
    (kept,) = encoder.denoise([PAGE])
    print(f"\nOf a page with a menu and a footer this is kept:\n{kept.text}")


if __name__ == "__main__":
    main()
