"""An exported denoiser: three graphs, run by ONNX Runtime or OpenVINO, and what was counted. No torch, no transformers.

`glot_onnx.export_denoiser` makes the bundle: `states.onnx`, `words.onnx` and `blocks.onnx` (`glot_rag.onnx.networks`),
`tokenizer.json`, `onnx_denoiser.json`, and `saved/`, the denoiser as `Denoiser.save` writes it, whose counts are read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from glot_rag.denoise.corpus_statistics import FEATURES, STATISTICS_FILE, CorpusStatistics
from glot_rag.denoise.denoiser import EXPORTED_RECORD as RECORD
from glot_rag.denoise.denoiser import Denoiser, is_exported
from glot_rag.denoise.recurrence import RECURRENCE_FEATURES, RECURRENCE_FILE, Recurrence
from glot_rag.documents.layout import LAYOUT_FEATURES
from glot_rag.errors import BundleError, InputError, MissingExtraError, UnsupportedError
from glot_rag.files import read_checked, read_json_record
from glot_rag.fingerprint import fingerprint
from glot_rag.models.tokenizer import Tokenizer
from glot_rag.onnx.networks import BlockHead, LowerLayers, WordHead
from glot_rag.onnx.runtimes import GraphRuntime, check_runtime, load_graph

FORMAT = "glot-rag/onnx-denoiser"
FORMAT_VERSION = 1
STATES, WORDS, BLOCKS, TOKENIZER = "states.onnx", "words.onnx", "blocks.onnx", "tokenizer.json"
SAVED = "saved"  # the folder
STATISTICS, CLASSIFIER = f"{SAVED}/words/{STATISTICS_FILE}", f"{SAVED}/words/noise_classifier.safetensors"
RECURRENCE = f"{SAVED}/{RECURRENCE_FILE}"
# What a bundle's graphs take: another version of this library may compute others.
INPUTS = {"layout": list(LAYOUT_FEATURES), "recurrence": list(RECURRENCE_FEATURES), "corpus_features": list(FEATURES)}
_FILES = (STATES, WORDS, BLOCKS, TOKENIZER, STATISTICS, CLASSIFIER, RECURRENCE)
_FIELDS: dict[str, type] = {
    **{"fingerprint": str, "state_size": int, "max_tokens": int, "pad_id": int, "stand_in": int},
    **{"special_ids": list, "sha256": dict, "inputs": dict},
}


class OnnxDenoiser(Denoiser):
    """A `Denoiser` that runs an exported bundle. `Denoiser.from_pretrained` makes one for a bundle.

    It has the fingerprint of the denoiser that it was exported from. It cannot be fitted: fit that one, and export it.

    Args:
        path: the bundle's directory.
        threshold: as in `Denoiser`; None is the exported denoiser's.
        threads: to compute with; None takes the physical cores.
        runtime: "onnxruntime" or "openvino".
        dtype: for OpenVINO, what it computes in: "float32", the default, or "bfloat16".

    Raises:
        InputError: threads below 1, an unknown runtime or dtype, a dtype for ONNX Runtime, a threshold that is none.
        BundleError: the bundle is damaged, lacks a file, or its graphs take other features.
        MissingExtraError: onnxruntime or openvino is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threshold: float | None = None,
        threads: int | None = None,
        runtime: str = "onnxruntime",
        dtype: str | None = None,
    ) -> None:
        check_runtime(runtime, threads, dtype, computes_in="float32")
        self.path = Path(path)
        self.runtime = runtime
        record = read_json_record(self.path / RECORD, FORMAT, FORMAT_VERSION)
        _check_record(record, self.path)
        self.record: dict[str, Any] = record
        files = {name: read_checked(self.path / name, sha, RECORD) for name, sha in _files(record["sha256"]).items()}

        def graph(name: str) -> GraphRuntime:
            try:
                return load_graph(runtime, files[name], threads, dtype or "float32")
            except MissingExtraError:
                raise
            except Exception as error:  # the runtimes raise bare exceptions of their own
                raise BundleError(f"{self.path / name} cannot be loaded: {error}") from error

        recurrence = Recurrence.load(self.path / RECURRENCE) if RECURRENCE in files else None
        super().__init__(
            LowerLayers(graph(STATES), _tokenizer(files[TOKENIZER], record, self.path), record["state_size"]),
            _word_head(graph(WORDS), record["words"], self.path, files) if record["words"] else None,
            BlockHead(graph(BLOCKS), **record["blocks"]) if record["blocks"] else None,
            threshold=record["threshold"] if threshold is None else threshold,
            recurrence=recurrence,
        )

    @property
    def can_be_fitted(self) -> bool:
        """No: `fit` runs torch."""
        return False

    @property
    def fitted(self) -> bool:
        """Whether the denoiser that was exported knew what recurs in a corpus."""
        return self._recurrence is not None or STATISTICS in self.record["sha256"]

    @property
    def fingerprint(self) -> str:
        """That of the denoiser that was exported; one of its own with another threshold."""
        own: str = self.record["fingerprint"]
        if self._threshold == self.record["threshold"]:
            return own
        return fingerprint({"exported": own, "threshold": self._threshold})

    def fit(
        self, texts: Sequence[str], groups: Sequence[str] | None = None, *, show_progress: bool = False
    ) -> Denoiser:
        """Not here.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(f"{self!r} cannot be fitted: fit a denoiser with torch, and export that one")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Copy what running the bundle needs into a directory.

        Raises:
            InputError: the directory holds something else, or the threshold is not that of the bundle.
        """
        target = Path(path)
        if self._threshold != self.record["threshold"]:
            raise InputError(
                f"the bundle has the threshold {self.record['threshold']}, this denoiser {self._threshold}: export one "
                "with that threshold"
            )
        if target.resolve() == self.path.resolve():
            return
        if target.exists() and not is_exported(target) and any(target.iterdir()):
            raise InputError(f"{target} is not empty and not an exported denoiser: choose another directory")
        for name in (*_files(self.record["sha256"]), RECORD):  # the record comes last: without it there is no bundle
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path / name, target / name)

    def __repr__(self) -> str:
        return f"OnnxDenoiser({str(self.path)!r}, fitted={self.fitted}, runtime={self.runtime!r})"


