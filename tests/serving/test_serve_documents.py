"""Search, documents, files, denoising and evidence over HTTP."""

from __future__ import annotations

import io
import zipfile

import pytest
from fastapi.testclient import TestClient

from glot_rag import GlotIndex
from glot_rag.encoder.base import GlotEncoder
from glot_rag.serving import create_app

QUERY = "can others read while a writer writes?"
TEXT = "Home | Log in | Pricing\nWrite-ahead logging\nReaders do not block writers.\nShare this page"


@pytest.mark.parametrize("mode", ["vector", "keyword", "hybrid"])
def test_search_is_the_indexs(client: TestClient, index: GlotIndex, mode: str) -> None:
    query = "readers and writers"
    reply = client.post("/search", json={"query": query, "k": 2, "mode": mode, "filter": {"kind": "database"}}).json()
    expected = index.search(query, k=2, mode=mode, filter={"kind": "database"})  # type: ignore[arg-type]
    assert [hit["id"] for hit in reply["hits"]] == [hit.id for hit in expected]
    assert [hit["score"] for hit in reply["hits"]] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert reply["hits"][0]["id"] == "wal"
    assert reply["hits"][0]["metadata"] == {"kind": "database"}


def test_evidence_marks_lines_of_the_hit(client: TestClient) -> None:
    reply = client.post("/search", json={"query": QUERY, "evidence": True, "compare": True}).json()
    hit = reply["hits"][0]
    spans = [hit["text"][each["start"] : each["end"]] for each in hit["evidence"]["spans"]]
    dropped = [hit["text"][each["start"] : each["end"]] for each in hit["evidence"]["dropped"]]
    assert spans[0].startswith("Readers do not block writers")
    assert "Share this page" in dropped
    # Mean pooling has read everything, in an order of its own.
    assert sorted(each["place"] for each in reply["mean"]) == [1, 2, 3]
    assert [each["score"] for each in reply["mean"]] == sorted((each["score"] for each in reply["mean"]), reverse=True)
    assert all(each["evidence"]["dropped"] == [] for each in reply["mean"])


def test_mean_scores_are_mean_poolings(client: TestClient, served_encoder: GlotEncoder) -> None:
    mean = served_encoder.with_pooling("mean", denoise=False)  # type: ignore[attr-defined]
    for _ in range(2):  # the second time from memory
        (first, *_) = client.post("/search", json={"query": QUERY, "compare": True, "k": 1}).json()["mean"]
        expected = mean.encode_documents([first["text"]])[0] @ mean.encode_queries([QUERY])[0]
        assert first["score"] == pytest.approx(float(expected), abs=1e-5)


def test_documents_are_added_read_and_deleted(client: TestClient, index: GlotIndex) -> None:
    added = client.post("/documents", json={"documents": [{"id": "tea", "text": "Tea is hot.", "metadata": {"n": 1}}]})
    assert added.json() == {"ids": ["tea"]}
    assert index.get(["tea"])[0].metadata == {"n": 1}
    assert client.get("/documents").json() == {"count": 4}
    found = client.get("/documents", params={"id": ["tea", "none"]}).json()["documents"]
    assert found == [{"id": "tea", "text": "Tea is hot.", "metadata": {"n": 1}}]
    assert client.post("/search", json={"query": "tea", "k": 1}).json()["hits"][0]["id"] == "tea"
    deleted = client.request("DELETE", "/documents", json={"filter": {"kind": "database"}})
    assert deleted.json() == {"deleted": 2}
    assert sorted(index.ids()) == ["bread", "tea"]


def test_a_rejected_document_leaves_the_index_as_it_was(client: TestClient, index: GlotIndex) -> None:
    documents = [{"id": "good", "text": "good"}, {"id": "", "text": "bad"}]
    reply = client.post("/documents", json={"documents": documents})
    assert reply.status_code == 400
    assert "id" in reply.json()["error"]["message"]
    assert len(index) == 3


def test_a_file_replaces_the_one_of_its_name(client: TestClient, index: GlotIndex) -> None:
    long = "\n\n".join(f"# Part {n}\n\n" + "Tea and water and time. " * 40 for n in range(4)).encode()
    first = client.post("/files", params={"name": "docs/tea.md"}, content=long).json()
    assert first["chunks"] > 3
    second = client.post("/files", params={"name": "docs/tea.md"}, content=b"# Tea\n\nWater and time.\n").json()
    assert (second["chunks"], second["removed"]) == (1, first["chunks"] - 1)
    (document,) = index.get(["docs/tea.md#0"])
    assert document.text == "Tea\nWater and time."
    assert document.metadata["file"] == "docs/tea.md"


