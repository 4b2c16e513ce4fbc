"""The frozen transformer: token batches -> hidden states of the layers that are asked for."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.models.devices import choose_device, choose_dtype
from glot_rag.models.layers import Layers, in_two_dtypes
from glot_rag.models.loading import load_with_transformers, longest_input, put_in_lower_case
from glot_rag.models.pruning import Choose, Pruned, Pruning, run_layers
from glot_rag.models.registry import ModelSource, resolve
from glot_rag.models.sentence_settings import NO_SETTINGS, SentenceSettings, read_settings
from glot_rag.models.tokenizer import BATCH_TOKENS, TokenBatch, Tokenizer, pack
from glot_rag.models.unpacking import file_sha256

logger = logging.getLogger(__name__)

_ACCELERATOR_TOKENS = 8_192


class Backbone:
    """A frozen encoder or decoder with its tokeniser. Its parameters are never trained and never change.

    Use `Backbone.load`. Calls are safe between threads.

    Where tokens are dropped, the layers that the choice is made on run in float32, whatever the dtype: rounded to
    bfloat16, their states drop other tokens now and then.

    Attributes:
        settings: how the model's own vectors are made, by the files beside it.
    """

    def __init__(
        self,
        source: ModelSource,
        model: Any,
        tokenizer: Any,
        max_tokens: int,
        settings: SentenceSettings = NO_SETTINGS,
    ) -> None:
        self.source = source
        self.settings = settings
        self._choosing: dict[int, Layers] = {}
        self.model = model.eval().requires_grad_(False)
        self.max_tokens = max_tokens
        self.tokenizer = Tokenizer.from_transformers(tokenizer, max_tokens)
        self.state_size: int = model.config.get_text_config().hidden_size
        self.num_layers: int = model.config.get_text_config().num_hidden_layers
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype

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
            name: "minilm", "mpnet", "e5", "smollm2", a directory, a .gguf file, or a hub id of anything that
                `AutoModel` loads.
            device: "cpu", "cuda", "cuda:1", "mps"; None chooses.
            dtype: "float32", "float16" or "bfloat16"; None chooses.
            max_tokens: longest input in tokens; None is the model's own limit.

        Raises:
            ModelNotFoundError: nothing there; the message lists what was tried.
            BundleError: a packaged model's file is damaged, or the files cannot be loaded.
            MissingExtraError: transformers, or gguf for a GGUF file, is not installed.
            InputError: a device, dtype or max_tokens that cannot be used.
        """
        chosen = choose_device(device)
        return cls._from_source(resolve(name), chosen, choose_dtype(dtype, chosen), max_tokens)

    @classmethod
    def _from_source(
        cls, source: ModelSource, device: torch.device, dtype: torch.dtype, max_tokens: int | None
    ) -> Backbone:
        tokenizer, model = load_with_transformers(source, dtype)
        settings = read_settings(source)
        if settings.lower_case:
            put_in_lower_case(tokenizer)
        limit = longest_input(settings, tokenizer, model)
        if max_tokens is not None and not 1 <= max_tokens <= limit:
            raise InputError(f"max_tokens must be from 1 to {limit}, the limit of '{source.name}'; got {max_tokens}")
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            raise BundleError(f"'{source.name}': the tokeniser knows more tokens than the model has embeddings for")
        backbone = cls(source, model.to(device), tokenizer, max_tokens or limit, settings)
        logger.info(
            "loaded '%s' from %s: %s on %s, up to %d tokens",
            source.name,
            source.location,
            str(backbone.dtype).removeprefix("torch."),
            backbone.device,
            backbone.max_tokens,
        )
        return backbone

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
    def hidden_states(self, batch: TokenBatch, layers: Sequence[int] = (-1,)) -> tuple[list[Tensor], Tensor]:
        """Run the transformer over a batch, up to the highest layer that is asked for.

        Args:
            batch: token ids and mask, (B, L) each.
            layers: indices into transformers' `hidden_states`: 0 the embeddings, -1 the last layer with the
                model's final normalisation.

        Returns:
            One (B, L, D) tensor a layer, in the backbone's dtype, and the mask as a (B, L) boolean tensor; both on the
            backbone's device.
        """
        ids, mask = (torch.from_numpy(each).to(self.device) for each in (batch.ids, batch.mask))
        return self.run(ids, mask, layers)[0], mask

    def states(self, batch: TokenBatch, layers: Sequence[int]) -> NDArray[np.float32]:
        """The hidden states of some layers side by side, for what reads them outside of torch: (B, L, S·D)."""
        states, _ = self.hidden_states(batch, layers)
        found: NDArray[np.float32] = torch.cat(states, dim=-1).float().cpu().numpy()
        return found

    def run(
        self,
        ids: Tensor,
        mask: Tensor,
        layers: Sequence[int],
        prunings: Sequence[Pruning] = (),
        *,
        shorten: bool = True,
    ) -> tuple[list[Tensor], list[Pruned]]:
        """`glot_rag.models.pruning.run_layers`, in whatever gradient mode is on.

        Args:
            ids: (B, L), on the backbone's device.
            mask: (B, L) boolean.
            layers: as for `hidden_states`.
            prunings: made by `pruning`.
            shorten: as in `run_layers`.

        Raises:
            UnsupportedError: there are prunings, and the transformer cannot be run layer by layer.
        """
        numbers = [self.layer_number(layer) for layer in layers]
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        one_by_one = self._layers
        if one_by_one is not None:
            if prunings and self.dtype != torch.float32:
                one_by_one = self._exact_below(max(number for pruning in prunings for number in pruning.layers))
            return run_layers(one_by_one, inputs, numbers, prunings, shorten=shorten)
        if prunings:
            Layers(self.model)  # says why it cannot be
        out = self.model(**inputs, output_hidden_states=True)
        return [out.last_hidden_state if n == self.num_layers else out.hidden_states[n] for n in numbers], []

    def pruning(self, ids: Tensor, layers: Sequence[int], choose: Choose) -> Pruning:
        """A pruning for `run` that never drops special tokens.

        Args:
            ids: (B, L), of the batch that it is for.
            layers: as for `hidden_states`, all below the last.
            choose: as in `Pruning`.
        """
        special = (ids[..., None] == torch.tensor(self.tokenizer.special_ids, device=ids.device)).any(-1)
        numbers = [self.layer_number(layer) for layer in layers]
        return Pruning(numbers, lambda states, mask: choose(states, mask) | special)

    @cached_property
    def in_float32(self) -> Backbone:
        """This backbone, or the same one in float32, loaded when first needed."""
        if self.dtype == torch.float32:
            return self
        logger.info("loading '%s' in float32, too", self.source.name)
        return Backbone._from_source(self.source, self.device, torch.float32, self.max_tokens)

    @cached_property
    def _layers(self) -> Layers | None:
        try:
            return Layers(self.model)
        except UnsupportedError as error:
            logger.info("'%s' runs as a whole, whatever layers are read: %s", self.source.name, error)
            return None

    def _exact_below(self, start: int) -> Layers:
        """The layers, with embeddings and those below `start` in float32."""
        if start not in self._choosing:
            self._choosing[start] = Layers(in_two_dtypes(self.in_float32.model, self.model, start))
        return self._choosing[start]

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
        if source.converted_from:  # what is written may change with the libraries that write it
            return {"weights": source.converted_from}
        folder = Path(source.location if source.is_local else self._snapshot())
        weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
        files = [*weights, *(folder / name for name in names)]
        digests = {path.name: file_sha256(path) for path in files if path.is_file()}
        return digests | ({"lower case": "yes"} if self.settings.lower_case else {})

    def _snapshot(self) -> str:
        from huggingface_hub import snapshot_download

        return str(snapshot_download(self.source.location, local_files_only=True))
