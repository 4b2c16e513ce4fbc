"""What training costs: a GLOT head on cached hidden states, LoRA, and full fine-tuning of the same backbone.

    python benchmarks/train_cost.py [--backbone minilm] [--text texts.jsonl.gz] --json train_cost.json

Each method learns the same thing from the same noisy views in batches of the same size: 1 - cos between its vector of
the noisy text and the frozen backbone's vector of the clean words. LoRA (peft) has rank 64 on every linear layer, as in
the GLOT paper. Each runs in a process of its own, so that its peak memory is its own; the processes follow one another.
A step is forward, backward and AdamW; the median step counts. An epoch is that times the steps of an epoch. Where the
hardware computes in bfloat16, so do the backbone's passes of all methods. Needs peft.
"""

from __future__ import annotations

import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from speed_tables import terminal_table, train_cost_rows
from torch import Tensor

from glot_rag.denoise.noisy_views import NoiseGenerator
from glot_rag.encoder.encoding import pool_texts
from glot_rag.evaluation import load_stdlib
from glot_rag.head import BaselinePooling, GlotHead
from glot_rag.head.config import HeadConfig
from glot_rag.models.backbone import Backbone
from glot_rag.models.devices import choose_dtype
from glot_rag.models.tokenizer import TokenBatch, pack
from glot_rag.training.loop import gather
from glot_rag.training.objectives import denoising_loss
from glot_rag.training.texts import TrainingText, read_texts
from glot_rag.training.views import cache_views

METHODS = ("glot", "lora", "full")
SEED = 0


def read(text: list[Path] | None, count: int) -> list[TrainingText]:
    """The first `count` texts."""
    if text:
        return read_texts(text)[:count]
    return [TrainingText(each, "") for each in load_stdlib(None).documents.values()][:count]


def peak_memory() -> float:
    """The most that this process has held so far, in GiB: on the accelerator where there is one, else in RAM."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(steps: Iterator[Callable[[], Tensor]], parameters: list[Tensor], count: int) -> list[float]:
    """Seconds of each of `count` steps, after two that warm up."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    seconds = []
    for _ in range(count + 2):
        loss = next(steps)
        start = time.perf_counter()
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        value.item()  # an accelerator has finished only now
        seconds.append(time.perf_counter() - start)
    return seconds[2:]


