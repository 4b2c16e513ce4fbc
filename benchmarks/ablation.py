"""What each part of the method is worth: heads that differ in one thing, trained and measured alike.

    python benchmarks/ablation.py --text texts.jsonl.gz --lines lines.jsonl.gz --dataset cranfield --queries even \
        --work runs/ablation --json ablation.json

Two groups. "drop" varies the form that ships, on token labels: graph convolutions, tau, the number of layers K, jumping
knowledge, width, and no graph at all (AdaPool: the same readout). "pool" varies heads that pool the last layer:
residual or as in the paper, each objective on or off, and no graph. Each head is trained on the same
texts and noisy views and for as long; a seed decides views, first weights and order.

Measured are the area under the ROC curve by which token scores tell signal from noise, on texts held out, and nDCG@10
on the documents of a BEIR collection with evaluation noise, without the gate being shown clean text. A recipe is chosen
by this table, so it is made on a validation half of the queries. Seeds come one after the other and the file is written
after every head; what is in it is not computed again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from sklearn.metrics import roc_auc_score
from speed_tables import ablation_rows, terminal_table

from glot_rag import TorchEncoder
from glot_rag.embedder import Vectors
from glot_rag.evaluation import corrupt, load_beir, measure, parse_noise, search
from glot_rag.head import load_head
from glot_rag.head.config import HeadConfig
from glot_rag.models.backbone import Backbone
from glot_rag.training.config import TrainingConfig
from glot_rag.training.loop import gather, train
from glot_rag.training.texts import TrainingText, read_noise_lines, read_texts, sample
from glot_rag.training.views import NOISE, SPECIAL, cache_views, rows_per_text

NOISE_SEED = 0  # of the evaluation; training noise has generators and seeds of its own

_DROP = {"layers": (2,), "form": "drop"}
_POOL = {"layers": (2, -1), "form": "residual"}
_SHAPE = {"convolution": "transformer", "norm": "layer", "num_layers": 3, "readout": "sigmoid"}
_LABELS = {"denoising": 0.0, "contrastive": 0.0, "tokens": 1.0}
_ALL = {"denoising": 1.0, "contrastive": 0.1, "tokens": 0.3}


@dataclass(frozen=True)
class Variant:
    """One row of the table: what differs from the first row of its group."""

    group: str
    name: str
    head: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def configs(self, state_size: int, seed: int, epochs: int) -> tuple[HeadConfig, TrainingConfig]:
        """The head's shape and how it is trained."""
        head, training = (_DROP, _LABELS) if self.group == "drop" else (_POOL, _ALL)
        return (
            HeadConfig(state_size, **{**_SHAPE, **head, **self.head}),
            TrainingConfig(seed=seed, views=1, epochs=epochs, **{**training, **self.training}),
        )


VARIANTS = (
    Variant("drop", "as shipped: transformer, tau 0.3, K 3, cat"),
    *(Variant("drop", f"convolution {name}", {"convolution": name}) for name in ("gat", "gcn", "gin", "gine")),
    *(Variant("drop", f"tau {tau}", {"threshold": tau}) for tau in (0.1, 0.5, 0.7)),
    *(Variant("drop", f"K {layers}", {"num_layers": layers}) for layers in (1, 2)),
    *(Variant("drop", f"jumping {jumping}", {"jumping": jumping}) for jumping in ("max", "mean")),
    Variant("drop", "hidden size 64", {"hidden_size": 64}),
    Variant("drop", "no graph (AdaPool)", {"pooling": "adapool"}),
    Variant("pool", "residual; denoising, contrastive, tokens"),
    Variant("pool", "without denoising", {}, {"denoising": 0.0}),
    Variant("pool", "without contrastive", {}, {"contrastive": 0.0}),
    Variant("pool", "without tokens", {}, {"tokens": 0.0}),
    Variant("pool", "contrastive alone", {}, {"denoising": 0.0, "contrastive": 1.0, "tokens": 0.0}),
    Variant("pool", "paper form, all objectives", {"form": "paper", "output_size": 384}),
    Variant(
        "pool",
        "paper form, contrastive alone (the paper's training)",
        {"form": "paper", "readout": "softmax", "layers": (2, -1)},
        {"denoising": 0.0, "contrastive": 1.0, "tokens": 0.0},
    ),
    Variant("pool", "no graph (AdaPool)", {"pooling": "adapool"}),
)


def token_auc(out: Path, cache: Path, texts: list[TrainingText], backbone: Backbone, training: TrainingConfig,
              lines: dict[str, list[str]]) -> float:  # fmt: skip
    """By how much the scores tell signal from noise on the texts that training held out."""
    head, _ = load_head(out)
    states = cache_views(
        cache, texts, backbone, layers=head.config.layers, views=1, seed=training.seed, lines=lines,
        queries=training.vectors, targets=False,
    )  # fmt: skip
    split = np.random.default_rng([training.seed, 1]).permutation(len(texts))
    rows = np.sort(split[: round(len(texts) * training.validation)]) * rows_per_text(1, training.vectors)
    scores, labels = [], []
    with torch.no_grad():
        for start in range(0, len(rows), 64):
            batch, mask, kinds, _ = gather(states, rows[start : start + 64])
            logits = head(batch, mask).logits
            assert logits is not None
            counted = kinds != SPECIAL
            scores.append(logits[counted].numpy())
            labels.append((kinds[counted] != NOISE).numpy())
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(scores)))


