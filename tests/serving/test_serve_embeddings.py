"""`/v1/embeddings`: OpenAI's contract."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from glot_rag.encoder.base import GlotEncoder

TEXT = "Readers do not block writers."


def ask(client: TestClient, **fields: Any) -> Any:
    return client.post("/v1/embeddings", json={"model": "minilm", **fields})


def test_floats_are_the_encoders(client: TestClient, served_encoder: GlotEncoder) -> None:
    reply = ask(client, input=[TEXT, "tea"]).json()
    assert (reply["object"], reply["model"]) == ("list", "minilm")
    assert [(each["object"], each["index"]) for each in reply["data"]] == [("embedding", 0), ("embedding", 1)]
    found = np.array([each["embedding"] for each in reply["data"]], np.float32)
    np.testing.assert_allclose(found, served_encoder.encode_documents([TEXT, "tea"]), atol=1e-5)
    read = sum(len(served_encoder.tokenizer([text])[0]) for text in (TEXT, "tea"))
    assert reply["usage"] == {"prompt_tokens": read, "total_tokens": read}
    assert reply["cut"] == []


def test_base64_holds_the_same_floats(client: TestClient) -> None:
    floats = ask(client, input=TEXT).json()["data"][0]["embedding"]
    encoded = ask(client, input=TEXT, encoding_format="base64").json()["data"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(encoded), "<f4"), np.array(floats, np.float32))


def test_token_ids_are_this_models(client: TestClient, served_encoder: GlotEncoder) -> None:
    (ids,) = served_encoder.tokenizer.whole([TEXT])
    for given in (ids, [ids]):
        found = ask(client, input=given).json()["data"][0]["embedding"]
        np.testing.assert_allclose(found, served_encoder.encode_documents([TEXT])[0], atol=1e-5)


def test_queries_are_embedded_as_queries(client: TestClient, served_encoder: GlotEncoder) -> None:
    noisy = "Home | Log in | Pricing\nReaders do not block writers.\nShare this page"
    documents, queries = served_encoder.encode_documents([noisy])[0], served_encoder.encode_queries([noisy])[0]
    assert np.abs(documents - queries).max() > 1e-3
    for kind, expected in (("document", documents), ("query", queries)):
        found = ask(client, input=noisy, input_type=kind).json()["data"][0]["embedding"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_cut_is_reported(client: TestClient) -> None:
    reply = ask(client, input=["tea", "tea " * 400], input_type="query")
    assert reply.json()["cut"] == [{"index": 1, "tokens": 402, "read": 256}]
    assert reply.json()["usage"]["prompt_tokens"] == 3 + 256
    assert reply.headers["x-glot-cut"] == "1"


@pytest.mark.parametrize(
    ("fields", "status", "param", "message"),
    [
        ({"input": ""}, 400, "input", "at least 1 character"),
        ({"input": []}, 400, "input", "at least 1 item"),
        ({"input": ["a", ""]}, 400, "input", "at least 1 character"),
        ({"input": [99_999]}, 400, "input", "token id 99999 is not among this model's 30,522"),
        ({"input": [101, 102]}, 400, "input", "input 0 holds special tokens only"),
        ({"input": "a", "dimensions": 128}, 400, "dimensions", "have 384 dimensions and cannot be shortened; got 128"),
        ({"input": "a", "model": "gpt"}, 404, "model", "there is no model 'gpt': this server has 'minilm'"),
        ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "prompts": "x"}, 400, "prompts", "Extra inputs are not permitted"),
        ({"input": ["a"] * 2049}, 422, "input", "2,049 inputs; a request may have 2,048"),
    ],
)
def test_errors_have_openais_form(
    client: TestClient, fields: dict[str, Any], status: int, param: str, message: str
) -> None:
    reply = ask(client, **fields)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert message in error["message"]
    assert error["param"].startswith(param)
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


def test_a_body_that_is_no_json(client: TestClient) -> None:
    reply = client.post("/v1/embeddings", content=b"{nope", headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "the body is no JSON")


def test_half_a_surrogate_pair_is_refused_and_its_own_dimensions_are_taken(client: TestClient) -> None:
    body = b'{"model": "minilm", "input": "\\ud800 lone"}'
    reply = client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert "unicode" in reply.json()["error"]["message"]
    assert ask(client, input=TEXT, dimensions=384).status_code == 200


def test_models(client: TestClient, served_encoder: GlotEncoder) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["dimensions"], model["fingerprint"]) == ("minilm", 384, served_encoder.fingerprint)
    assert client.get("/v1/models/minilm").json() == model
    assert client.get("/v1/models/other").status_code == 404
