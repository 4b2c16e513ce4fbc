"""Exported bundles, each made once: tracing a transformer and compiling its graph is what takes the time here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from exported import PROMPTS, Exported
from glot_onnx import export_encoder

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
