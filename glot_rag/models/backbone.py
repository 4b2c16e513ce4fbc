"""The frozen transformer: token batches -> hidden states of the layers that are asked for."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glot_rag.errors import BundleError, GlotError, InputError, MissingExtraError, ModelNotFoundError
from glot_rag.models.pruning import Choose, Drop, LayerTap, Run
from glot_rag.models.registry import ModelSource, file_sha256, not_found, reach_hub, resolve
from glot_rag.models.tokenizer import BATCH_TOKENS, TokenBatch, Tokenizer, pack

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_ACCELERATOR_TOKENS = 8_192
_LONGEST = 1_000_000  # tokenisers without a limit of their own say 10**30


def choose_device(device: str | None) -> torch.device:
    """The device asked for; else CUDA where there is one, else the CPU.

    Raises:
        InputError: torch knows no such device, or it is not there.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return chosen


def choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """The dtype asked for; else the fastest that keeps the vectors: bfloat16 where the hardware is faster in it.

    Raises:
        InputError: not one of float32, float16, bfloat16.
    """
    if dtype is not None:
        if dtype not in _DTYPES:
            raise InputError(f"dtype must be one of {', '.join(_DTYPES)} or None; got {dtype!r}")
        return _DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _faster_in_bfloat16() else torch.float32


@cache
def _faster_in_bfloat16() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16: measured once a process, in about 50 ms.

    That it has the instructions does not say so: where a virtual machine hides the tiles (AMX), float32 may be twice as
    fast. Where there is little between them, it is float32, which is exact.
    """
    # torch tells what the CPU has only by underscored names; where they are missing we stay in float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, probe, bool)() for probe in probes):
        return False
    return 1.3 * _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Of a product as a small encoder's feed-forward layer has them: the fastest of five."""
    with torch.inference_mode():
        states, weight = torch.ones(1024, 384, dtype=dtype), torch.ones(1536, 384, dtype=dtype)
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            torch.nn.functional.linear(states, weight)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:])  # the first one prepares


