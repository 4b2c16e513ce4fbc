"""Exported bundles, each made once: tracing a transformer and compiling its graph is what takes the time here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exported import PROMPTS, Exported
from glot_onnx import export_encoder
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from glot_rag import TorchEncoder
from glot_rag.evaluation import NoiseSpec, corrupt
from glot_rag.head import AdaPool, BaselinePooling, GlotHead
from glot_rag.models.backbone import Backbone


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, TorchEncoder], Exported]:
    """Export an encoder under a name."""

    def make(name: str, encoder: TorchEncoder) -> Exported:
        path = tmp_path_factory.mktemp("exported") / name
        return Exported(encoder, path, export_encoder(encoder, path, texts=5))

    return make


@pytest.fixture(scope="session")
def shipped(export: Callable[[str, TorchEncoder], Exported], minilm: Backbone) -> Exported:
    """all-MiniLM-L6-v2 with the shipped head, which drops tokens between the layers, and prompts."""
    return export("shipped", TorchEncoder(minilm, BaselinePooling("mean", 384), **PROMPTS).with_pooling("glot"))


@pytest.fixture(scope="session")
def noisy(prose: list[tuple[str, str]]) -> list[str]:
    """Documentation with as many random words in it, of which the shipped head drops some."""
    return [each.text for each in corrupt([text for _, text in prose[:8]], NoiseSpec("words", 0.5), seed=0)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Callable[[str], Backbone]:
    """A random encoder ("bert") or decoder ("llama") of two layers and 100 positions, with MiniLM's tokeniser."""
    made: dict[str, Backbone] = {}

    def make(kind: str) -> Backbone:
        if kind not in made:
            folder = tmp_path_factory.mktemp("tiny") / kind
            sizes = {"vocab_size": 30_522, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
            sizes |= {"intermediate_size": 48, "max_position_embeddings": 100}
            torch.manual_seed(0)
            if kind == "llama":
                model: torch.nn.Module = LlamaModel(LlamaConfig(**sizes, num_key_value_heads=2))
            else:
                model = BertModel(BertConfig(**sizes))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(8)  # a fresh model's attention is flat
            model.save_pretrained(folder)
            PreTrainedTokenizerFast(
                tokenizer_file=str(minilm_folder / "tokenizer.json"),
                unk_token="[UNK]",
                sep_token="[SEP]",
                cls_token="[CLS]",
                pad_token="[PAD]",
            ).save_pretrained(folder)
            made[kind] = Backbone.load(folder, device="cpu", dtype="float32")
        return made[kind]

    return make


@pytest.fixture(scope="session")
def small(
    export: Callable[[str, TorchEncoder], Exported],
    tiny: Callable[[str], Backbone],
    make_head: Callable[..., GlotHead | AdaPool],
) -> Exported:
    """A tiny encoder with a GLOT head: loaded, exported and checked in a moment."""
    head = make_head(state_size=32, layers=(1, -1), hidden_size=8, readout="sigmoid")
    return export("small", TorchEncoder(tiny("bert"), head, query_pooling=BaselinePooling("mean", 32), **PROMPTS))


@pytest.fixture(scope="session")
def decoder(
    export: Callable[[str, TorchEncoder], Exported],
    tiny: Callable[[str], Backbone],
    make_head: Callable[..., GlotHead | AdaPool],
) -> Exported:
    """A tiny decoder with a GLOT head that drops tokens after its first layer."""
    head = make_head(state_size=32, layers=(1,), form="drop", readout="sigmoid", min_keep_ratio=0.3, hidden_size=8)
    return export("decoder", TorchEncoder(tiny("llama"), head, query_pooling=BaselinePooling("mean", 32)))