def test_rows_and_members_are_named_after_the_file(client: TestClient, index: GlotIndex) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/a.txt", "Moles dig tunnels.")
    client.post("/files", params={"name": "d/rows.jsonl"}, content=b'{"text": "Voles dig, too."}')
    client.post("/files", params={"name": "d/z.zip"}, content=packed.getvalue())
    row, member = index.get(["d/rows.jsonl#0", "d/z.zip#0"])
    assert (row.metadata["source"], row.metadata["document"]) == ("d/rows.jsonl", "d/rows.jsonl#1")
    assert (member.metadata["source"], member.metadata["file"]) == ("d/z.zip!in/a.txt", "d/z.zip")
    assert "document" not in member.metadata


def test_a_file_goes_through_the_indexs_denoiser(served_encoder: GlotEncoder, index: GlotIndex) -> None:
    denoiser = served_encoder.denoiser  # type: ignore[attr-defined]
    with TestClient(create_app(served_encoder, index=index, denoiser=denoiser)) as client:
        assert client.get("/ready").json()["cleaned"] is True
        client.post("/files", params={"name": "wal.txt"}, content=TEXT.encode())
        (document,) = index.get(["wal.txt#0"])
    (denoised,) = denoiser.denoise([TEXT])
    assert document.text == denoised.text
    assert (document.metadata["source"], document.metadata["title"]) == ("wal.txt", "wal.txt")
    assert document.metadata["kept"] == pytest.approx(denoised.kept, abs=1e-4)


@pytest.mark.parametrize(("name", "note"), [("a.xyz", "of kinds that are not read"), ("empty.txt", "text: empty.txt")])
def test_a_file_that_gives_nothing_says_why(client: TestClient, name: str, note: str) -> None:
    content = b"" if name == "empty.txt" else b"\x00\x01\x02"
    reply = client.post("/files", params={"name": name}, content=content).json()
    assert reply["chunks"] == 0
    assert note in " ".join(reply["notes"])


@pytest.mark.parametrize("name", ["..", "/", "a\0b"])
def test_a_name_that_is_none(client: TestClient, name: str) -> None:
    assert client.post("/files", params={"name": name}, content=b"text").status_code == 400


def test_denoise_is_the_denoisers(client: TestClient, served_encoder: GlotEncoder) -> None:
    reply = client.post("/v1/denoise", json={"input": [TEXT, "Tea is hot."]}).json()
    for given, text in zip(reply["data"], [TEXT, "Tea is hot."], strict=True):
        (expected,) = served_encoder.denoise([text])
        assert given["text"] == expected.text
        assert given["spans"] == [list(span) for span in expected.spans]
        assert given["kept"] == pytest.approx(expected.kept)
        noise = [block.noise for block in expected.blocks]
        assert [block["noise"] for block in given["blocks"]] == pytest.approx(noise, abs=1e-5)


def test_explain_is_the_encoders(client: TestClient, served_encoder: GlotEncoder) -> None:
    reply = client.post("/explain", json={"text": TEXT, "query": QUERY}).json()
    expected = served_encoder.explain(TEXT, QUERY)
    assert reply["score"] == pytest.approx(expected.score, abs=1e-5)
    assert sum(each["contribution"] for each in reply["tokens"]) == pytest.approx(reply["score"], abs=1e-5)
    assert [each["token"] for each in reply["tokens"]] == [each.token for each in expected.tokens]
    assert len(reply["dropped"]) == len(expected.dropped)
    page = client.post("/explain", json={"text": TEXT, "query": QUERY, "format": "html"})
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "Mean pooling" in page.text


def test_a_server_without_an_index(served_encoder: GlotEncoder) -> None:
    with TestClient(create_app(served_encoder)) as client:
        reply = client.post("/search", json={"query": "tea"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_index")
        assert client.get("/ready").json()["index"] is False


def test_metrics_count_what_was_done(client: TestClient) -> None:
    client.post("/v1/embeddings", json={"model": "minilm", "input": ["a", "b"]})
    client.get("/no/such/place")
    text = client.get("/metrics").text
    assert 'glot_rag_requests_total{route="/v1/embeddings",status="200"} 1.0' in text
    assert 'glot_rag_requests_total{route="other",status="404"} 1.0' in text
    assert 'glot_rag_inputs_total{input_type="document"} 2.0' in text
    assert "glot_rag_tokens_total 6.0" in text
    assert "glot_rag_documents 3.0" in text