class Backbone:
    """A frozen encoder or decoder with its tokeniser. Its parameters are never trained and never change.

    Use `Backbone.load`. Calls are safe between threads.
    """

    def __init__(self, source: ModelSource, model: Any, tokenizer: Any, max_tokens: int) -> None:
        self.source = source
        self.model = model.eval().requires_grad_(False)
        self.max_tokens = max_tokens
        self.tokenizer = Tokenizer.from_transformers(tokenizer, max_tokens)
        self.state_size: int = model.config.get_text_config().hidden_size
        self.num_layers: int = model.config.get_text_config().num_hidden_layers
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.tap = LayerTap(self.model, self.num_layers)

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] = "minilm",
        *,
        device: str | None = None,
        dtype: str | None = None,
        max_tokens: int | None = None,
    ) -> Backbone:
        """Load a backbone by name: see `glot_rag.models.registry.resolve` for where it looks.

        Args:
            name: "minilm", "smollm2", a directory, a .gguf file, or a hub id of anything that `AutoModel` loads.
            device: "cpu", "cuda", "cuda:1", "mps"; None chooses.
            dtype: "float32", "float16" or "bfloat16"; None chooses.
            max_tokens: longest input in tokens; None is the model's own limit.

        Raises:
            ModelNotFoundError: nothing there; the message lists what was tried.
            BundleError: a packaged model's file is damaged, or the files cannot be loaded.
            MissingExtraError: transformers, or gguf for a GGUF file, is not installed.
            InputError: a device, dtype or max_tokens that cannot be used.
        """
        source = resolve(name)
        chosen_device = choose_device(device)
        chosen_dtype = choose_dtype(dtype, chosen_device)
        tokenizer, model = _load_with_transformers(source, chosen_dtype)
        limit = _own_limit(source, tokenizer, model)
        if max_tokens is not None and not 1 <= max_tokens <= limit:
            raise InputError(f"max_tokens must be from 1 to {limit}, the limit of '{source.name}'; got {max_tokens}")
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            raise BundleError(f"'{source.name}': the tokeniser knows more tokens than the model has embeddings for")
        return cls(source, model.to(chosen_device), tokenizer, max_tokens or limit)

    def layer_number(self, layer: int) -> int:
        """A layer's index as 0 (the embeddings) to num_layers (the last).

        Raises:
            InputError: there is no such layer.
        """
        count = self.num_layers + 1
        if not -count <= layer < count:
            raise InputError(f"'{self.source.name}' has layers 0 to {count - 1} (or -{count} to -1); got {layer}")
        return layer % count

    @property
    def batch_tokens(self) -> int:
        """How many tokens, padding included, a batch has best here."""
        return BATCH_TOKENS if self.device.type == "cpu" else _ACCELERATOR_TOKENS

    def pack(self, sequences: Sequence[Sequence[int]], batch_tokens: int | None = None) -> Iterator[TokenBatch]:
        """`tokenizer.pack` with this backbone's padding, and its own token budget unless another is given.

        Raises:
            InputError: a budget below 1.
        """
        if batch_tokens is not None and batch_tokens < 1:
            raise InputError(f"batch_tokens must be at least 1; got {batch_tokens}")
        return pack(sequences, self.tokenizer.pad_id, batch_tokens or self.batch_tokens)

    @torch.inference_mode()
    def hidden_states(
        self, batch: TokenBatch, layers: Sequence[int] = (-1,), drops: Sequence[Drop] = ()
    ) -> tuple[list[Tensor], Tensor]:
        """Run the transformer.

        Args:
            batch: token ids and mask, (B, L) each.
            layers: indices into transformers' `hidden_states`: 0 the embeddings, -1 the last layer with the
                model's final normalisation.
            drops: chosen tokens that go on by themselves (`drop`), each of which has its last states afterwards. The
                layers below are run once for all. With one drop and no `layers`, no more than that is run.

        Returns:
            One (B, L, D) tensor a layer, in the backbone's dtype, and the mask as a (B, L) boolean tensor; both on the
            backbone's device.
        """
        ids, mask = (torch.from_numpy(each).to(self.device) for each in (batch.ids, batch.mask))
        return self.states_of(ids, mask, layers, drops), mask

    def states_of(
        self, ids: Tensor, mask: Tensor, layers: Sequence[int] = (-1,), drops: Sequence[Drop] = ()
    ) -> list[Tensor]:
        """`hidden_states` for ids and mask on the backbone's device, in whatever gradient mode is on."""
        numbers = [self.layer_number(layer) for layer in layers]
        options = {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}
        forward = partial(self.model, input_ids=ids, attention_mask=mask.long(), **options)
        if not self.tap.found:
            out = forward(output_hidden_states=True)
            return [out.last_hidden_state if n == self.num_layers else out.hidden_states[n] for n in numbers]
        below = [number for number in numbers if number < self.num_layers]
        stop = None if drops or len(below) < len(numbers) else max(below)
        run = Run(below, stop, mask, drops, whole=bool(numbers) or not drops)
        out = self.tap.run(run, forward)
        if out is not None:
            run.states[self.num_layers] = run.share_out(out.last_hidden_state)
        return [run.states[number] for number in numbers]

    def drop(self, ids: Tensor, layers: Sequence[int], choose: Choose, *, shorten: bool = True) -> Drop:
        """What lets only chosen tokens, and the special ones, go on from one of the layers: see `hidden_states`.

        Args:
            ids: (B, L), of the batch that it is for.
            layers: whose states `choose` sees, all below the last; tokens are dropped after the highest of them.
            choose: (B, L, S·D) states and (B, L) mask -> (B, L) boolean.
            shorten: as in `Drop`.

        Raises:
            BundleError: the transformer is built in a way that its layers cannot be found.
        """
        if not self.tap.found:
            raise BundleError(
                f"the layers of '{self.source.name}' cannot be found: tokens cannot be dropped between them"
            )
        special = (ids[..., None] == torch.tensor(self.tokenizer.special_ids, device=ids.device)).any(-1)
        numbers = [self.layer_number(layer) for layer in layers]
        return Drop(numbers, lambda states, mask: choose(states, mask) | special, shorten)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the model's files: weights, configuration, tokeniser.

        The dtype is not part of it: vectors of the same model in float32 and bfloat16 belong in one index.
        """
        digest = hashlib.sha256()
        for name, file_digest in sorted(self._file_digests().items()):
            digest.update(f"{name}:{file_digest}\n".encode())
        return digest.hexdigest()

    def _file_digests(self) -> dict[str, str]:
        source, names = self.source, ("config.json", "tokenizer.json", "tokenizer.model", "vocab.txt")
        if source.gguf_file:
            return {"weights": file_sha256(Path(source.location) / source.gguf_file)}
        folder = Path(source.location if source.is_local else self._snapshot())
        weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
        files = [*weights, *(folder / name for name in names)]
        return {path.name: file_sha256(path) for path in files if path.is_file()}

    def _snapshot(self) -> str:
        from huggingface_hub import snapshot_download

        return str(snapshot_download(self.source.location, local_files_only=True))


def _own_limit(source: ModelSource, tokenizer: Any, model: Any) -> int:
    """The smallest of what sentence-transformers' settings, the tokeniser and the position embeddings allow."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from padding_idx + 1; the embeddings before that are never used.
        if positions and name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    limits = [tokenizer.model_max_length, positions]
    settings = Path(source.location) / "sentence_bert_config.json"
    if settings.is_file():
        limits.append(json.loads(settings.read_text(encoding="utf-8")).get("max_seq_length"))
    return min(int(limit) for limit in [*limits, _LONGEST] if limit)


_QUIET = threading.Lock()


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hold back the progress bars and notes that transformers prints while it loads."""
    from transformers.utils import logging

    with _QUIET:
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(40)  # errors only
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load_with_transformers(source: ModelSource, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "torch") from error
    where: dict[str, Any] = {}
    if source.gguf_file:
        for package in ("gguf", "accelerate"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "smollm2")
        where["gguf_file"] = source.gguf_file

    def load(local_only: bool) -> tuple[Any, Any]:
        options = {**where, "local_files_only": local_only}
        tokenizer = AutoTokenizer.from_pretrained(source.location, **options)
        return tokenizer, AutoModel.from_pretrained(source.location, dtype=dtype, **options)

    with _quiet_loading():
        try:
            return load(local_only=True)
        except GlotError:
            raise
        except Exception as error:
            if source.is_local:
                raise BundleError(
                    f"{source.location} does not hold a model that transformers can load: {error}"
                ) from error
        try:
            reach_hub(source.location)
            return load(local_only=False)
        except Exception as error:
            raise ModelNotFoundError(not_found(source.name, source.tried, source.install, error)) from error
