"""A bundle inside other people's servers: the real FastEmbed, and the files that text-embeddings-inference reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported import PROMPTS, Exported
from transformers import AutoConfig, AutoTokenizer


@pytest.mark.parametrize("output", [None, "query_embedding"])
def test_fastembed_gives_our_vectors(shipped: Exported, prose: list[tuple[str, str]], output: str | None) -> None:
    pytest.importorskip("fastembed", reason="FastEmbed is not installed")
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    encoder, path, _ = shipped
    name = f"glot-rag/{output or 'documents'}"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.DISABLED,
        normalization=False,
        sources=ModelSource(hf=name),
        dim=384,
        model_file="model.onnx",
        output_name=output,
    )
    model = TextEmbedding(name, specific_model_path=str(path), providers=["CPUExecutionProvider"])
    texts = [text for _, text in prose[:12]] + ["tea", "", "word " * 400]
    kind = "document_prompt" if output is None else "query_prompt"
    vectors = np.stack(list(model.embed([PROMPTS[kind] + text for text in texts], batch_size=4)))
    expected = encoder.encode_documents(texts) if output is None else encoder.encode_queries(texts)
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() < 1e-4


@pytest.mark.parametrize("name", ["shipped", "decoder"])
def test_the_files_beside_the_graph(name: str, request: pytest.FixtureRequest) -> None:
    """transformers, which text-embeddings-inference follows, reads the same model and the same tokens from them."""
    encoder, path, _ = request.getfixturevalue(name)
    config = AutoConfig.from_pretrained(path)
    own = encoder.backbone.model.config
    assert (config.model_type, config.hidden_size) == (own.model_type, encoder.backbone.state_size)
    assert config.pad_token_id == encoder.backbone.tokenizer.pad_id
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.model_max_length == encoder.max_tokens
    texts = ["a note on wings", "Zürich – naïve café, 東京 😀!", "word " * 400]
    ids = tokenizer(texts, truncation=True, padding=True)
    expected = encoder.backbone.tokenizer(texts)
    for row, mask, real in zip(ids["input_ids"], ids["attention_mask"], expected, strict=True):
        assert [id for id, seen in zip(row, mask, strict=True) if seen] == real
        assert set(row[len(real) :]) <= {encoder.backbone.tokenizer.pad_id}
    settings = json.loads((path / "config_sentence_transformers.json").read_text())
    assert settings["prompts"] == {"query": encoder.query_prompt, "document": encoder.document_prompt}
