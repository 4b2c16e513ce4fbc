"""`/v1/embeddings` and `/v1/models`, to OpenAI's contract."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.responses import Response

from glot_rag.embedder import Vectors
from glot_rag.serving.keys import may_read
from glot_rag.serving.replies import ERRORS, ApiError, JsonReply
from glot_rag.serving.service import Service, service_of

router = APIRouter(prefix="/v1", dependencies=[Depends(may_read)], responses=ERRORS, tags=["OpenAI"])
_STARTED = int(time.time())

Text = Annotated[StrictStr, Field(min_length=1)]
TokenIds = Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """Texts to embed. Fields that are not known are refused."""

    model_config = ConfigDict(extra="forbid")

    input: (
        Text | Annotated[list[Text], Field(min_length=1)] | TokenIds | Annotated[list[TokenIds], Field(min_length=1)]
    ) = Field(description="A text, texts, or ids of this model's own tokens.")
    model: str = Field(description="The name that `/v1/models` gives.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="Only the model's own number of dimensions."
    )
    input_type: Literal["document", "query"] = Field(
        "document", description="Queries get the query's prompt and pooling, and are not denoised."
    )
    user: str | None = Field(None, description="Taken, and not looked at.")


class Embedding(BaseModel):
    """One input's vector, of norm 1."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class Cut(BaseModel):
    """An input that was longer than the model reads."""

    index: int
    tokens: int
    read: int


class EmbeddingsReply(BaseModel):
    """OpenAI's reply, and which inputs were cut."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage
    cut: list[Cut]


@router.post("/embeddings", response_model=EmbeddingsReply)
async def embeddings(request: Request, body: EmbeddingsRequest) -> Response:
    """Embed texts. What is longer than the model reads is cut, and `cut` and the header `X-Glot-Cut` say so."""
    service = service_of(request)
    _check_model(service, body.model)
    if body.dimensions not in (None, service.encoder.dimension):
        raise ApiError(
            400,
            f"this model's vectors have {service.encoder.dimension} dimensions and cannot be shortened; got "
            f"{body.dimensions}: leave dimensions out",
            param="dimensions",
        )
    texts = _texts(service, body.input)
    counted = await service.count_tokens(texts, body.input_type)
    vectors = await service.encode(request, texts, counted, body.input_type)
    read = service.read_tokens(counted, body.input_type)
    cut = [
        {"index": number, "tokens": all_, "read": some}
        for number, (all_, some) in enumerate(zip(counted, read, strict=True))
        if some < all_
    ]
    service.metrics.cut.inc(len(cut))
    usage = {"prompt_tokens": sum(read), "total_tokens": sum(read)}
    reply = await asyncio.to_thread(_reply, vectors, body.encoding_format, service.name, usage, cut)
    reply.headers["X-Glot-Cut"] = str(len(cut))
    return reply


@router.get("/models")
async def models(request: Request) -> Response:
    """The model that is served."""
    service = service_of(request)
    return JsonReply({"object": "list", "data": [_model(service)]})


@router.get("/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """What is known of the model."""
    service = service_of(request)
    _check_model(service, name)
    return JsonReply(_model(service))


def _reply(
    vectors: Vectors, encoding_format: str, model: str, usage: dict[str, int], cut: list[dict[str, int]]
) -> JsonReply:
    if encoding_format == "base64":
        encoded: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode("ascii") for row in vectors]
    else:
        encoded = np.asarray(vectors, np.float32).tolist()
    data = [{"object": "embedding", "index": number, "embedding": each} for number, each in enumerate(encoded)]
    return JsonReply({"object": "list", "data": data, "model": model, "usage": usage, "cut": cut})


def _texts(service: Service, given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], str):
        return list(given)
    lists = [given] if isinstance(given[0], int) else given
    tokenizer = service.encoder.tokenizer
    highest = max(max(ids) for ids in lists)
    if highest >= tokenizer.vocabulary_size:
        raise ApiError(
            400,
            f"token id {highest} is not among this model's {tokenizer.vocabulary_size:,}: ids must come from its own "
            f"tokeniser. Send text (LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)",
            param="input",
        )
    texts = [str(tokenizer.core.decode(ids, skip_special_tokens=True)) for ids in lists]
    if "" in texts:
        raise ApiError(400, f"input {texts.index('')} holds special tokens only: send a text", param="input")
    return texts


def _check_model(service: Service, name: str) -> None:
    if name != service.name:
        raise ApiError(
            404,
            f"there is no model {name!r:.80}: this server has {service.name!r}",
            param="model",
            code="model_not_found",
        )


def _model(service: Service) -> dict[str, Any]:
    encoder = service.encoder
    return {
        "id": service.name,
        "object": "model",
        "created": _STARTED,
        "owned_by": "glot-rag",
        "dimensions": encoder.dimension,
        "max_tokens": encoder.max_tokens,
        "fingerprint": encoder.fingerprint,
    }
