"""Noise of a kind that a head never saw: train on all families of noise but one, measure on that one.

    python benchmarks/unseen.py --text texts.jsonl.gz --lines lines.jsonl.gz --dataset cranfield --queries even \
        --work runs/unseen --json unseen.json

The documents of a BEIR collection are mixed with noise of one family (`glot_rag.denoise.noisy_views.FAMILIES`), by the
generator that training uses but with a seed of its own. They are embedded by mean pooling, by a head that was trained
without this family, by one that was trained with all, and, without the noise, by mean pooling again: the ceiling.
Recovery is the share of the gap from mean pooling to the ceiling that is closed. A recipe is chosen by this table, so
it is made on a validation half of the queries. What is in the work directory is not computed again.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from speed_tables import terminal_table, unseen_rows

from glot_rag import TorchEncoder
from glot_rag.denoise.noisy_views import FAMILIES, NoiseGenerator, View
from glot_rag.embedder import Vectors
from glot_rag.evaluation import MemoryCollection, load_beir, measure, search
from glot_rag.models.backbone import Backbone
from glot_rag.training.config import TrainingConfig, default_head
from glot_rag.training.loop import train
from glot_rag.training.texts import read_noise_lines, read_texts, sample

SEED = 0
NOISE_SEED = 1_000_003  # not the training's: other noise of the same family


def noisy(dataset: MemoryCollection, family: str, lines: dict[str, list[str]]) -> list[View]:
    """The collection's documents with noise of one family; the share differs from document to document."""
    texts = list(dataset.documents.values())
    generator = NoiseGenerator(texts, NOISE_SEED, lines, without=[each for each in FAMILIES if each != family])
    return [generator.view(index, 0) for index in range(len(texts))]


def ndcg(dataset: MemoryCollection, documents: Vectors, queries: Vectors) -> float:
    """nDCG@10 in points."""
    return (
        100
        * measure(dataset.qrels, search(list(dataset.documents), documents, list(dataset.queries), queries))["ndcg@10"]
    )


def main(
    text: Annotated[list[Path], typer.Option(help="JSONL with texts to train on.")],
    lines: Annotated[list[Path], typer.Option(help="JSONL with real lines of noise (benchmarks/gather.py).")],
    dataset: Annotated[Path, typer.Option(help="A BEIR folder.")],
    work: Annotated[Path, typer.Option(help="Directory for heads and hidden states.")],
    queries: Annotated[str, typer.Option(help="even, odd or all.")] = "even",
    limit: Annotated[int, typer.Option(min=4, help="Texts to train on.")] = 8000,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    families: Annotated[str, typer.Option(help="Comma-separated; all if not given.")] = ",".join(FAMILIES),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Train the heads and print the table."""
    texts = sample(read_texts(text), limit, SEED)
    real = read_noise_lines(lines)
    backbone = Backbone.load("minilm")
    shape = dataclasses.replace(default_head(backbone), mix_weight=1.0)
    data = load_beir(dataset, queries)  # type: ignore[arg-type]  # load_beir refuses any other half
    console = Console()

    def head(without: tuple[str, ...]) -> Path:
        out = work / ("without-" + "-".join(without) if without else "all")
        if (out / "done").exists():
            return out
        settings = TrainingConfig(seed=SEED, epochs=epochs, without=without)
        console.print(f"head: {out.name}", style="dim")
        train(texts, backbone, shape, settings, out, lines=real, show_progress=True)
        for cached in (out / "cache").glob("*.bin"):  # gigabytes that no later run reads
            cached.unlink()
        (out / "done").touch()
        return out

    mean = TorchEncoder.from_pretrained(pooling="mean")
    asked = mean.encode_queries(list(data.queries.values()))
    everything = head(())
    rows: list[dict[str, Any]] = []
    for family in families.split(","):
        path = head((family,))
        views = noisy(data, family, real)
        documents = [view.text for view in views]
        row: dict[str, Any] = {"family": family}
        row["mean"] = ndcg(data, mean.encode_documents(documents), asked)
        row["ceiling"] = ndcg(data, mean.encode_documents([view.signal for view in views]), asked)
        for name, trained in (("unseen", path), ("seen", everything)):
            for denoise in (False, True):
                encoder = mean.with_pooling("glot", trained, denoise=denoise)
                value = ndcg(data, encoder.encode_documents(documents), asked)
                key = name + "+denoise" * denoise
                row[key] = value
                row[f"recovery {key}"] = (value - row["mean"]) / (row["ceiling"] - row["mean"])
        rows.append(row)
        console.print(row)
    title = f"{data.name}, {queries} queries: nDCG@10, heads trained on {len(texts)} texts"
    console.print(terminal_table(unseen_rows({"results": rows}), title))
    if json_file:
        settings = {
            **{"dataset": data.name, "queries": queries, "texts": len(texts), "epochs": epochs},
            **{"dtype": str(backbone.dtype).removeprefix("torch."), "device": backbone.device.type},
            **{"seed": SEED, "noise_seed": NOISE_SEED, "files": [path.name for path in [*text, *lines]]},
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"settings": settings, "results": rows}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
