"""A user's file with mteb; see core.py."""

from __future__ import annotations

from mteb.abstasks import AbsTask
from mteb.models.model_meta import ModelMeta
from mteb_glot import GlotModel, LocalRetrieval, get_model, get_model_meta
from typing_extensions import assert_type

from glot_rag import GlotEncoder


def use() -> None:
    assert_type(get_model("minilm", device="cpu", pooling="mean"), GlotModel)
    assert_type(get_model("my-bundle", backend="openvino"), GlotModel)
    assert_type(get_model_meta("minilm"), ModelMeta)
    assert_type(GlotModel(GlotEncoder.from_pretrained()).mteb_model_meta, ModelMeta)
    task: AbsTask = LocalRetrieval("my-collection", queries="even")
    print(task)

    GlotModel("minilm")  # type: ignore[arg-type]
    LocalRetrieval("my-collection", queries="half")  # type: ignore[arg-type]
