"""`glot-rag evaluate` and `glot-rag noise`, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glot_rag.embedder import Vectors
from glot_rag.errors import CacheError
from glot_rag.evaluation import EvaluationSettings, evaluate_corpus, load_beir

PAGES = {
    "kettle": "The kettle boils water for tea.\nClean it with vinegar.",
    "bicycle": "A bicycle chain needs oil.\nKeep the tyres hard.",
}
MENU = "Home | News | Contact\nAccept all cookies\n"


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Two pages with a menu, and their gold texts in `gold/`."""
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    (tmp_path / "gold").mkdir()
    for folder, head in ((data, MENU), (tmp_path / "gold", "")):
        lines = [json.dumps({"_id": key, "title": "", "text": head + text}) + "\n" for key, text in PAGES.items()]
        (folder / "corpus.jsonl").write_text("".join(lines))
    queries = [{"_id": "1", "text": "boiling water"}, {"_id": "2", "text": "bicycle maintenance"}]
    (data / "queries.jsonl").write_text("".join(json.dumps(record) + "\n" for record in queries))
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tkettle\t1\n2\tbicycle\t1\n")
    return data


def test_evaluate_writes_the_documented_json(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], beir: Path, tmp_path: Path
) -> None:
    out, html = tmp_path / "out.json", tmp_path / "out.html"
    options = ["--noise", "none", "--noise", "words:0.5", "--pooling", "mean,max", "--json", out, "--html", html]
    options += ["--system", "bm25,best-chunk,stripped"]
    assert command("evaluate", "--dataset", beir, *options) == 0
    report = json.loads(out.read_text())
    assert (report["dataset"], report["seed"]) == ("data", 0)
    settings = [(r["pooling"], r["noise"], r["ratio"]) for r in report["results"]]
    names = ["mean", "max", "bm25", "best-chunk", "stripped"]
    assert settings == [(name, *noise) for noise in (("none", 0), ("words", 0.5)) for name in names]
    assert all((r["fitted"], r["denoised"]) == (False, False) for r in report["results"])
    none = next(r for r in report["results"] if r["pooling"] == "mean" and r["noise"] == "none")
    assert set(none["metrics"].values()) == {1.0}
    assert none["ceiling"] == none["metrics"]
    assert list(report["costs"]) == ["mean", "max", "BM25", "best chunk", "stripped"]
    assert all(cost > 0 for cost in report["costs"].values())
    assert (report["setup"]["noise"], report["setup"]["backbone"]) == ("none words:0.5", "minilm")
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    shown = capsys.readouterr().out
    assert "oracle" in shown
    assert "ms a" in shown


