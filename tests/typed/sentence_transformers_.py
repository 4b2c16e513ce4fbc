"""A user's file with sentence-transformers; see core.py."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers_glot import GlotPooling, GlotTransformer, from_encoder, load
from typing_extensions import assert_type

from glot_rag import GlotEncoder
from glot_rag.head.config import HeadConfig


def use() -> None:
    pooling: Module = GlotPooling(HeadConfig(384, layers=(2, -1)))
    assert_type(GlotPooling.from_head("minilm", pooling="adapool"), GlotPooling)
    model = SentenceTransformer(modules=[Transformer("some/model"), pooling])
    dropping = GlotTransformer.from_head("some/model", "my-head", max_seq_length=128)
    SentenceTransformer(modules=[dropping, Pooling(384, "mean")])
    assert_type(from_encoder(GlotEncoder.from_pretrained()), SentenceTransformer)
    assert_type(load("my-model", device="cpu"), SentenceTransformer)
    print(model)

    GlotPooling(384)  # type: ignore[arg-type]
    from_encoder("minilm")  # type: ignore[arg-type]
    GlotTransformer("some/model")  # type: ignore[call-arg]
