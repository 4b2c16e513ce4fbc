"""`GlotTransformer`: a transformer that drops noise tokens on its way, for heads in the drop form."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.util import load_dir_path
from torch import Tensor, nn

from glot_rag.denoise.storage import load_fitted_head
from glot_rag.errors import BundleError, InputError, TrainingError
from glot_rag.head.config import HeadConfig
from glot_rag.head.storage import build_head
from glot_rag.models.layers import Layers
from glot_rag.models.pruning import Pruning, mix, run_layers
from sentence_transformers_glot.head_module import Float32Head, Head, read_head, write_head

_FOLDER = "glot_head"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")  # of the features


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """What a module's `_apply` hands to its function."""
    for parameter in module.parameters():
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad
    yield from module.buffers()


class _NoPromptLength:
    """Takes the place of `prompt_length` among the features, and raises where a pooling reads it."""

    def __int__(self) -> int:
        raise InputError(
            "a pooling with include_prompt=False cannot follow a head in the drop form, which weights tokens for the "
            "mean of the whole text: use include_prompt=True, or GlotPooling with a head in residual form"
        )


class GlotTransformer(Transformer):
    """A `Transformer` in which a head in the drop form lets only signal go on to the upper layers.

    It gives `token_embeddings`, float32 in any model, with an `attention_mask` of the tokens that were kept, so that a
    mean `Pooling` after it gives the head's vector. Where `HeadConfig.mean_queries` holds, `encode_query` drops
    none.

    The model is loaded in float32, or in what `model_kwargs={"dtype": …}` says. No cast reaches the layers by which
    tokens are chosen: rounded, they drop other tokens now and then.

    A head that is fitted to a corpus (`from_encoder`, or `from_head` with a saved encoder's folder `head`) knows by the
    token ids what recurs there; the corpus statistics are saved with it.

    The choice of tokens has no gradient: such a head is trained with `glot-rag train`, not with a trainer of
    sentence-transformers.

    Args:
        model_name_or_path: as `Transformer`.
        head: the drop-form configuration, for fresh parameters; `from_head` takes a trained head.
        kwargs: as `Transformer`. Inputs are always padded, never flattened.

    Raises:
        InputError: the head is not in the drop form.
        BundleError: the head does not fit the transformer.
        UnsupportedError: the transformer's architecture or attention (FlashAttention, …) does not allow token pruning:
            see `glot_rag.models.layers`.
    """

    forward_kwargs: set[str] = {"task"}  # noqa: RUF012 -- as its base class has it

    def __init__(self, model_name_or_path: str, *, head: HeadConfig, **kwargs: Any) -> None:
        if head.form != "drop":
            raise InputError(f"GlotTransformer is for heads in the drop form, got {head.form!r}: use GlotPooling")
        options = dict(kwargs.get("model_kwargs") or {})
        dtype = options.pop("dtype", options.pop("torch_dtype", None))
        options["dtype"] = torch.float32
        super().__init__(model_name_or_path, **{**kwargs, "model_kwargs": options, "unpad_inputs": False})
        self._float32 = Float32Head(build_head(head))
        self._details: dict[str, Any] = {}
        config = self.model.config.get_text_config()
        self._check(head, config.hidden_size, config.num_hidden_layers)
        if dtype not in (None, "auto"):
            self.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)

    @classmethod
    def from_head(
        cls,
        model_name_or_path: str,
        head: str | os.PathLike[str],
        *,
        pooling: str = "glot",
        **kwargs: Any,
    ) -> GlotTransformer:
        """A transformer with a trained head.

        Args:
            model_name_or_path: as for sentence-transformers' `Transformer`: a hub id or a directory.
            head: a directory that `glot-rag train --out` wrote, or the name of a head that ships ("minilm").
            pooling: for a name, "glot" or "adapool".
            kwargs: as for sentence-transformers' `Transformer`.

        Raises:
            ModelNotFoundError: no head ships under that name, and there is no such directory.
            BundleError: the head's files are damaged, or it is for another backbone.
        """
        return cls._over(model_name_or_path, *read_head(head, pooling), **kwargs)

    @classmethod
    def _over(cls, model_name_or_path: str, head: Head, details: dict[str, Any], **kwargs: Any) -> GlotTransformer:
        module = cls(model_name_or_path, head=head.config, **kwargs)
        module._float32 = Float32Head(head)
        module._details = details
        return module

    @property
    def head(self) -> Head:
        """The head that chooses the tokens."""
        return self._float32.head

    def forward(self, features: dict[str, Any], task: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Set `token_embeddings`, (B, L, D) float32, and `attention_mask`, (B, L), to what was kept.

        Where `HeadConfig.mix_weight` is below 1 the mask is that of the whole text, and the embeddings are mixed
        so that their mean is the head's vector.

        For documents, a pooling after it that leaves the prompt out (`include_prompt=False`) raises an InputError.

        Raises:
            TrainingError: in training, with gradients.
        """
        layers = Layers(self.model)
        inputs = {name: features[name] for name in _INPUTS if name in features}
        if (task or features.get("task")) == "query" and self.head.config.mean_queries:
            (states,), _ = run_layers(layers, inputs, [len(layers)])
            return {**features, "token_embeddings": states.float()}
        if self.training and torch.is_grad_enabled():
            raise TrainingError(
                "a head in the drop form decides by a threshold, which has no gradient: train it with `glot-rag "
                "train`, or train a head in residual form here"
            )
        out = {**features}  # losses that run a batch twice need its mask as it was
        mask: Tensor = features["attention_mask"].bool()
        ids: Tensor = features["input_ids"]
        special = torch.isin(ids, self._special_ids(mask.device))

        def choose(states: Tensor, mask: Tensor) -> Tensor:
            kept: Tensor = self._float32(states, mask, ids).weights > 0
            return kept | special

        numbers = self._chosen_on(layers)
        mix_weight = self.head.mix_weight
        wanted = (len(layers),) if mix_weight < 1 else ()
        whole, ((stays, kept, _),) = run_layers(layers, inputs, wanted, [Pruning(numbers, choose)])
        out["token_embeddings"], stays = kept.float(), stays.to(features["attention_mask"].dtype)
        if whole:
            # Over all tokens the mean of the kept ones, scaled up, is the kept tokens' own mean; so is the mixture's.
            scale = mask.sum(1, keepdim=True) / stays.sum(1, keepdim=True).clamp(min=1) * stays
            out["token_embeddings"] = mix(scale[..., None] * kept.float(), whole[0].float(), mix_weight)
        else:
            out["attention_mask"] = stays
        if "prompt_length" in out:
            out["prompt_length"] = _NoPromptLength()
        return out

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GlotTransformer:
        layers = Layers(self.model)
        upper = nn.ModuleList(layers.above(max(self._chosen_on(layers))))
        cast = {id(each) for each in _tensors(upper)}
        kept = {id(each) for each in _tensors(self.model)} - cast

        def moved(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return tensor.to(out.device) if id(tensor) in kept and out.is_floating_point() else out

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def __repr__(self) -> str:
        settings = {**self.get_config_dict(), "architecture": type(self.model).__name__, "head": self.head.name}
        return f"{type(self).__name__}({settings})"

    def _chosen_on(self, layers: Layers) -> list[int]:
        """The numbers of the layers that tokens are chosen on."""
        return [layer % (len(layers) + 1) for layer in self.head.layers]

    def _special_ids(self, device: torch.device) -> Tensor:
        tokenizer = self.tokenizer
        return torch.tensor(tokenizer.all_special_ids if tokenizer is not None else [], device=device)

    def _check(self, head: HeadConfig, width: int, count: int) -> None:
        if head.state_size != width:
            raise BundleError(
                f"the head was made for states of width {head.state_size}, the transformer gives {width}: train a head "
                "for it with `glot-rag train --backbone`"
            )
        Layers(self.model)  # refuses what it cannot run layer by layer
        if any(not -count - 1 <= layer <= count or layer % (count + 1) == count for layer in head.layers):
            raise BundleError(
                f"the head reads layers {head.layers}: in the drop form they must lie below the last of {count}"
            )

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the transformer, and the head into the folder `glot_head` beside it."""
        super().save(output_path, *args, safe_serialization=safe_serialization, **kwargs)
        write_head(self.head, Path(output_path) / _FOLDER, self._details)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", *args: Any, **kwargs: Any) -> GlotTransformer:
        """Read what `save` wrote. Keywords as `Module.load`.

        Raises:
            BundleError: the head's files are missing or damaged.
        """
        where = {key: kwargs[key] for key in ("token", "cache_folder", "revision", "local_files_only") if key in kwargs}
        directory = load_dir_path(model_name_or_path, subfolder=str(Path(subfolder) / _FOLDER), **where)
        if directory is None:
            raise BundleError(f"{model_name_or_path} has no folder {_FOLDER!r} with the head")
        head, _, details = load_fitted_head(directory)
        defaults = {**(kwargs.pop("init_defaults", None) or {}), "head": head.config}
        module: GlotTransformer = super().load(
            model_name_or_path, subfolder=subfolder, init_defaults=defaults, **kwargs
        )
        module._float32 = Float32Head(head)
        module._details = details
        return module
