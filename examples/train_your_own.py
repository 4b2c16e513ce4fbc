"""Train a head for a backbone and a kind of text of your own, then measure it against mean pooling. No labels needed.

    python examples/train_your_own.py [--text my_texts.jsonl] [--backbone sentence-transformers/all-mpnet-base-v2]

Noise is put between the words of clean texts. The head reads the backbone's states after a third of its layers and
learns to tell noise from the text's own words. Without --text it trains on half of the standard library's docstrings,
and is measured on the other half.

A thousand texts take a few minutes and show how it works. A head worth using takes some ten thousand texts of many
kinds, and real lines of noise: see docs/train.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from glot_rag import TorchEncoder
from glot_rag.evaluation import EvaluationSettings, MemoryCollection, evaluate, load_stdlib, print_report
from glot_rag.models.backbone import Backbone
from glot_rag.training.config import TrainingConfig, default_head
from glot_rag.training.loop import train
from glot_rag.training.texts import TrainingText, read_texts

NOISES = ["none", "words:0.5", "boilerplate:0.5"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help='JSONL with "text" on every line')
    parser.add_argument("--backbone", default="minilm", help="minilm, smollm2, a hub id or a path")
    parser.add_argument("--texts", type=int, default=1000, help="how many to train on, and to search in")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("my-head"))
    options = parser.parse_args()

    dataset = load_stdlib()
    names = list(dataset.documents)
    texts = [TrainingText(dataset.documents[name], "") for name in names[::2]]
    if options.text:
        texts = read_texts([options.text])
    texts, held_out = texts[: options.texts], set(names[1::2][: options.texts])

    backbone = Backbone.load(options.backbone)
    # Noise tokens leave the backbone early: they cost nothing above, and do not mix with the signal's states.
    settings = TrainingConfig(epochs=options.epochs)
    train(texts, backbone, default_head(backbone), settings, options.out, show_progress=True)

    # The head is a directory that every part of the library takes: GlotEmbeddings(head="my-head"), for one.
    glot = TorchEncoder.from_pretrained(options.backbone, head=options.out)
    encoders = {"mean": glot.with_pooling("mean"), "glot": glot}
    # The query of a document has the document's name.
    unseen = MemoryCollection(
        "python-stdlib, documents not trained on",
        {name: dataset.documents[name] for name in names if name in held_out},
        {name: dataset.queries[name] for name in names if name in held_out},
        {name: dataset.qrels[name] for name in names if name in held_out},
    )
    report = evaluate(unseen, encoders, EvaluationSettings(NOISES, seed=1))
    print_report(report, Console())


if __name__ == "__main__":
    main()
