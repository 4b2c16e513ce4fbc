"""`GlotPooling`: the GLOT head as a pooling module of sentence-transformers."""

from __future__ import annotations

import os
from typing import Any

import torch
from sentence_transformers.base.modules import Module, Transformer
from sentence_transformers.util import load_dir_path, repad_flattened_features
from torch import Tensor

from glot_rag.denoise.storage import load_fitted_head
from glot_rag.errors import BundleError, InputError
from glot_rag.head import BaselinePooling
from glot_rag.head.config import HeadConfig
from glot_rag.head.storage import build_head
from sentence_transformers_glot.head_module import Float32Head, Head, read_head, write_head
from sentence_transformers_glot.layer_states import LAYER_STATES, hand_over

_INCLUDE_PROMPT = "include_prompt"  # among the details that are saved with a head


class GlotPooling(Module):
    """Pools token embeddings with a GLOT (or AdaPool) head, in place of sentence-transformers' `Pooling`.

    A head may read several hidden layers: when the model is put together, its `Transformer` is told to hand them over.
    `encode_query` pools by mean pooling (`HeadConfig.mean_queries`; queries carry no noise), or in the paper form with
    the head; `encode` and `encode_document` pool with the head. Arithmetic and vectors are float32 in any model.

    A head that is fitted to a corpus (`GlotEncoder.fit`) also needs `input_ids`, as a `Transformer` leaves them
    among the features; its counts are saved with it.

    Heads in the drop form work inside the transformer: see `GlotTransformer`.

    Args:
        config: of the head, whose parameters are fresh: vectors are those of mean pooling until it is trained (paper
            form: random). `from_head` takes a trained one.
        include_prompt: False leaves the prompt's tokens out, as in sentence-transformers' `Pooling`: the transformer
            reads them, the token graph does not hold them. An attribute, too: `set_pooling_include_prompt` knows
            `Pooling` only.

    Raises:
        InputError: the configuration is in the drop form.

    Example:
        >>> from sentence_transformers import SentenceTransformer
        >>> from sentence_transformers.base.modules import Transformer
        >>> transformer = Transformer("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> model = SentenceTransformer(modules=[transformer, GlotPooling.from_head("minilm")])  # doctest: +SKIP
    """

    # encode_query and encode_document pass it.
    forward_kwargs: set[str] = {"task"}  # noqa: RUF012 -- as its base class has it

    def __init__(self, config: HeadConfig, *, include_prompt: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if config.form == "drop":
            raise InputError(
                "a head in the drop form drops tokens inside the transformer, which a pooling after it cannot: use "
                "GlotTransformer and a mean Pooling, or from_encoder, which chooses the modules"
            )
        self._float32 = Float32Head(build_head(config))
        self._query_pooling = BaselinePooling("mean", config.state_size)
        self.include_prompt = include_prompt
        self._details: dict[str, Any] = {}

    @property
    def head(self) -> Head:
        """The head; its parameters are what training changes."""
        return self._float32.head

    @classmethod
    def from_head(
        cls, name_or_path: str | os.PathLike[str], *, pooling: str = "glot", include_prompt: bool = True
    ) -> GlotPooling:
        """A trained head: one that ships, or one that `glot-rag train --out` or a saved model's folder holds.

        Args:
            name_or_path: the name of a backbone ("minilm"), or the head's directory.
            pooling: for a name, "glot" or "adapool".
            include_prompt: as for the class.

        Raises:
            ModelNotFoundError: none ships under that name, and there is no such directory.
            BundleError: the files are damaged.
            InputError: the head is in the drop form.
        """
        head, details = read_head(name_or_path, pooling)
        return cls._over(head, {**details, _INCLUDE_PROMPT: include_prompt})

    @classmethod
    def _over(cls, head: Head, details: dict[str, Any]) -> GlotPooling:
        module = cls(head.config, include_prompt=bool(details.get(_INCLUDE_PROMPT, True)))
        module._float32 = Float32Head(head)
        module._details = details
        return module

    def forward(self, features: dict[str, Any], task: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Set `sentence_embedding`, (B, O) float32, not normalised.

        Args:
            features: `token_embeddings` (B, L, D) and, for a fitted head, `input_ids` (B, L), or both flattened to
                (1, ΣL, …) with `cu_seq_lens_q`; the other layers that the head reads, from `on_model_ready`;
                `attention_mask` (B, L), padded on either side; without it every token counts;
                `prompt_length`, an int, or a tensor of equal ones, read where `include_prompt` is False.
            task: "query" for queries.
            kwargs: of other modules; not read.

        Raises:
            InputError: the layers that the head reads are not there, or the ids that a fitted head needs.
            BundleError: the head was made for states of another width.
        """
        query = (task or features.get("task")) == "query" and self.head.config.mean_queries
        states, mask, ids = _padded(self._states(features, (-1,) if query else self.head.layers), features)
        if not self.include_prompt and "prompt_length" in features:
            mask = _without_prompt(mask, features["prompt_length"])
        pooled = self._query_pooling(states, mask) if query else self._float32(states, mask, ids)
        features["sentence_embedding"] = pooled.vector
        return features

    def _states(self, features: dict[str, Any], layers: tuple[int, ...]) -> Tensor:
        """The layers' states side by side, (B, L, S·D)."""
        last: Tensor = features["token_embeddings"]
        if last.shape[-1] != self.head.config.state_size:
            raise BundleError(
                f"the head was made for states of width {self.head.config.state_size}, the transformer gives "
                f"{last.shape[-1]}: train a head for it"
            )
        if set(layers) == {-1}:
            return torch.cat([last] * len(layers), dim=-1)
        states = features.get(LAYER_STATES, {})
        if not set(layers) <= {-1, *states}:
            raise InputError(
                f"the head reads layers {layers}, but the transformer hands over the last one only: put the module "
                "into the list that SentenceTransformer(modules=[...]) is made of, or call "
                "pooling.on_model_ready(model) after model.append(pooling)"
            )
        return torch.cat([last if layer == -1 else states[layer] for layer in layers], dim=-1)

    def on_model_ready(self, model: Any) -> None:
        """Have the model's transformers hand over the hidden layers that the head reads.

        sentence-transformers calls this when a model is put together.

        Raises:
            BundleError: a transformer has no such layers, or does not show them (the ONNX and OpenVINO backends).
        """
        inner = set(self.head.layers) - {-1}
        for module in model.modules():
            if inner and isinstance(module, Transformer):
                hand_over(module, inner)

    def get_embedding_dimension(self) -> int:
        """O, the length of the vectors."""
        return self.head.output_size

    def get_config_dict(self) -> dict[str, Any]:
        """The head's settings, for print(model)."""
        return self.head.config.to_dict()

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the head as `glot-rag train` does, always as safetensors: `GlotEncoder` takes the folder as `head=`."""
        write_head(self.head, output_path, {**self._details, _INCLUDE_PROMPT: self.include_prompt})

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", *args: Any, **kwargs: Any) -> GlotPooling:
        """Read what `save` wrote. Keywords as `Module.load`.

        Raises:
            BundleError: a file is missing or damaged.
        """
        where = {key: kwargs[key] for key in ("token", "cache_folder", "revision", "local_files_only") if key in kwargs}
        directory = load_dir_path(model_name_or_path, subfolder=subfolder, **where)
        if directory is None:
            raise BundleError(f"{model_name_or_path} has no folder {subfolder!r}")
        head, _, details = load_fitted_head(directory)
        return cls._over(head, details)


def _padded(states: Tensor, features: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    """(B, L, S·D) states, their (B, L) boolean mask and the ids, of padded or flattened features, left as they are."""
    if "cu_seq_lens_q" in features:
        flat = {name: features[name] for name in ("input_ids", "cu_seq_lens_q")}
        padded = repad_flattened_features({**flat, "token_embeddings": states})
        return padded["token_embeddings"], padded["attention_mask"], padded["input_ids"]
    mask, ids = features.get("attention_mask"), features.get("input_ids")
    if mask is None:
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device), ids
    return states, mask.bool(), ids


def _without_prompt(mask: Tensor, length: int | Tensor) -> Tensor:
    """The mask less the first `length` tokens of each text, wherever its padding is."""
    first = int(length.flatten()[0]) if isinstance(length, Tensor) else int(length)
    return mask & (mask.cumsum(dim=1) > first)