def main(
    text: Annotated[list[Path], typer.Option(help="JSONL with texts to train on.")],
    lines: Annotated[list[Path], typer.Option(help="JSONL with real lines of noise (benchmarks/gather.py).")],
    dataset: Annotated[Path, typer.Option(help="A BEIR folder.")],
    work: Annotated[Path, typer.Option(help="Directory for heads and hidden states.")],
    json_file: Annotated[Path, typer.Option("--json", help="The figures; those there are not computed again.")],
    queries: Annotated[str, typer.Option(help="even, odd or all.")] = "even",
    noise: Annotated[str, typer.Option(help="Of the documents.")] = "words:0.4+boilerplate:0.4",
    limit: Annotated[int, typer.Option(min=100, help="Texts to train on.")] = 4000,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    group: Annotated[str, typer.Option(help="drop or pool; both if not given.")] = "",
    only: Annotated[str, typer.Option(help="Variants of which the name has this in it.")] = "",
) -> None:
    """Train the heads and print the table."""
    texts = read_texts(text)
    real = read_noise_lines(lines)
    mean = TorchEncoder.from_pretrained("minilm", pooling="mean")
    backbone = mean.backbone
    data = load_beir(dataset, queries)  # type: ignore[arg-type]  # load_beir refuses any other half
    noisy = corrupt(list(data.documents.values()), parse_noise(noise), seed=NOISE_SEED)
    console = Console()

    def ndcg(documents: Vectors, asked: Vectors) -> float:
        found = search(list(data.documents), documents, list(data.queries), asked)
        return 100 * measure(data.qrels, found)["ndcg@10"]

    questions = list(data.queries.values())
    settings: dict[str, Any] = {
        **{"dataset": data.name, "queries": queries, "noise": noise, "texts": limit, "epochs": epochs},
        **{"files": [path.name for path in [*text, *lines]], "backbone": backbone.source.name},
        **{"dtype": str(backbone.dtype).removeprefix("torch."), "device": backbone.device.type},
    }
    record: dict[str, Any] = {"settings": settings, "results": []}
    if json_file.is_file():
        record = json.loads(json_file.read_text())
        if {name: record["settings"].get(name) for name in settings} != settings:
            raise typer.BadParameter(f"{json_file} is of a run with other settings", param_hint="--json")
    else:
        asked = mean.encode_queries(questions)
        settings["mean"] = ndcg(mean.encode_documents([each.text for each in noisy]), asked)
        settings["ceiling"] = ndcg(mean.encode_documents([each.signal for each in noisy]), asked)
    done = {(row["seed"], row["group"], row["name"]) for row in record["results"]}
    for number in range(seed, seed + seeds):
        chosen = sample(texts, limit, number)
        for variant in VARIANTS:
            wanted = only in variant.name and group in ("", variant.group)
            if (number, variant.group, variant.name) in done or not wanted:
                continue
            shape, training = variant.configs(backbone.state_size, number, epochs)
            cache = work / f"{'vectors' if training.vectors else 'labels'}-{number}"
            out = work / "head"
            shutil.rmtree(out, ignore_errors=True)
            history = train(chosen, backbone, shape, training, out, cache=cache, lines=real, show_progress=True)
            encoder = mean.with_pooling(shape.pooling, out)
            row = {
                "seed": number,
                "group": variant.group,
                "name": variant.name,
                "auc": token_auc(out, cache, chosen, backbone, training, real),
                "ndcg@10": ndcg(
                    encoder.encode_documents([each.text for each in noisy]), encoder.encode_queries(questions)
                ),
                "parameters": sum(each.numel() for each in load_head(out)[0].parameters()),
                "epochs": len(history),
            }
            console.print(row, style="dim")
            record["results"].append(row)
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(record, indent=2) + "\n")
        for cached in work.glob(f"*-{number}/*.bin"):  # gigabytes that no later run reads
            cached.unlink()
    show(record, console)


def show(record: Mapping[str, Any], console: Console) -> None:
    """The table: mean and standard deviation over the seeds."""
    settings = record["settings"]
    title = (
        f"{settings['dataset']}, {settings['queries']} queries, {settings['noise']}: mean pooling "
        f"{settings['mean']:.1f}, ceiling {settings['ceiling']:.1f}; heads trained on {settings['texts']:,} texts"
    )
    console.print(terminal_table(ablation_rows(record), title))


if __name__ == "__main__":
    typer.run(main)
