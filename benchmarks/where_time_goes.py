"""Where the time of embedding goes: by kind of operation, torch in one thread, beside the machine's matrix peak.

    python benchmarks/where_time_goes.py --json benchmarks/results/where_time_goes.json

The texts are documentation of the standard library, as they are ("clean") and with as many words of noise ("noisy").
torch's profiler gives what its operations take themselves; what is left of the wall clock is Python and the tokeniser.
The profiler itself slows everything a little. "of the peak" is what the matrix products reach of `matmul_peak`, by the
operations that `encoder_operations` counts for one run of the backbone over the whole texts.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matmul_peak import encoder_operations, matmul_peak
from rich.console import Console
from speed_tables import terminal_table, where_rows
from torch.profiler import ProfilerActivity, profile

from glot_rag import TorchEncoder
from glot_rag.evaluation import NoiseSpec, corrupt, load_stdlib
from glot_rag.models.tokenizer import pack

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "mkldnn_linear", "_mkldnn_linear"),
    "attention": ("_scaled_dot_product", "_flash_attention", "softmax", "_softmax"),
    "norms and activations": ("native_layer_norm", "layer_norm", "gelu", "tanh", "add", "add_", "mul", "div"),
}


def main(
    count: Annotated[int, typer.Option(min=2, help="Texts.")] = 100,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    texts = list(load_stdlib(count).documents.values())
    sets = {"clean": texts, "noisy": [each.text for each in corrupt(texts, NoiseSpec("words", 0.5), seed=0)]}
    results = []
    glot = TorchEncoder.from_pretrained("minilm", denoise=False)
    for pooling, encoder in (("mean", glot.with_pooling("mean")), ("glot", glot)):
        dtype = str(encoder.backbone.dtype).removeprefix("torch.")
        peak = matmul_peak(dtype, 1, 0.3)
        encoder.encode_documents(texts[:8])
        results += [
            {"pooling": pooling, "texts_are": name, "dtype": dtype, **measured(encoder, each, peak)}
            for name, each in sets.items()
        ]
    record = {"settings": {"count": count, "threads": 1, "torch": torch.__version__}, "results": results}
    if json_file:
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    Console().print(terminal_table(where_rows(record), "Where the time goes"))


def measured(encoder: TorchEncoder, texts: list[str], peak: float) -> dict[str, Any]:
    """Seconds by kind of operation, the tokens and their padding, and what the matrix products reach of the peak."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()
        encoder.encode_documents(texts)
        wall = time.perf_counter() - start
    seconds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        seconds[kind(event.key)] += event.self_cpu_time_total / 1e6
    seconds["Python and tokeniser"] = max(0.0, wall - sum(seconds.values()))
    ids = encoder.tokenizer(texts)
    lengths = list(map(len, ids))
    padded = sum(batch.ids.size for batch in pack(ids, encoder.tokenizer.pad_id, encoder.backbone.batch_tokens))
    config = encoder.backbone.model.config
    cost = encoder_operations(lengths, config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    return {
        "seconds": wall,
        "shares": {name: value / wall for name, value in seconds.items()},
        "tokens": sum(lengths),
        "padding": padded / sum(lengths) - 1,
        "of_peak": cost / seconds["matrix products"] / peak,
    }


def kind(operation: str) -> str:
    """The kind that a profiler's operation belongs to."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names or name.startswith(names[:2])), "other")


if __name__ == "__main__":
    typer.run(main)
