"""What `encode.py` compares: ways of embedding a text with all-MiniLM-L6-v2, each in a process of its own.

A process each, because peak memory and the time from nothing to the first vector belong to a process. All of them
live through the whole run and work by turns, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]
QUERY = "how do I read a file line by line without loading all of it?"
LONG = [QUERY * 30] * 16  # several batches, before anything is timed: what is made ready only for many texts
STOCK = "sentence-transformers"
CHOOSING = ("torch", "OpenVINO")  # by measuring, between float32 and bfloat16


@dataclass(frozen=True)
class System:
    """One way of embedding.

    Attributes:
        tool: what runs it.
        precision: of the weights; what is computed in is `computes_in`.
        pooling: "mean", "glot" or "glot+denoise".
    """

    tool: str
    precision: str
    pooling: str

    @property
    def name(self) -> str:
        """How the tables call it."""
        return f"{self.tool} {self.precision}, {self.pooling}"

    @property
    def choice(self) -> str:
        """What its tool's choice of a precision depends on."""
        return self.tool if self.tool == "torch" else f"{self.tool}, {self.pooling}"

    def is_mean_of(self, other: System) -> bool:
        """Whether this is mean pooling by the other one's tool."""
        return (self.tool, self.pooling) == (other.tool, "mean")

    @property
    def bundle(self) -> str | None:
        """The name of the exported bundle that it needs."""
        if self.tool == "OpenVINO":  # computes in either, whatever the weights are stored in
            return f"{self.pooling}-float32"
        return f"{self.pooling}-{self.precision}" if self.tool in ("ONNX Runtime", "FastEmbed") else None

    @property
    def computes_in(self) -> str:
        """Halves are for storage in ONNX Runtime: see `glot_onnx.precision`."""
        stored_only = self.tool in ("ONNX Runtime", "FastEmbed") and self.precision != "int8"
        return "float32" if stored_only else self.precision

    @property
    def reference(self) -> str:
        """The system in float32 whose vectors its own are compared with."""
        return System("torch" if self.pooling != "mean" else STOCK, "float32", self.pooling).name


def systems() -> list[System]:
    """All that can be run here; the stock model first.

    Its own ONNX backend needs Optimum, which has no release yet for the transformers that this library is tested with.
    """
    made = [System(STOCK, "float32", "mean")]
    if importlib.util.find_spec("optimum") is not None:
        made.append(System(f"{STOCK} ONNX", "float32", "mean"))
    for pooling in ("mean", "glot"):
        if importlib.util.find_spec("fastembed") is not None:
            made.append(System("FastEmbed", "float32", pooling))
        if importlib.util.find_spec("openvino") is not None:
            made += [System("OpenVINO", precision, pooling) for precision in ("float32", "bfloat16")]
        made += [System("ONNX Runtime", precision, pooling) for precision in ("float32", "float16", "bfloat16", "int8")]
    made += [
        System("torch", p, pooling) for pooling in ("mean", "glot", "glot+denoise") for p in ("float32", "bfloat16")
    ]
    return made


def choices(folder: Path, wanted: list[System]) -> dict[str, str]:
    """The precision that each of `CHOOSING` takes here when it is not told, by `System.choice`.

    Args:
        folder: of the bundles, which are there.
        wanted: the systems.
    """
    found = {}
    if any(each.tool == "torch" for each in wanted):
        from glot_rag.models.devices import choose_device, choose_dtype

        found["torch"] = str(choose_dtype(None, choose_device("cpu"))).removeprefix("torch.")
    for each in wanted:
        if each.tool == "OpenVINO" and each.choice not in found:
            from glot_rag import OnnxEncoder

            found[each.choice] = OnnxEncoder(folder / str(each.bundle), runtime="openvino").dtype
    return found


def export_bundles(folder: Path, wanted: list[System], report: Callable[[str], None]) -> None:
    """Write the bundles that the systems need and that are not there yet, each pooling's graph traced once.

    A loss is accepted here: how much is lost is what is measured, so hardly any texts are compared at the export.

    Args:
        folder: of the bundles; one that another encoder left there is replaced.
        wanted: the systems.
        report: called with the name of each bundle that is made.
    """
    from glot_onnx import export_encoder

    from glot_rag import GlotEncoder

    for pooling in sorted({each.pooling for each in wanted if each.bundle}):
        encoder = GlotEncoder.from_pretrained("minilm", pooling=pooling, dtype="float32", device="cpu", denoise=False)
        precisions = {str(each.bundle).split("-")[-1] for each in wanted if each.bundle and each.pooling == pooling}
        precisions.discard("float32")
        first = folder / f"{pooling}-float32"
        for precision in ("float32", *sorted(precisions)):
            path = folder / f"{pooling}-{precision}"
            if _source(path) != encoder.fingerprint:
                report(path.name)
                of = None if precision == "float32" else first
                export_encoder(encoder, path, precision=precision, accept_loss=True, texts=1, graph_of=of)


