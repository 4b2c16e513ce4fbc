"""`GlotEmbedding` beside other threads and processes, and settings that cannot change under a loaded model."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.glot import GlotEmbedding
from pydantic import ValidationError

from glot_rag.errors import ModelNotFoundError

KETTLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done."


@pytest.fixture(scope="module")
def embedding() -> GlotEmbedding:
    return GlotEmbedding(dtype="float32", device="cpu")


def test_pickling_does_not_disturb_other_threads(embedding: GlotEmbedding) -> None:
    expected = embedding.get_text_embedding(KETTLE)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(embedding.get_text_embedding, KETTLE) for _ in range(40)]
        states = {pickle.dumps(embedding) for _ in range(400)}
        for task in running:
            np.testing.assert_allclose(task.result(), expected, atol=1e-6)
    assert len(states) == 1


def test_a_copy_that_cannot_load_its_model_says_so(minilm_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "model"
    shutil.copytree(minilm_folder, moved)
    state = pickle.dumps(GlotEmbedding(model_name=str(moved), pooling="mean"))
    shutil.rmtree(moved)
    with pytest.raises(ModelNotFoundError):
        pickle.loads(state)  # noqa: S301 (our own bytes)


@pytest.mark.parametrize(
    "change",
    [
        lambda embedding: setattr(embedding, "embeddings_cache", SimpleKVStore()),
        lambda embedding: setattr(embedding, "pooling", "mean"),
        lambda embedding: setattr(embedding, "model_name", "smollm2"),
        lambda embedding: setattr(embedding, "query_prompt", "query: "),
    ],
)
def test_settings_of_a_loaded_model_cannot_change(
    embedding: GlotEmbedding, change: Callable[[GlotEmbedding], None]
) -> None:
    with pytest.raises(ValidationError, match="Field is frozen"):
        change(embedding)


def test_a_callback_manager_can_still_be_set() -> None:
    """LlamaIndex does so to every embedding that it is given."""
    embedding = GlotEmbedding(pooling="mean")
    embedding.callback_manager = CallbackManager([])
    assert pickle.loads(pickle.dumps(embedding)).pooling == "mean"  # noqa: S301 (our own bytes)


async def test_progress_is_drawn_where_it_is_asked_for(
    embedding: GlotEmbedding, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = embedding.get_text_embedding_batch([KETTLE, "tea"])
    assert "Generating embeddings" not in capsys.readouterr().err
    embedding.show_progress = True
    try:
        np.testing.assert_allclose(embedding.get_text_embedding_batch([KETTLE, "tea"]), vectors, atol=1e-6)
        assert "Generating embeddings" in capsys.readouterr().err
        np.testing.assert_allclose(await embedding.aget_text_embedding_batch([KETTLE, "tea"]), vectors, atol=1e-6)
        assert "Generating embeddings" in capsys.readouterr().err
    finally:
        embedding.show_progress = False