def load(
    name: str | os.PathLike[str],
    *,
    head: str | os.PathLike[str] | None,
    threshold: float | None,
    device: str | None,
    dtype: str | None,
) -> OnnxDenoiser:
    """Load a bundle for `Denoiser.from_pretrained`, whose arguments and errors these are."""
    given = [key for key, value in (("head", head), ("device", device), ("dtype", dtype)) if value is not None]
    if given:
        raise InputError(f"an exported denoiser has its settings built in; got {', '.join(given)}: leave them out")
    return OnnxDenoiser(name, threshold=threshold)


def _check_record(record: Mapping[str, Any], path: Path) -> None:
    wrong = [key for key, kind in _FIELDS.items() if not isinstance(record.get(key), kind)]
    shapes: dict[str, dict[str, type | tuple[type, ...]]] = {
        "words": {"layers": list, "min_keep_ratio": (int, float), "min_drop_ratio": (int, float)},
        "blocks": {"layer": int, "noise_threshold": float},
    }
    for key, fields in shapes.items():
        value = record.get(key)
        if value is not None and not (
            isinstance(value, dict)
            and value.keys() == fields.keys()
            and all(isinstance(value[name], kind) for name, kind in fields.items())
        ):
            wrong.append(key)
    if not isinstance(record.get("threshold"), (float, type(None))):
        wrong.append("threshold")
    needed = [STATES, TOKENIZER, *([WORDS] if record.get("words") else []), *([BLOCKS] if record.get("blocks") else [])]
    if not wrong:
        wrong += [name for name in needed if name not in record["sha256"]]
    if wrong:
        raise BundleError(f"{path / RECORD} lacks {', '.join(wrong)}: export the denoiser again")
    for name, expected in INPUTS.items():
        if record["inputs"].get(name) != expected:
            raise BundleError(
                f"the graphs in {path} take the {name} {record['inputs'].get(name)}, this glot-rag computes "
                f"{expected}: export the denoiser again"
            )


def _files(sha256: Mapping[str, object]) -> dict[str, object]:
    """What running a bundle needs, with the checksums; nothing else that a record may name is touched."""
    return {name: sha256[name] for name in _FILES if name in sha256}


def _tokenizer(data: bytes, record: Mapping[str, Any], path: Path) -> Tokenizer:
    import tokenizers

    try:
        core = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # bare exceptions
        raise BundleError(f"{path / TOKENIZER} cannot be loaded: {error}") from error
    return Tokenizer(
        core,
        record["max_tokens"],
        pad_id=record["pad_id"],
        stand_in=record["stand_in"],
        special_ids=record["special_ids"],
    )


def _word_head(graph: GraphRuntime, settings: Mapping[str, Any], path: Path, files: Mapping[str, bytes]) -> WordHead:
    if STATISTICS not in files:
        return WordHead(graph, **settings)
    try:
        background = load_arrays(files[CLASSIFIER])["background"].astype(np.float32)
    except (SafetensorError, KeyError) as error:
        raise BundleError(f"{path / CLASSIFIER} is no noise classifier ({error}): export the denoiser again") from error
    statistics = CorpusStatistics.load(path / STATISTICS)
    expected, found = len(statistics.occurrences), background.shape
    if found != (expected,):
        raise BundleError(
            f"{path / CLASSIFIER} is for {found} tokens, {STATISTICS_FILE} for {expected}: export the denoiser again"
        )
    return WordHead(graph, **settings, statistics=statistics, background=background)