def _source(bundle: Path) -> str | None:
    """The fingerprint of the encoder that a bundle was exported from, if there is a bundle."""
    record = bundle / "onnx.json"
    return json.loads(record.read_text())["source"]["fingerprint"] if record.is_file() else None


def load(system: System, folder: Path, threads: int) -> tuple[Encode, Encode]:
    """How a system embeds documents and queries. Imports what it needs, and nothing else.

    Where a tool takes the system's precision by itself it is not named, so that all is as it comes.
    """
    if system.tool in ("ONNX Runtime", "OpenVINO"):
        from glot_rag import OnnxEncoder

        runtime = system.tool.replace(" ", "").lower()
        exported = OnnxEncoder(folder / str(system.bundle), threads=threads, runtime=runtime)
        if runtime == "openvino" and exported.dtype != system.precision:
            exported = OnnxEncoder(exported.path, threads=threads, runtime=runtime, dtype=system.precision)
        return exported.encode_documents, exported.encode_queries
    if system.tool == "FastEmbed":
        return _fastembed(system, folder / str(system.bundle), threads)
    import torch

    torch.set_num_threads(threads)
    if system.tool.startswith(STOCK):
        from sentence_transformers import SentenceTransformer

        from glot_rag.models.registry import resolve

        backend: Any = "onnx" if system.tool.endswith("ONNX") else "torch"
        model = SentenceTransformer(resolve("minilm").location, device="cpu", backend=backend)

        def stock(texts: list[str]) -> Vectors:
            return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False))

        return stock, stock
    from glot_rag import GlotEncoder

    pooling, _, denoise = system.pooling.partition("+")
    dtype = None if choices(folder, [system])["torch"] == system.precision else system.precision
    encoder = GlotEncoder.from_pretrained("minilm", pooling=pooling, dtype=dtype, device="cpu", denoise=bool(denoise))
    return encoder.encode_documents, encoder.encode_queries


def _fastembed(system: System, bundle: Path, threads: int) -> tuple[Encode, Encode]:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    def made(output: str) -> Encode:
        name = f"glot-rag/{system.pooling}-{output}"
        TextEmbedding.add_custom_model(
            model=name,
            pooling=PoolingType.DISABLED,
            normalization=False,
            sources=ModelSource(hf=name),
            dim=384,
            model_file="model.onnx",
            output_name=output,
        )
        model = TextEmbedding(
            name, specific_model_path=str(bundle), threads=threads, providers=["CPUExecutionProvider"]
        )
        return lambda texts: np.stack(list(model.embed(texts)))

    documents = made("sentence_embedding")
    return documents, documents if system.pooling == "mean" else made("query_embedding")


class Worker:
    """A system in its process.

    Args:
        system: what runs there.
        folder: of the exported bundles.
        threads: for it to compute with.

    Attributes:
        system: what runs there.
        startup: seconds from the process's start to its first vector.
    """

    def __init__(self, system: System, folder: Path, threads: int) -> None:
        self.system = system
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(system, folder, threads, theirs, time.time()), daemon=True)
        self._process.start()
        theirs.close()  # else the end of the process would not be noticed
        self.startup: float = self._ours.recv()

    def encode(self, texts: list[str], *, queries: bool = False) -> tuple[float, Vectors]:
        """Seconds, as measured in the process, and vectors."""
        self._ours.send((queries, texts))
        seconds, vectors = self._ours.recv()
        return seconds, vectors

    def peak_memory(self) -> int:
        """The peak of its memory so far, in bytes, libraries included."""
        # ru_maxrss would be the parent's where that is larger: it is kept over fork and exec.
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))

    def end(self) -> None:
        """Stop the process."""
        self._ours.send(None)
        self._process.join()


def _serve(system: System, folder: Path, threads: int, pipe: Connection, began: float) -> None:
    documents, queries = load(system, folder, threads)
    queries([QUERY])
    pipe.send(time.time() - began)
    documents(LONG)
    while (task := pipe.recv()) is not None:
        encode = queries if task[0] else documents
        start = time.perf_counter()
        vectors = encode(task[1])
        pipe.send((time.perf_counter() - start, vectors))
