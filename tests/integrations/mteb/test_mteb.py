"""mteb's own evaluation, offline: retrieval, STS and classification, each against an oracle."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mteb", reason="these are tests of an integration")

import mteb
from datasets import Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SearchProtocol
from mteb.models.models_protocols import EncoderProtocol
from mteb.models.search_encoder_index.search_indexes.faiss_search_index import FaissSearchIndex
from mteb.models.search_wrappers import SearchEncoderWrapper
from mteb_glot import GlotModel, LocalRetrieval, get_model, get_model_meta
from scipy.stats import spearmanr

from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, DatasetError, FingerprintMismatchError, MissingExtraError, ModelNotFoundError
from glot_rag.evaluation.metrics import measure

COMMON: dict[str, Any] = {
    "category": "t2t",
    "description": "For this test.",
    "dataset": {"path": "local", "revision": "local"},
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "modalities": ["text"],
}


@pytest.fixture(scope="module")
def encoder() -> TorchEncoder:
    return TorchEncoder.from_pretrained(denoise=False, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def model(encoder: TorchEncoder) -> GlotModel:
    return GlotModel(encoder)


def run(model: Any, task: Any) -> dict[str, Any]:
    """The scores of the only split and subset."""
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    ((scores,),) = [task.scores["test"] for task in result.task_results]
    return scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, prose: list[tuple[str, str]]) -> Path:
    """A BEIR folder: find a function's documentation by its name."""
    folder = tmp_path_factory.mktemp("standard library")
    picked = [(name, " ".join(text.split()[:30])) for name, text in prose[:60]]
    documents = [{"_id": f"d{n}", "title": "", "text": text} for n, (_, text) in enumerate(picked)]
    queries = [{"_id": str(n), "text": name} for n, (name, _) in enumerate(picked[:25])]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels").mkdir()
    lines = [f"{n}\td{n}\t2\n{n}\td{n + 1}\t1\n" for n in range(25)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def evaluated(folder: Path, out: Path) -> float:
    """nDCG@10 of GLOT on clean, whole documents, as `glot-rag evaluate` has it."""
    from typer.testing import CliRunner

    from glot_rag.cli.app import app

    arguments = ["evaluate", "--dataset", str(folder), "--noise", "none", "--pooling", "glot", "--json", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glot_rag.models.devices._faster_in_bfloat16", lambda: False)  # float32, as `model` has it
        result = CliRunner().invoke(app, [*arguments, "--max-words", "0"])
    assert result.exit_code == 0, result.output
    (ours,) = json.loads(out.read_text())["results"]
    value: float = ours["metrics"]["ndcg@10"]
    assert 0.3 < value < 0.99
    return value


def test_retrieval_is_what_glot_rag_evaluate_says(model: GlotModel, folder: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers_glot import from_encoder

    from glot_rag.evaluation.collections.beir import load_beir

    graded = evaluated(folder, tmp_path / "graded.json")
    assert run(model, LocalRetrieval(folder))["ndcg_at_10"] == pytest.approx(graded, abs=1e-4)

    # sentence-transformers knows relevant documents without a grade.
    relevant = shutil.copytree(folder, tmp_path / "relevant")
    lines = (folder / "qrels" / "test.tsv").read_text().replace("\t1\n", "\t0\n").replace("\t2\n", "\t1\n")
    (relevant / "qrels" / "test.tsv").write_text(lines)
    expected = evaluated(relevant, tmp_path / "relevant.json")
    assert abs(expected - graded) > 1e-3
    dataset = load_beir(relevant)
    found = {query: {key for key, grade in grades.items() if grade} for query, grades in dataset.qrels.items()}
    theirs = InformationRetrievalEvaluator(dataset.queries, dataset.documents, found, ndcg_at_k=[10])
    assert theirs(from_encoder(model.model))["cosine_ndcg@10"] == pytest.approx(expected, abs=1e-4)
    assert run(model, LocalRetrieval(relevant))["ndcg_at_10"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("how", ["chunks", "index"])
def test_retrieval_as_a_search_of_mtebs(model: GlotModel, folder: Path, how: str) -> None:
    """`SearchProtocol` around an encoder: the corpus in parts, or in an index of mteb's."""
    around = (
        SearchEncoderWrapper(model, corpus_chunk_size=7)
        if how == "chunks"
        else SearchEncoderWrapper(model, index_backend=FaissSearchIndex(model))
    )
    assert isinstance(around, SearchProtocol)
    plain = run(model, LocalRetrieval(folder))
    found = run(around, LocalRetrieval(folder))
    for name in ("ndcg_at_10", "map_at_100", "recall_at_5"):
        assert found[name] == pytest.approx(plain[name], abs=1e-5)


def test_reranking(model: GlotModel, encoder: TorchEncoder, folder: Path) -> None:
    """mteb's search with documents that were ranked before: none but those is found, by our scores."""
    from glot_rag.evaluation.collections.beir import load_beir

    dataset = load_beir(folder)
    names = list(dataset.documents)
    before = {q: [f"d{(int(q) + step) % len(names)}" for step in (7, 1, 0, 30)] for q in dataset.queries}

    class Reranking(LocalRetrieval):
        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            super().load_data(num_proc, **kwargs)
            self.dataset["default"]["test"]["top_ranked"] = before

    task = Reranking(folder)
    scores = run(model, task)
    vectors = dict(zip(names, encoder.encode_documents(list(dataset.documents.values())), strict=True))
    queries = dict(zip(dataset.queries, encoder.encode_queries(list(dataset.queries.values())), strict=True))
    ranked = {q: {d: float(vectors[d] @ queries[q]) for d in found} for q, found in before.items()}
    assert scores["ndcg_at_10"] == pytest.approx(measure(dataset.qrels, ranked, ["ndcg@10"])["ndcg@10"], abs=1e-4)


def test_sts(model: GlotModel, encoder: TorchEncoder, prose: list[tuple[str, str]]) -> None:
    left, right = [name for name, _ in prose[:20]], [" ".join(text.split()[:20]) for _, text in prose[:20]]
    gold = np.random.default_rng(0).permutation(20).astype(float).tolist()

    class Pairs(AbsTaskSTS):
        metadata = TaskMetadata(name="LocalSTS", type="STS", main_score="cosine_spearman", **COMMON)
        min_score, max_score = 0, 19

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            columns = {"sentence1": left, "sentence2": right, "score": gold}
            self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
            self.data_loaded = True

    cosines = (encoder.encode_documents(left) * encoder.encode_documents(right)).sum(axis=1)
    assert run(model, Pairs())["cosine_spearman"] == pytest.approx(spearmanr(cosines, gold).statistic, abs=1e-6)


def test_classification(model: GlotModel, prose: list[tuple[str, str]]) -> None:
    picked = [(" ".join(text.split()[:15]), name.split()[0]) for name, text in prose]
    modules = ["argparse", "logging", "subprocess"]
    rows = {module: [text for text, name in picked if name == module][:16] for module in modules}

    class Modules(AbsTaskClassification):
        metadata = TaskMetadata(name="LocalClassification", type="Classification", main_score="accuracy", **COMMON)
        n_experiments, samples_per_label = 2, 6

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            def part(where: slice) -> Dataset:
                pairs = [(text, label) for label, m in enumerate(modules) for text in rows[m][where]]
                return Dataset.from_dict({"text": [t for t, _ in pairs], "label": [n for _, n in pairs]})

            self.dataset = DatasetDict({"train": part(slice(0, 8)), "test": part(slice(8, 16))})
            self.data_loaded = True

    assert run(model, Modules())["accuracy"] > 0.6  # chance is a third


def test_queries_and_documents_are_told_apart(model: GlotModel, encoder: TorchEncoder) -> None:
    assert isinstance(model, EncoderProtocol)
    texts = ["We use cookies. Boils a litre.", "short"]
    where: dict[str, Any] = {"task_metadata": LocalRetrieval.metadata, "hf_split": "test", "hf_subset": "default"}
    batches: Any = [{"text": texts[:1]}, {"text": texts[1:]}]
    for prompt_type, expected in (
        (mteb.types.PromptType.query, encoder.encode_queries(texts)),
        (mteb.types.PromptType.document, encoder.encode_documents(texts)),
        (None, encoder.encode_documents(texts)),
    ):
        np.testing.assert_array_equal(model.encode(batches, prompt_type=prompt_type, **where), expected)


def test_loading_by_name(encoder: TorchEncoder) -> None:
    meta = get_model_meta("minilm", dtype="float32", denoise=False)
    assert (meta.name, meta.revision) == ("glot-rag/minilm-glot", encoder.fingerprint[:16])
    model = meta.load_model(device="cpu")
    assert isinstance(model, GlotModel)
    assert model.mteb_model_meta.revision == encoder.fingerprint[:16]
    assert model.mteb_model_meta.embed_dim == 384
    assert (
        get_model("minilm", encoder.fingerprint[:16], pooling="glot", denoise=False).model.fingerprint
        == encoder.fingerprint
    )
    with pytest.raises(FingerprintMismatchError, match="revision 'abc' was asked for"):
        get_model("minilm", "abc")
    with pytest.raises(ModelNotFoundError, match="No model 'no/such/thing'"):
        get_model("no/such/thing", pooling="mean")


def test_a_saved_encoder_by_its_path(encoder: TorchEncoder, tmp_path: Path) -> None:
    """One that is fitted to a corpus, say, or exported: named by its folder and by what it does."""
    mean = encoder.with_pooling("mean")
    mean.save(tmp_path / "mine")
    model = get_model(str(tmp_path / "mine"), device="cpu", dtype="float32")
    assert (model.mteb_model_meta.name, model.model.fingerprint) == ("glot-rag/mine-mean", mean.fingerprint)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="does not hold a model"):
        get_model(str(tmp_path / "empty"), backend="onnx")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="BEIR layout"):
        LocalRetrieval(tmp_path)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import mteb_glot

    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'glot-rag\[mteb\]'"):
        importlib.reload(mteb_glot)
