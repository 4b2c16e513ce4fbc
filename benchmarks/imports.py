"""How long each root takes to import in a fresh process, beside what it is built on.

    python benchmarks/imports.py [--repeats 9] [--json imports.json] [--root langchain_glot]

A root and its framework alone are imported by turns, so that whatever else the machine does falls on both; "adds" is
the median of the differences of the pairs. One turn goes before, unmeasured: the files are then in the system's cache.
A root whose framework is not installed is left out. Which modules the time goes to: `python -X importtime -c ...`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

# root: (how it is imported, what it is built on)
ROOTS = {
    "glot_rag": ("import glot_rag", "pass"),
    "glot_rag: GlotIndex": ("from glot_rag import GlotIndex", "import numpy"),
    "glot_rag: GlotEncoder": ("from glot_rag import GlotEncoder", "import torch"),
    "glot_rag.cli.app": ("import glot_rag.cli.app", "import typer"),
    "langchain_glot": (
        "import langchain_glot",
        "import langchain_core.embeddings, langchain_core.vectorstores, langchain_core.vectorstores.utils",
    ),
    "llama_index.embeddings.glot": ("import llama_index.embeddings.glot", "import llama_index.core"),
    "llama_index.vector_stores.glot": ("import llama_index.vector_stores.glot", "import llama_index.core"),
    "sentence_transformers_glot": ("import sentence_transformers_glot", "import sentence_transformers"),
    "mteb_glot": ("import mteb_glot", "import mteb"),
    "haystack_integrations…glot": ("import haystack_integrations.components.embedders.glot", "import haystack"),
    "glot_onnx": ("import glot_onnx", "import torch, onnx, onnxscript"),
}
HEAVY = ("torch", "transformers", "torch_geometric", "faiss")
MEASURE = """
import sys, time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
import json
heavy = [name for name in {heavy} if name in sys.modules]
print(json.dumps({{"seconds": seconds, "modules": len(sys.modules), "heavy": heavy}}))
"""


@dataclass(frozen=True)
class Import:
    """One import in a fresh process.

    Attributes:
        seconds: of the import statement alone, without the interpreter's start.
        modules: how many were loaded at its end.
        heavy: those of `HEAVY` that were loaded.
    """

    seconds: float
    modules: int
    heavy: list[str]


def import_once(statement: str) -> Import | None:
    """Run it in a process of its own; None if something that it needs is not installed."""
    code = MEASURE.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        if last.startswith(("ModuleNotFoundError", "glot_rag.errors.MissingExtraError")):
            return None
        raise RuntimeError(f"{statement!r} failed:\n{done.stderr}")
    return Import(**json.loads(done.stdout.splitlines()[-1]))


def compare(root: str, repeats: int) -> dict[str, Any] | None:
    """Import a root and what it is built on, by turns; None if it cannot be imported here."""
    statement, below = ROOTS[root]
    if import_once(statement) is None or import_once(below) is None:
        return None
    pairs: list[tuple[Import, Import]] = []
    for turn in range(repeats):
        order = (statement, below) if turn % 2 else (below, statement)
        done = {each: import_once(each) for each in order}
        first, second = done[statement], done[below]
        assert first is not None
        assert second is not None
        pairs.append((first, second))
    last = pairs[-1][0]
    return {
        "root": root,
        "seconds": statistics.median(mine.seconds for mine, _ in pairs),
        "below": below.removeprefix("import "),
        "below_seconds": statistics.median(theirs.seconds for _, theirs in pairs),
        "adds_seconds": statistics.median(mine.seconds - theirs.seconds for mine, theirs in pairs),
        "modules": last.modules,
        "heavy": last.heavy,
    }


def show(results: list[dict[str, Any]]) -> None:
    table = Table(title="Cold imports: seconds, medians")
    for heading in ("root", "import", "built on", "alone", "adds", "modules", "loads"):
        table.add_column(heading, justify="right" if heading in ("import", "alone", "adds", "modules") else "left")
    for result in results:
        table.add_row(
            result["root"],
            f"{result['seconds']:.2f}",
            "nothing" if result["below"] == "pass" else result["below"].split(",")[0],
            f"{result['below_seconds']:.2f}",
            f"{result['adds_seconds']:+.2f}",
            str(result["modules"]),
            ", ".join(result["heavy"]),
        )
    Console(width=max(120, Console().width)).print(table)


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Pairs a root.")] = 9,
    root: Annotated[list[str] | None, typer.Option(help="Only roots whose name has this in it; repeatable.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Time the import of each root in fresh processes, paired with the import of what it is built on."""
    results = []
    for name in ROOTS:
        if root and not any(part in name for part in root):
            continue
        result = compare(name, repeats)
        if result is None:
            typer.echo(f"{name}: not installed here, left out", err=True)
        else:
            results.append(result)
    show(results)
    if json_path is not None:
        machine = {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "python": platform.python_version(),
        }
        json_path.write_text(json.dumps({"machine": machine, "repeats": repeats, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
