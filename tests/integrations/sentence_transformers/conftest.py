"""A head of one's own in a model put together by hand, and what its transformer hands on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.head import GlotHead
    from glot_rag.models.backbone import Backbone

# Imported in the fixtures: the modules that use them skip where sentence-transformers is not installed.


@pytest.fixture(scope="session")
def encoder(minilm: Backbone, make_head: Callable[..., GlotHead]) -> TorchEncoder:
    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.head import BaselinePooling

    head = make_head(seed=1, layers=(2, -1), readout="sigmoid")
    return TorchEncoder(minilm, head, query_pooling=BaselinePooling("mean", 384))


@pytest.fixture(scope="session")
def head_folder(encoder: TorchEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from glot_rag.head import save_head

    folder = tmp_path_factory.mktemp("head")
    save_head(encoder.pooling, folder)
    return folder


@pytest.fixture(scope="session")
def by_hand(minilm_folder: Path, head_folder: Path) -> SentenceTransformer:
    """As a user puts one together around a head of their own."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers_glot import GlotPooling

    transformer = Transformer(str(minilm_folder), model_kwargs={"dtype": torch.float32}, max_seq_length=256)
    return SentenceTransformer(modules=[transformer, GlotPooling.from_head(head_folder), Normalize()], device="cpu")


@pytest.fixture(scope="session")
def features_of() -> Callable[..., dict[str, Any]]:
    """What a pooling gets to see of some texts."""
    import torch
    from sentence_transformers_glot.layer_states import LAYER_STATES

    def run(model: SentenceTransformer, texts: list[str], **options: Any) -> dict[str, Any]:
        with torch.inference_mode():
            features = model[0](model.preprocess(texts, **options))
        names = ("input_ids", "attention_mask", "token_embeddings", LAYER_STATES, "cu_seq_lens_q", "prompt_length")
        return {name: features[name] for name in names if name in features}

    return run
