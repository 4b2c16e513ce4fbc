"""The head learns under `SentenceTransformerTrainer`, and sentence-transformers' evaluators take the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="these are tests of an integration")
pytest.importorskip("datasets", reason="sentence-transformers' trainer needs datasets")

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from sentence_transformers_glot import GlotPooling, from_encoder

from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.evaluation.metrics import measure
from glot_rag.head.config import HeadConfig

if TYPE_CHECKING:
    from glot_rag.models.backbone import Backbone


@pytest.mark.parametrize(
    "loss", [losses.MultipleNegativesRankingLoss, losses.CachedMultipleNegativesRankingLoss], ids=lambda c: c.__name__
)
def test_the_head_learns_and_the_backbone_does_not(
    minilm_folder: Path, prose: list[tuple[str, str]], tmp_path: Path, loss: Any
) -> None:
    torch.manual_seed(0)
    transformer = Transformer(str(minilm_folder), model_kwargs={"dtype": torch.float32}, max_seq_length=48)
    transformer.requires_grad_(False)
    config = HeadConfig(384, layers=(2, -1), num_layers=1, hidden_size=16)
    model = SentenceTransformer(modules=[transformer, GlotPooling(config)], device="cpu")
    pairs = prose[:24]
    texts = [text for _, text in pairs[:4]]
    mean = TorchEncoder.from_pretrained(pooling="mean", device="cpu", dtype="float32", max_tokens=48)
    np.testing.assert_allclose(
        model.encode(texts, normalize_embeddings=True), mean.encode_documents(texts), rtol=0, atol=1e-5
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=4,
            per_device_train_batch_size=6,
            learning_rate=1e-2,
            report_to="none",
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"anchor": [n for n, _ in pairs], "positive": [t for _, t in pairs]}),
        loss=loss(model),
    )
    result = trainer.train()
    assert np.isfinite(result.training_loss)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("_float32.head" in name for name in changed)
    assert any("convs" in name for name in changed)
    assert np.abs(model.encode(texts, normalize_embeddings=True) - mean.encode_documents(texts)).max() > 1e-4


def test_evaluators(minilm: Backbone, prose: list[tuple[str, str]]) -> None:
    encoder = TorchEncoder.from_pretrained(denoise=False, device="cpu", dtype="float32")
    model = from_encoder(encoder)
    corpus = {f"d{n}": " ".join(text.split()[:30]) for n, (_, text) in enumerate(prose[:40])}
    queries = {f"q{n}": name for n, (name, _) in enumerate(prose[:15])}
    qrels = {f"q{n}": {f"d{n}"} for n in range(15)}
    values = InformationRetrievalEvaluator(queries, corpus, qrels, ndcg_at_k=[10], name="prose")(model)
    # The oracle: the encoder's own vectors, ranked by NumPy, judged by trec_eval's measures.
    scores = encoder.encode_queries(list(queries.values())) @ encoder.encode_documents(list(corpus.values())).T
    run = {q: dict(zip(corpus, row.tolist(), strict=True)) for q, row in zip(queries, scores, strict=True)}
    expected = measure({q: dict.fromkeys(d, 1) for q, d in qrels.items()}, run, ["ndcg@10"])
    assert values["prose_cosine_ndcg@10"] == pytest.approx(expected["ndcg@10"], abs=1e-4)

    gold = [float(score) for score in np.random.default_rng(0).permutation(12)]
    left, right = [name for name, _ in prose[:12]], list(corpus.values())[:12]
    similarity = EmbeddingSimilarityEvaluator(left, right, gold)(model)
    cosines = (encoder.encode_documents(left) * encoder.encode_documents(right)).sum(1)
    ranks = [np.argsort(np.argsort(values)) for values in (cosines, gold)]
    assert similarity["spearman_cosine"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
