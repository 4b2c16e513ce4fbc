from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation import MemoryCollection, corrupt, load_beir, parse_noise
from glot_rag.evaluation.collections.beir import BeirCollection
from glot_rag.evaluation.noise.noisy_collection import write_noisy_collection

QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\nq2\td3\t1\n"
NOISES = ["none", "words:0.6", "offtopic:0.5@end", "ocr:0.5", "markup:0.3+words:0.3@start+ocr:0.2"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "clean"
    (made / "qrels").mkdir(parents=True)
    texts = {f"d{i}": " ".join(f"w{i}.{j}" for j in range(10 * i)) for i in range(1, 9)}
    texts["empty"] = "  "
    texts["d9"] = "Zwölf Boxkämpfer jagen Viktor über den großen Sylter Deich"
    records = [
        {"_id": key, "title": key.upper() * (i % 2), "text": text} for i, (key, text) in enumerate(texts.items())
    ]
    (made / "corpus.jsonl").write_text("\n".join(json.dumps(each) for each in records) + "\n\n", encoding="utf-8")
    queries = [{"_id": "q1", "text": "eins"}, {"_id": "q2", "text": "zwei", "metadata": {"kept": True}}]
    (made / "queries.jsonl").write_text("".join(json.dumps(each) + "\n" for each in queries), encoding="utf-8")
    (made / "qrels" / "test.tsv").write_text(QRELS, encoding="utf-8")
    (made / "qrels" / "dev.tsv").write_text("q2\td2\t1\nq9\td2\t1\nq1\tempty\t1\n", encoding="utf-8")
    return made


@pytest.mark.parametrize("text", NOISES)
def test_what_is_written_is_what_evaluate_sees(folder: Path, tmp_path: Path, text: str) -> None:
    noise, out = parse_noise(text), tmp_path / "noisy"
    settings = write_noisy_collection(BeirCollection(folder), noise, out, seed=3, max_words=40)
    clean, written = load_beir(folder), load_beir(out)
    noisy = corrupt(list(clean.documents.values()), noise, seed=3, max_words=40)
    assert written.documents == dict(zip(clean.documents, (each.text for each in noisy), strict=True))
    assert (written.queries, written.qrels) == (clean.queries, clean.qrels)
    for name in ("queries.jsonl", "qrels/test.tsv", "qrels/dev.tsv"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    # The same collection in memory gives the same documents.
    write_noisy_collection(clean, noise, tmp_path / "loaded", seed=3, max_words=40)
    assert (tmp_path / "loaded" / "corpus.jsonl").read_bytes() == (out / "corpus.jsonl").read_bytes()
    assert load_beir(tmp_path / "loaded").qrels == clean.qrels
    assert load_beir(tmp_path / "loaded").queries == clean.queries
    assert json.loads((out / "noise.json").read_text()) == json.loads(json.dumps(settings))


@pytest.mark.parametrize("text", NOISES)
def test_the_signal_stands_where_its_spans_say(folder: Path, tmp_path: Path, text: str) -> None:
    noise, out = parse_noise(text), tmp_path / "noisy"
    write_noisy_collection(BeirCollection(folder), noise, out, seed=1)
    corpus, signal = lines(out / "corpus.jsonl"), lines(out / "signal.jsonl")
    assert [each["_id"] for each in corpus] == [each["_id"] for each in signal]
    for noisy, own in zip(corpus, signal, strict=True):
        found = " ".join(noisy["text"][start:end] for start, end in own["spans"])
        damaged = {tuple(span) for span in own["damaged"]}
        if "ocr" not in text:
            assert found == own["text"]
            assert not damaged
        else:
            kept = [word for word in found.split() if word in own["text"].split()]
            assert kept
            assert all(any(a <= c and d <= b for a, b in own["spans"]) for c, d in damaged)
            assert len(damaged) > 0 or len(own["text"].split()) < 3
        starts = [start for start, _ in own["spans"]]
        assert starts == sorted(starts)


def test_settings_and_hashes(folder: Path, tmp_path: Path) -> None:
    settings = write_noisy_collection(BeirCollection(folder), parse_noise("words:0.4@end"), tmp_path / "a", seed=7)
    assert settings["noise"] == "words:0.4@end"
    assert settings["parts"] == [{"kind": "words", "ratio": 0.4, "placement": "end", "granularity": "own"}]
    assert (settings["ratio"], settings["seed"], settings["max_words"], settings["documents"]) == (0.4, 7, 170, 9)
    for name, digest in settings["input_sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for name, digest in settings["output_sha256"].items():
        assert hashlib.sha256((tmp_path / "a" / name).read_bytes()).hexdigest() == digest
    assert set(settings["input_sha256"]) == {"corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/dev.tsv"}
    assert settings["problems"] == [
        "1 empty documents (the first: 'empty'), left out.",
        "1 judgements of unknown or empty queries in dev.tsv (the first: 'q9'), copied as they are.",
        "1 judgements of unknown or empty documents in dev.tsv (the first: 'empty'), copied as they are.",
    ]


def test_only_an_empty_folder_is_written_to(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "noisy"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        write_noisy_collection(BeirCollection(folder), parse_noise("none"), out)
    assert [each.name for each in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    write_noisy_collection(BeirCollection(folder), parse_noise("none"), out)
    assert sorted(each.name for each in out.iterdir()) == [
        *["corpus.jsonl", "noise.json", "qrels", "queries.jsonl", "signal.jsonl"],
    ]


def test_nothing_is_left_of_a_run_that_fails(folder: Path, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write_noisy_collection(BeirCollection(folder), parse_noise("words:0.5"), tmp_path / "noisy", progress=stop)
    alone = MemoryCollection("one", {"a": "only one"}, {"q": "one"}, {"q": {"a": 1}})
    with pytest.raises(InputError, match="at least two with text"):
        write_noisy_collection(alone, parse_noise("offtopic:0.5"), tmp_path / "noisy")
    with pytest.raises(InputError, match="max_words must be 0"):
        write_noisy_collection(alone, parse_noise("none"), tmp_path / "noisy", max_words=-1)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("corpus.jsonl", '{"_id": "d2", "text": "again"}', r"corpus\.jsonl:12: the id 'd2' was already used at .*:2"),
        ("corpus.jsonl", "{oops", r"corpus\.jsonl:12: not JSON"),
        ("queries.jsonl", '{"_id": "q1", "text": "again"}', r"queries\.jsonl:3: the id 'q1' was already used at .*:1"),
        ("qrels/dev.tsv", "q1\td1", r"dev\.tsv:4: expected query id, document id, grade"),
    ],
)
def test_bad_lines_are_named(folder: Path, name: str, line: str, message: str) -> None:
    with open(folder / name, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DatasetError, match=message):
        BeirCollection(folder)


def test_missing_files_and_empty_corpora(folder: Path) -> None:
    (folder / "qrels" / "dev.tsv").unlink()
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(DatasetError, match=r"test\.tsv.*No such file.*the BEIR layout"):
        BeirCollection(folder)
    (folder / "qrels" / "test.tsv").write_text(QRELS)
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": ""}\n')
    with pytest.raises(DatasetError, match="no document has any text"):
        BeirCollection(folder)


def test_ids_and_texts_of_any_characters(folder: Path, tmp_path: Path) -> None:
    with open(folder / "corpus.jsonl", "a", encoding="utf-8") as file:
        file.write('{"_id": "\\ud800 odd", "text": "lone \\udfff surrogate"}\n')
    write_noisy_collection(BeirCollection(folder), parse_noise("none"), tmp_path / "noisy")
    assert load_beir(tmp_path / "noisy").documents["\ud800 odd"] == "lone \udfff surrogate"


@pytest.mark.parametrize("text", ["words:0.2", "offtopic:0.2"])
def test_memory_does_not_grow_with_the_corpus(folder: Path, tmp_path: Path, text: str) -> None:
    peaks = []
    for count in (100, 1000):
        with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"_id": f"d{i}", "text": f"{i} word " * 60}) + "\n" for i in range(count))
        tracemalloc.start()
        write_noisy_collection(BeirCollection(folder), parse_noise(text), tmp_path / f"noisy{count}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 900 more documents are 500 kB of text.
    assert peaks[1] < peaks[0] + 100_000