def measure_glot(backbone: Backbone, texts: list[TrainingText], batch: int, steps: int) -> dict[str, Any]:
    """The head: states cached once, then steps over them."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cache = cache_views(folder, texts, backbone, layers=(-1,), views=1, seed=SEED, show_progress=True)
        caching = time.perf_counter() - start
        torch.manual_seed(SEED)
        head = GlotHead(HeadConfig(backbone.state_size)).to(backbone.device)
        rng = np.random.default_rng(SEED)

        def losses() -> Iterator[Callable[[], Tensor]]:
            while True:
                rows = rng.choice(len(texts), size=batch, replace=False) * 2  # every other row is a query

                def loss(rows: Any = rows) -> Tensor:
                    # Reading the cache is part of the step.
                    states, mask, *_ = gather(cache, rows)
                    target = torch.from_numpy(np.array(cache.column("target")[rows])).to(backbone.device)
                    return denoising_loss(head(states.to(backbone.device), mask.to(backbone.device)).vector, target)

                yield loss

        seconds = timed(losses(), list(head.parameters()), 10 * steps)
    return {"parameters": _count(head), "step_seconds": seconds, "caching_seconds": caching}


def measure_tuning(backbone: Backbone, texts: list[TrainingText], batch: int, steps: int, lora: bool) -> dict[str, Any]:
    """LoRA or everything: a pass through the backbone and back each step, mean pooling on top."""
    noise = NoiseGenerator([text.text for text in texts], SEED)
    rng = np.random.default_rng(SEED)
    chosen = [rng.choice(len(texts), size=batch, replace=False) for _ in range(steps + 2)]
    views = {index: noise.view(int(index), 0) for rows in chosen for index in rows}
    mean = {"mean": BaselinePooling("mean", backbone.state_size)}
    vectors = pool_texts(backbone, mean, [view.signal for view in views.values()])["mean"]
    targets = dict(zip(views, vectors, strict=True))
    model = backbone.model.float()
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=64, lora_alpha=64, target_modules="all-linear"))
    else:
        model.requires_grad_(True)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def losses() -> Iterator[Callable[[], Tensor]]:
        for rows in chosen:
            ids = backbone.tokenizer([views[index].text for index in rows])
            (packed,) = pack(ids, backbone.tokenizer.pad_id, 10**9)
            target = torch.from_numpy(np.stack([targets[rows[place]] for place in packed.rows])).to(backbone.device)

            def loss(packed: TokenBatch = packed, target: Tensor = target) -> Tensor:
                mask = torch.from_numpy(packed.mask).to(backbone.device)
                bfloat16 = choose_dtype(None, backbone.device) == torch.bfloat16
                with torch.autocast(backbone.device.type, torch.bfloat16, enabled=bfloat16):
                    states = model(
                        input_ids=torch.from_numpy(packed.ids).to(backbone.device), attention_mask=mask.long()
                    ).last_hidden_state
                weights = mask.float() / mask.sum(1, keepdim=True)
                return denoising_loss(torch.einsum("bl,bld->bd", weights, states.float()), target)

            yield loss

    seconds = timed(losses(), trained, steps)
    return {"parameters": sum(map(torch.Tensor.numel, trained)), "step_seconds": seconds, "caching_seconds": 0.0}


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def main(
    backbone: Annotated[str, typer.Option(help="minilm, smollm2, a hub id or a path.")] = "minilm",
    text: Annotated[list[Path] | None, typer.Option(help="JSONL with texts; the standard library's if none.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Training examples, the first texts.")] = 2000,
    batch: Annotated[int, typer.Option(min=2, help="Texts a step.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Steps to time, ten times as many for the head.")] = 20,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs that the caching is spread over.")] = 4,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    only: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure and print."""
    if only:
        texts = read(text, count)
        # Only a frozen backbone can do without its gradients' precision.
        loaded = Backbone.load(backbone, dtype=None if only == "glot" else "float32")
        result = (
            measure_glot(loaded, texts, batch, steps)
            if only == "glot"
            else measure_tuning(loaded, texts, batch, steps, lora=only == "lora")
        )
        print(json.dumps({**result, "texts": len(texts), "peak_gib": peak_memory()}))
        return
    results = []
    for method in METHODS:
        run = subprocess.run(
            [sys.executable, *sys.argv, "--only", method], stdout=subprocess.PIPE, check=True, encoding="utf-8"
        )
        found = json.loads(run.stdout.splitlines()[-1])
        step = statistics.median(found.pop("step_seconds"))
        epoch = step * math.ceil(found["texts"] / batch)
        amortised = epoch + found["caching_seconds"] / epochs
        results.append({"method": method, "step_seconds": step, "epoch_seconds": epoch, **found})
        results[-1]["epoch_seconds_with_caching"] = amortised
    glot = results[0]
    for row in results:
        row["parameters_of_glot"] = row["parameters"] / glot["parameters"]
        row["step_of_glot"] = row["step_seconds"] / glot["step_seconds"]
    settings = {
        "backbone": backbone,
        "texts": [path.name for path in text] if text else "python-stdlib",
        **{"batch": batch, "steps": steps, "epochs": epochs, "seed": SEED},
        **{"threads": torch.get_num_threads(), "machine": platform.machine(), "torch": torch.__version__},
    }
    record = {"settings": settings, "results": results}
    title = f"{backbone}: {glot['texts']} texts, batches of {batch}, {torch.get_num_threads()} threads"
    console = Console()
    console.print(terminal_table(train_cost_rows(record), title))
    console.print(f"caching the hidden states, once: {glot['caching_seconds']:.1f} s")
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
