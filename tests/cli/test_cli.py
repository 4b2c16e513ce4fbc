"""The command line, run in this process; what a user's mistake looks like."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag import GlotEncoder, GlotIndex
from glot_rag.cli.app import main
from glot_rag.embedder import Vectors
from glot_rag.evaluation import load_beir

KETTLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done."
BICYCLE = "Pump the tyres of the bicycle once a week and oil its chain before every winter ride in the rain."


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["glot-rag", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "kettle.html").write_text(f"<html><body><nav>Home &gt; Shop</nav><p>{KETTLE}</p></body></html>")
    (pages / "bicycle.md").write_text(f"# Care\n\n{BICYCLE}\n")
    return pages


def test_index_then_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    assert run(monkeypatch, "index", folder, "--out", out) == 0
    assert "2 documents from 2 files; 2 in" in capsys.readouterr().out
    assert run(monkeypatch, "search", out, "how fast does it heat water", "-k", "2", "--json") == 0
    hits = json.loads(capsys.readouterr().out)
    assert [Path(hit["id"]).name for hit in hits] == ["kettle.html", "bicycle.md"]
    assert hits[0]["score"] > hits[1]["score"]
    assert run(monkeypatch, "search", out, "bicycle maintenance", "-k", "1") == 0
    shown = capsys.readouterr().out
    assert "bicycle.md" in shown
    assert "oil its chain" in shown
    # Again: nothing is doubled, a new file is added, and the index's own encoder is used.
    (folder / "tea.txt").write_text("Green tea should not be brewed with boiling water.")
    assert run(monkeypatch, "index", folder, "--out", out) == 0
    with GlotIndex.open(out, encoder=GlotEncoder.from_pretrained(out / "encoder")) as index:
        assert sorted(Path(document.id).name for document in index) == ["bicycle.md", "kettle.html", "tea.txt"]


def test_a_large_enough_index_is_fitted_to_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    prose: list[tuple[str, str]],
) -> None:
    pages = tmp_path / "pages.jsonl"
    bar = "Home Products Pricing Log in We use cookies to improve your experience Accept all cookies"
    records = [{"id": name, "text": f"{bar} {text[:300]}"} for name, text in prose[:60]]
    pages.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run(monkeypatch, "index", pages, "--out", tmp_path / "index") == 0
    assert run(monkeypatch, "index", pages, "--out", tmp_path / "plain", "--no-fit") == 0
    capsys.readouterr()
    fitted, plain = (GlotEncoder.from_pretrained(tmp_path / name / "encoder") for name in ("index", "plain"))
    assert "cookies" not in fitted.denoise([records[0]["text"]])[0].text
    assert fitted.fingerprint != plain.fingerprint == GlotEncoder.from_pretrained().fingerprint
    # Added to and searched with the same counts, from whatever is given.
    (tmp_path / "more.txt").write_text(f"{bar} {KETTLE}")
    assert run(monkeypatch, "index", tmp_path / "more.txt", "--out", tmp_path / "index") == 0
    assert run(monkeypatch, "search", tmp_path / "index", "how fast does it heat water", "-k", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])[0]["id"].endswith("more.txt")


def test_evaluate_writes_the_documented_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    corpus = [{"_id": "1", "title": "", "text": KETTLE}, {"_id": "2", "title": "", "text": BICYCLE}]
    (data / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in corpus))
    queries = [{"_id": "1", "text": "boiling water"}, {"_id": "2", "text": "bicycle maintenance"}]
    (data / "queries.jsonl").write_text("".join(json.dumps(record) + "\n" for record in queries))
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t1\t1\n2\t2\t1\n")
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--noise", "none", "--noise", "words:0.5", "--pooling", "mean,max", "--json", out, "--picture", picture]
    options += ["--system", "bm25,best-chunk,stripped"]
    assert run(monkeypatch, "evaluate", "--dataset", data, *options) == 0
    report = json.loads(out.read_text())
    assert report["seed"] == 0
    settings = [(r["pooling"], r["noise"], r["ratio"]) for r in report["results"]]
    names = ["mean", "max", "bm25", "best-chunk", "stripped"]
    assert settings == [(name, *noise) for noise in (("none", 0), ("words", 0.5)) for name in names]
    clean = next(r for r in report["results"] if r["pooling"] == "mean" and r["noise"] == "none")
    assert set(clean["metrics"].values()) == {1.0}
    assert clean["ceiling"] == clean["metrics"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(report["costs"]) == names
    assert all(cost > 0 for cost in report["costs"].values())
    assert (report["setup"]["noise"], report["setup"]["backbone"]) == ("none words:0.5", "minilm")
    shown = capsys.readouterr().out
    assert "ceiling" in shown
    assert "ms a" in shown


def test_evaluate_with_a_cache_encodes_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from glot_rag.encoder import together as encoder

    encoded: list[list[str]] = []
    encode = encoder.encode_documents_together

    def counted(encoders: Mapping[str, GlotEncoder], texts: Sequence[str], **options: Any) -> dict[str, Vectors]:
        if list(encoders) != [""]:  # the timing, which is of each encoder alone and without the cache
            encoded.append(list(texts))
        return encode(encoders, texts, **options)

    monkeypatch.setattr(encoder, "encode_documents_together", counted)
    options = ["--dataset", "stdlib", "--limit", "60", "--noise", "words:0.5", "--pooling", "mean,glot,glot+adapt"]
    options += ["--system", "bm25,best-chunk,stripped,hybrid", "--cache", tmp_path / "cache", "--max-words", "40"]
    reports = []
    for number in range(2):
        encoded.clear()
        assert run(monkeypatch, "evaluate", *options, "--json", tmp_path / f"{number}.json") == 0
        reports.append(json.loads((tmp_path / f"{number}.json").read_text()))
        assert bool(encoded) == (number == 0)
    assert reports[0].pop("costs").keys() == reports[1].pop("costs").keys()
    assert reports[0] == reports[1]
    (tmp_path / "cache" / "vectors.sqlite").write_bytes(b"no database" * 1000)
    assert run(monkeypatch, "evaluate", *options) == 2
    assert "vectors.sqlite is damaged" in capsys.readouterr().err


def test_noise_writes_a_collection_that_loads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    (folder / "tea.txt").write_text(
        "Brewing tea\n\nGreen tea should not be brewed with boiling water, as it turns bitter."
    )
    out = tmp_path / "noisy"
    options = ["--dataset", folder, "--noise", "words:0.5@end+ocr:0.3", "--out", out, "--seed", "3"]
    assert run(monkeypatch, "noise", *options) == 0
    assert "3 documents with noise words:0.5@end+ocr:0.3, seed 3, in" in capsys.readouterr().out
    dataset = load_beir(out)
    assert dataset.queries["tea.txt"] == "Brewing tea"
    assert "Brewing" not in dataset.documents["tea.txt"]
    assert json.loads((out / "noise.json").read_text())["queries_made"] == {"heading": 2}
    assert run(monkeypatch, "noise", *options) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "layers", "objectives", "size"),
    [
        ([], [2], (0, 0, 1), 384),  # the form of the head that ships
        (["--form", "residual"], [2, -1], (1, 0.1, 0.3), 384),
        (
            # The paper's training; nothing is compared with the backbone's vectors, which are not computed then.
            [
                "--form",
                "paper",
                "--layers",
                "3",
                "--denoising",
                "0",
                "--contrastive",
                "1",
                "--tokens",
                "0",
                "--output-size",
                "64",
                "--max-tokens",
                "48",
                "--threshold",
                "0.5",
            ],
            [3],
            (0, 1, 0),
            64,
        ),
    ],
    ids=["drop", "residual", "paper"],
)
def test_train_gives_a_head_that_loads(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: list[str],
    layers: list[int],
    objectives: tuple[float, ...],
    size: int,
) -> None:
    rng = np.random.default_rng(0)
    words = (KETTLE + " " + BICYCLE).split()
    texts = tmp_path / "texts.jsonl"
    lines = [{"text": " ".join(rng.permutation(words)), "title": f"{words[i % 9]} {i}"} for i in range(12)]
    texts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "head"
    options = ["--epochs", "1", "--batch-texts", "4", "--hidden-size", "16", *options]
    assert run(monkeypatch, "train", "--text", texts, "--out", out, *options) == 0
    assert "best of 1 epochs is 1" in capsys.readouterr().out
    encoder = GlotEncoder.from_pretrained(head=out)
    assert encoder.encode_documents([KETTLE]).shape == (1, size)
    config = json.loads((out / "config.json").read_text())
    assert config["details"]["files"] == ["texts.jsonl"]
    assert config["head"]["layers"] == layers
    asked = dict(zip(options[::2], options[1::2], strict=True))
    assert config["head"]["form"] == asked.get("--form", "drop")
    assert config["head"]["threshold"] == float(asked.get("--threshold", "0.3"))
    assert (out / "cache" / "target.bin").exists() == (objectives[0] > 0)
    training = config["details"]["training"]
    assert (training["denoising"], training["contrastive"], training["tokens"]) == objectives


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "nowhere", "query"], "nowhere"),
        (["index", "nowhere", "--out", "index"], "nowhere: there is no such file or folder"),
        (["evaluate", "--dataset", "nowhere"], "nowhere"),
        (["evaluate", "--dataset", "stdlib", "--noise", "rain:0.5"], "rain"),
        (["evaluate", "--dataset", "ir_datasets:no/such/id", "--pooling", "mean"], "no collection 'no/such/id'"),
        (["noise", "--dataset", "nowhere", "--noise", "words:0.5", "--out", "noisy"], "nowhere"),
        (["noise", "--dataset", "stdlib", "--noise", "words:0.5@top", "--out", "noisy"], "Unknown placement"),
        (["evaluate", "--dataset", "stdlib", "--pooling", "median", "--limit", "2"], "pooling must be one of"),
        (["evaluate", "--dataset", "stdlib", "--pooling", "glot+prune+adapt"], "only +adapt, +prune or +adapt+prune"),
        (["evaluate", "--dataset", "stdlib", "--limit", "20", "--pooling", "glot+adapt"], "from 20 documents"),
        (["calibrate", "nowhere", "--text", "nowhere.jsonl"], "nowhere"),
        (["evaluate", "--dataset", "stdlib", "--system", "oracle", "--limit", "2"], "no system 'oracle'"),
        (["train", "--text", "nowhere.jsonl", "--out", "head"], "nowhere.jsonl cannot be read"),
        (["train", "--text", "nowhere.jsonl", "--out", "head", "--layers", "two"], "--layers must be numbers"),
        (["index", ".", "--out", "index", "--pooling", "mean", "--head", "x"], ""),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not list(tmp_path.iterdir())