def test_gold_denoise_and_chunk(command: Callable[..., int], beir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--noise", "none", "--pooling", "mean", "--gold", tmp_path / "gold", "--denoise", "--chunk"]
    assert command("evaluate", "--dataset", beir, *options, "--json", out) == 0
    report = json.loads(out.read_text())
    assert [(r["pooling"], r["fitted"], r["denoised"]) for r in report["results"]] == [
        ("mean", False, False),
        ("mean", False, True),
    ]
    assert (report["setup"]["gold"], report["setup"]["chunk"]) == ("given", "true")
    everything, denoised = (r["kept_words"] for r in report["results"])
    # Each page has 10 or 9 words of its own, all of which are kept, and 6 of the menu.
    assert everything["recall"] == 1.0
    assert everything["precision"] == pytest.approx((10 / 16 + 9 / 15) / 2)
    assert set(denoised) == {"precision", "recall", "f1"}


def test_fitted_methods_embed_queries_after_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that pools queries itself (no mean pooling of queries) is fitted for queries, too."""
    from glot_rag import TorchEncoder
    from glot_rag.evaluation import load_stdlib
    from glot_rag.evaluation.methods import Method, Methods

    shipped = TorchEncoder.from_pretrained()
    alike = TorchEncoder(shipped.backbone, shipped.pooling, classifier=shipped.classifier)  # queries as documents
    methods = Methods([Method.of("glot", alike, refit=True)])
    texts = list(load_stdlib(limit=60).documents.values())
    noise = "Accept all cookies and subscribe to our newsletter today. "
    noisy = [noise + text[:300] for text in texts]
    queries = [noise + "boiling water"]
    before: Vectors = methods.queries(queries)["GLOT, fitted"]
    methods.fit(noisy)
    found = methods.queries(queries)["GLOT, fitted"]
    expected = alike.fit(noisy).encode_queries(queries)
    assert found[0].tolist() == pytest.approx(expected[0].tolist(), abs=1e-5)
    assert abs(found - before).max() > 1e-3


def test_with_a_cache_nothing_is_encoded_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from glot_rag.encoder import together

    encoded: list[int] = []
    pool_texts = together.pool_texts

    def counted(backbone: Any, poolings: Any, texts: list[str], **options: Any) -> Any:
        encoded.append(len(texts))
        return pool_texts(backbone, poolings, texts, **options)

    monkeypatch.setattr(together, "pool_texts", counted)
    settings = EvaluationSettings(
        ["words:0.5"], baselines=["best-chunk", "stripped", "hybrid"], max_words=40, costs=False
    )
    reports = []
    for number in range(2):
        encoded.clear()
        options: dict[str, Any] = {"limit": 20, "poolings": ["mean", "max"], "cache": tmp_path, "show_progress": False}
        reports.append(evaluate_corpus("stdlib", settings, **options))
        assert bool(encoded) == (number == 0)
    assert reports[0] == reports[1]
    (tmp_path / "vectors.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(CacheError, match=r"vectors\.sqlite is damaged"):
        evaluate_corpus("stdlib", settings, **options)


def test_noise_writes_a_collection_that_loads(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "kettle.txt").write_text(
        "Care of the kettle\n\nThe kettle boils a litre of water in two minutes, and then it switches itself off."
    )
    (folder / "short.txt").write_text("Too short for a query.")
    (folder / "tea.txt").write_text(
        "Brewing tea\n\nGreen tea should not be brewed with boiling water, as it turns bitter."
    )
    out = tmp_path / "noisy"
    options = ["--dataset", folder, "--noise", "words:0.5@end+ocr:0.3", "--out", out, "--seed", "3"]
    assert command("noise", *options) == 0
    assert "3 documents with noise words:0.5@end+ocr:0.3, seed 3, in" in capsys.readouterr().out
    dataset = load_beir(out)
    assert dataset.queries["tea.txt"] == "Brewing tea"
    assert "Brewing" not in dataset.documents["tea.txt"]
    assert json.loads((out / "noise.json").read_text())["queries_made"] == {"heading": 2}
    assert command("noise", *options) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--dataset", "nowhere"], "nowhere"),
        (["evaluate", "--dataset", "stdlib", "--json", "missing/a.json"], "there is no folder missing"),
        (["evaluate", "--dataset", "stdlib", "--noise", "rain:0.5"], "rain"),
        (["evaluate", "--dataset", "ir_datasets:no/such/id", "--pooling", "mean"], "no collection 'no/such/id'"),
        (["evaluate", "--dataset", "stdlib", "--pooling", "median", "--limit", "2"], "pooling must be one of"),
        (["evaluate", "--dataset", "stdlib", "--pooling", "", "--limit", "2"], "at least one pooling"),
        (["evaluate", "--dataset", "stdlib", "--pooling", "glot", "--fit", "--limit", "20"], "at least 50"),
        (
            ["evaluate", "--dataset", "stdlib", "--pooling", "mean", "--fit", "--limit", "9"],
            "fit has no effect on mean",
        ),
        (["evaluate", "--dataset", "stdlib", "--system", "google", "--limit", "2"], "got 'google'"),
        (
            ["evaluate", "--dataset", "stdlib", "--gold", "nowhere", "--limit", "2"],
            "nowhere/corpus.jsonl",
        ),
        (["noise", "--dataset", "nowhere", "--noise", "words:0.5", "--out", "noisy"], "nowhere"),
        (["noise", "--dataset", "stdlib", "--noise", "words:0.5@top", "--out", "noisy"], "Unknown placement"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not list(tmp_path.iterdir())
