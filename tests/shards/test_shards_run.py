"""A corpus into shards in one process: what is in them, what a second run does, and what bad documents do."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_encoder import FakeEncoder, all_rows, write_corpus

from glot_rag.documents import chunk_document, read_documents
from glot_rag.errors import DatasetError, FingerprintMismatchError, IndexLockedError, InputError
from glot_rag.shards import EmbedBatch, embed_corpus, embedding
from glot_rag.shards.attempts import Attempts
from glot_rag.shards.format import CHUNKS, DOCUMENTS, manifests, read_columns
from glot_rag.shards.parts import plan_parts


def expected_rows(corpus, encoder):
    """id -> (text, vector), by reading, cutting and encoding each document by itself."""
    rows = {}
    for document in read_documents([corpus]):
        for chunk in chunk_document(document, encoder.token_spans, max_tokens=64, overlap=8):
            rows[f"{document.id}#{chunk.number}"] = chunk.text, encoder.encode_documents([chunk.text])[0].tobytes()
    return rows


def test_rows_are_those_of_each_document_by_itself(corpus, out, encoder):
    report = embed_corpus([corpus], out, encoder, denoise=False)
    rows = all_rows(out)
    assert {id: (text, vector) for id, (text, _, vector) in rows.items()} == expected_rows(corpus, encoder)
    assert report.chunks == report.embedded == len(rows) > 70
    assert report.read.documents == 70
    assert report.recomputed == 0
    assert report.shards == len(manifests(out, CHUNKS)) > 5
    one = json.loads(rows[f"{corpus.resolve()}/011.txt#1"][1])
    assert one["file"] == one["source"] == f"{corpus.resolve()}/011.txt"
    assert 0 < one["start"] < one["end"]


def test_a_shard_says_what_it_was_made_of(corpus, out, encoder):
    import pyarrow.parquet

    embed_corpus([corpus], out, encoder, denoise=False)
    record = manifests(out, CHUNKS)[0]
    assert record.made_from["encoder"] == "fake"
    assert record.made_from["dimension"] == 8
    assert record.sha256 == hashlib.sha256(record.file(out).read_bytes()).hexdigest()
    assert pyarrow.parquet.read_schema(record.file(out)).metadata[b"fingerprint"] == b"fake"
    (columns,) = read_columns(out, record)
    text = Path(columns["document"][0].partition("#")[0]).read_text()
    assert columns["hash"][0] == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert columns["text"][0] == text[columns["start"][0] : columns["end"][0]]


def test_nothing_to_read_is_an_error_of_the_command(command, tmp_path, capsys):
    (tmp_path / "program.exe").write_bytes(b"\x7f\0")
    assert command("embed", tmp_path / "program.exe", "--out", tmp_path / "run") == 2
    assert "nothing to embed" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "note.txt").write_text("Green tea should not be brewed with boiling water.")
    assert command("embed", tmp_path, "--out", tmp_path / "run") == 0
    assert "1 chunks in 1 shards" in capsys.readouterr().out
    assert command("embed", tmp_path, "--out", tmp_path / "run") == 0
    assert "0 chunks embedded; 1 in 1 shards" in capsys.readouterr().err


def test_a_second_run_makes_nothing_again(corpus, out, encoder):
    embed_corpus([corpus], out, encoder, denoise=False)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    report = embed_corpus([corpus], out)
    assert (report.embedded, report.unchanged, report.read.documents) == (0, 61, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_files_that_change_come_or_go(corpus, out, encoder):
    embed_corpus([corpus], out, encoder, denoise=False)
    (corpus / "003.txt").write_text("something else")
    (corpus / "004.txt").unlink()
    (corpus / "new.txt").write_text("a new one")
    embed_corpus([corpus], out)
    assert {id: (row[0], row[2]) for id, row in all_rows(out).items()} == expected_rows(corpus, encoder)


def test_files_of_earlier_runs_stay(corpus, out, encoder):
    embed_corpus([corpus], out, encoder, denoise=False)
    more = write_corpus(corpus.parent / "more", 5, "other")
    for file in more.iterdir():
        if file.suffix == ".jsonl":
            file.unlink()  # its documents have the ids of the first folder's
    embed_corpus([more], out)
    embed_corpus([corpus / "000.txt"], out)
    assert {id: row[0] for id, row in all_rows(out).items()} == {
        id: text for folder in (corpus, more) for id, (text, _) in expected_rows(folder, encoder).items()
    }


def test_a_new_file_changes_one_part():
    files = [f"/corpus/{number:05d}.txt" for number in range(2000)]
    before, after = set(plan_parts(files)), set(plan_parts(sorted([*files, "/corpus/00500a.txt"])))
    assert len(before) > 15
    assert len(after - before) in (1, 2)
    assert [file for part in plan_parts(files) for file in part.files] == files


def test_ids_that_two_documents_have_are_refused(corpus, out, encoder):
    (corpus / "again.jsonl").write_text(json.dumps({"id": "named3", "text": "the same id"}))
    with pytest.raises(DatasetError, match=r"two documents have the id 'named3', in .*again.jsonl and .*more.jsonl"):
        embed_corpus([corpus], out, encoder, denoise=False)
    (corpus / "again.jsonl").unlink()
    assert embed_corpus([corpus], out).chunks == len(all_rows(out))


def test_a_poison_document_is_set_aside_with_its_reason(corpus, out, encoder):
    (corpus / "005.txt").write_text("before " * 100 + "POISON")
    report = embed_corpus([corpus], out, encoder, denoise=False)
    bad = f"{corpus.resolve()}/005.txt"
    assert [tuple(each) for each in report.set_aside] == [(bad, "RuntimeError: this text cannot be embedded")]
    assert not [id for id in all_rows(out) if id.startswith(bad)]
    (corpus / "005.txt").unlink()
    assert {id: row[0] for id, row in all_rows(out).items()} == {
        id: text for id, (text, _) in expected_rows(corpus, encoder).items()
    }
    assert "1 documents could not be embedded:" in report.lines()


def test_a_document_that_ends_the_process_is_found_and_set_aside(corpus, out):
    (corpus / "005.txt").write_text("DEADLY")
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "import fake_encoder\n"
        "from glot_rag.shards import embed_corpus, parts\n"
        "fake_encoder.load_these()\n"
        "parts.SHARD_DOCUMENTS = 7\n"
        f"report = embed_corpus([{str(corpus)!r}], {str(out)!r}, fake_encoder.FakeEncoder(), denoise=False)\n"
        "print(report.set_aside, report.recomputed)"
    )
    ends = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        ends.append(done.returncode)
        if not done.returncode:
            break
    assert ends == [137, 137, 137, 0], done.stderr
    assert "005.txt" in done.stdout
    assert "ended twice at this document alone" in done.stdout
    rows = all_rows(out)
    (corpus / "005.txt").unlink()
    assert rows.keys() == expected_rows(corpus, FakeEncoder()).keys()


def test_attempts_count_what_is_made_twice(tmp_path):
    path = tmp_path / "attempt"
    first = Attempts(path)
    assert first.sizes(0, 4) == [(0, 4)]
    first.turn_to(0, 4, 0)
    first.turn_to(4, 8, 30)  # and here the process ends
    second = Attempts(path)
    assert second.lost == 30
    assert second.sizes(0, 4) == [(0, 4)]
    assert second.sizes(4, 8) == [(4, 5), (5, 6), (6, 7), (7, 8)]
    second.turn_to(5, 6, 31)
    third = Attempts(path)
    assert third.lost == 61
    assert not third.is_deadly(5)
    third.turn_to(5, 6, 31)
    assert Attempts(path).is_deadly(5)
    Attempts(path).finished()
    assert Attempts(path).lost == 0


def test_other_settings_are_refused(corpus, out, encoder):
    embed_corpus([corpus], out, encoder, denoise=False, chunk_tokens=32)
    with pytest.raises(FingerprintMismatchError, match="chunk_tokens=32, not 64; leave it out"):
        embed_corpus([corpus], out, chunk_tokens=64)
    with pytest.raises(FingerprintMismatchError, match="made by encoder 'fake', the one in hand is 'another'"):
        embed_corpus([corpus], out, FakeEncoder("another"))
    with pytest.raises(InputError, match="chunk_tokens must be from 16 to 64, which the encoder reads; got 100"):
        embed_corpus([corpus], out.parent / "second", encoder, denoise=False, chunk_tokens=100)
    (out.parent / "third").mkdir()
    (out.parent / "third" / "something").touch()
    with pytest.raises(InputError, match="holds something else than a run"):
        embed_corpus([corpus], out.parent / "third", encoder, denoise=False)


def test_one_run_at_a_time(corpus, out, encoder):
    from filelock import FileLock

    embed_corpus([corpus], out, encoder, denoise=False)
    with FileLock(out / "run.lock"), pytest.raises(IndexLockedError, match="another run writes to"):
        embed_corpus([corpus], out)


@pytest.mark.parametrize("kind", [DOCUMENTS, CHUNKS])
def test_damaged_shards_are_refused(corpus, out, encoder, kind):
    embed_corpus([corpus], out, encoder, denoise=False)
    record = manifests(out, CHUNKS)[0]
    path = out / kind / f"{record.name}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if kind == DOCUMENTS:
        (out / CHUNKS / f"{record.name}.json").unlink()  # made anew from the damaged one
        with pytest.raises(DatasetError, match=f"{path.name} (does not match its manifest|is damaged)"):
            embed_corpus([corpus], out)
    else:
        with pytest.raises(DatasetError, match="does not match its manifest"):
            list(read_columns(out, record))


@pytest.mark.parametrize("kind", [DOCUMENTS, CHUNKS])
def test_shards_that_are_lost_are_made_again(corpus, out, encoder, kind):
    embed_corpus([corpus], out, encoder, denoise=False)
    rows = all_rows(out)
    name = manifests(out, CHUNKS)[0].name
    (out / kind / f"{name}.parquet").unlink()
    if kind == CHUNKS:
        with pytest.raises(DatasetError, match=r"No such file .*: if it is lost, run `glot-rag embed` again"):
            all_rows(out)
    report = embed_corpus([corpus], out)
    assert (report.read.documents > 0) == (kind == DOCUMENTS)
    assert (report.embedded > 0) == (kind == CHUNKS)  # of the same documents come the same chunks
    assert all_rows(out) == rows
    assert (out / kind / f"{name}.parquet").is_file()


def test_a_batch_is_a_function_from_columns_to_columns(out, encoder):
    encoder.save(out)
    embed = EmbedBatch(str(out), chunk_tokens=16)
    texts = [" ".join(f"w{n}x{p}" for p in range(30)) for n in range(5)]
    found = embed({"id": [f"d{n}" for n in range(5)], "text": texts, "metadata": [{"n": n} for n in range(5)]})
    assert found["id"] == [f"d{n}#{part}" for n in range(5) for part in range(3)]
    assert [json.loads(body)["n"] for body in found["metadata"]] == [n for n in range(5) for _ in range(3)]
    np.testing.assert_array_equal(found["vector"], encoder.encode_documents(found["text"]))
    for document, start, end, text in zip(*(found[n] for n in ("document", "start", "end", "text")), strict=True):
        assert texts[int(document[1:])][start:end] == text
    empty = embed({"id": [], "text": []})
    assert empty["vector"].shape == (0, 8)
    assert empty["id"] == []
    with pytest.raises(InputError, match="a batch needs the columns id and text, got text"):
        embed({"text": texts})
    with pytest.raises(InputError, match="the columns id, text and metadata have 5, 4 and 5 values"):
        embed({"id": [*"abcde"], "text": texts[:4]})


def test_long_documents_go_alone(encoder, monkeypatch):
    from glot_rag import Document

    monkeypatch.setattr(embedding, "GROUP_CHARACTERS", 100)
    documents = [("f", Document("x" * size, str(number))) for number, size in enumerate((30, 60, 200, 10, 10, 90))]
    assert [[each.id for _, each in group] for group in embedding.grouped(documents)] == [
        ["0", "1"],
        ["2"],
        ["3", "4"],
        ["5"],
    ]
