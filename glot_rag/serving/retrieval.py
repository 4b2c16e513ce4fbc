"""Routes over documents: denoise, explain, search, add, delete, and files as they are."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import HTMLResponse, Response

from glot_rag.documents import Document, read_documents
from glot_rag.errors import UnsupportedError
from glot_rag.index import Hit
from glot_rag.index.chunking import Chunker, ChunkOptions, NoiseReport
from glot_rag.serving.keys import may_read, may_write
from glot_rag.serving.replies import ERRORS, ApiError, JsonReply
from glot_rag.serving.service import Service, service_of

if TYPE_CHECKING:
    from glot_rag.denoise.denoised import Denoised

readers = APIRouter(dependencies=[Depends(may_read)], responses=ERRORS, tags=["documents"])
writers = APIRouter(dependencies=[Depends(may_write)], responses=ERRORS, tags=["documents"])

COMPARED = 50  # best hits that mean pooling puts in an order of its own
_SPECIAL_TOKENS = 8  # room in the encoder's limit for those around a chunk and for a prompt
_CHUNK_TOKENS = 248
# The page that evidence makes has its style in it, and nothing else.
_EVIDENCE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DenoiseRequest(_Request):
    """Documents to clean."""

    input: StrictStr | Annotated[list[StrictStr], Field(min_length=1)]


class ExplainRequest(_Request):
    """A document, and the query that it is held against."""

    text: StrictStr
    query: StrictStr | None = None
    format: Literal["json", "html"] = "json"


class SearchRequest(_Request):
    """A query."""

    query: Annotated[StrictStr, Field(min_length=1)]
    k: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 10
    mode: Literal["vector", "keyword", "hybrid"] = "vector"
    filter: dict[str, Any] | None = Field(None, description='E.g. `{"year": {"$gte": 2023}}`.')
    evidence: bool = Field(False, description="Say which lines of each hit match, and what was dropped from it.")
    compare: bool = Field(False, description=f"Also give mean pooling's order of the {COMPARED} best hits.")


class NewDocument(_Request):
    """A document to store. One with the same id is replaced."""

    text: StrictStr
    id: StrictStr | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class AddRequest(_Request):
    """Documents to add, in one commit."""

    documents: Annotated[list[NewDocument], Field(min_length=1)]


class DeleteRequest(_Request):
    """Documents to delete, by id or by filter."""

    ids: list[StrictStr] | None = None
    filter: dict[str, Any] | None = None


@readers.post("/v1/denoise")
async def denoise(request: Request, body: DenoiseRequest) -> Response:
    """Clean documents: what is left of each, and each of its blocks with the probability that it is noise."""
    service = service_of(request)
    texts = [body.input] if isinstance(body.input, str) else body.input
    tokens = await service.count_tokens(texts)
    found = await service.call(request, lambda: service.denoise(texts), sum(tokens))
    data = [
        {
            "index": number,
            "text": each.text,
            "kept": each.kept,
            "spans": each.spans,
            "blocks": [{"start": block.start, "end": block.end, "noise": block.noise} for block in each.blocks],
        }
        for number, each in enumerate(found)
    ]
    return JsonReply({"object": "list", "data": data, "usage": {"total_tokens": sum(tokens)}})


@readers.post("/explain", responses={200: {"content": {"text/html": {}}}})
async def explain(request: Request, body: ExplainRequest) -> Response:
    """Say what a document's vector is made of, token by token, and what each token adds to the query's score."""
    service = service_of(request)
    (tokens,) = await service.count_tokens([body.text])
    if "explain" not in service.encoder.capabilities:
        raise UnsupportedError("this server's encoder cannot explain: serve one that runs through torch")
    evidence = await service.call(request, lambda: service.encoder.explain(body.text, body.query), tokens)
    if body.format == "html":
        mean = await service.call(request, lambda: service.mean_encoder().explain(body.text, body.query), tokens)
        page = await asyncio.to_thread(evidence.to_html, mean)
        return HTMLResponse(page, headers={"Content-Security-Policy": _EVIDENCE_POLICY})
    return JsonReply(
        {
            "text": evidence.text,
            "query": evidence.query,
            "score": evidence.score,
            "rest": evidence.rest,
            "tokens": [
                {
                    "token": each.token,
                    "start": each.span[0],
                    "end": each.span[1],
                    "weight": each.weight,
                    "noise": each.noise,
                    "contribution": each.contribution,
                }
                for each in evidence.tokens
            ],
            **_spans(evidence),
        }
    )


@readers.post("/search")
async def search(request: Request, body: SearchRequest) -> Response:
    """Search the index: by vectors, by keywords, or by both."""
    service = service_of(request)
    index = service.index
    (tokens,) = await service.count_tokens([body.query], "query")
    k = max(body.k, COMPARED) if body.compare else body.k
    if body.mode == "keyword":
        hits = await asyncio.to_thread(index.search, body.query, k, body.filter, mode="keyword")
    else:
        vectors = await service.encode(request, [body.query], [tokens], "query")
        (hits,) = await asyncio.to_thread(
            index.search_vectors, vectors, k, body.filter, texts=[body.query], mode=body.mode
        )
    reply: dict[str, Any] = {"mode": body.mode, "hits": [_hit(each) for each in hits[: body.k]]}
    if body.compare:
        scores = await service.call(request, lambda: service.mean_scores(body.query, [each.text for each in hits]))
        order = sorted(range(len(hits)), key=lambda number: -scores[number])[: body.k]
        reply["mean"] = [{**_hit(hits[number]), "score": scores[number], "place": number + 1} for number in order]
    if body.evidence:
        await _add_evidence(request, service, body.query, reply)
    return JsonReply(reply)


async def _add_evidence(request: Request, service: Service, query: str, reply: dict[str, Any]) -> None:
    """To each hit what its own pooling goes by; one text at a time, so that other requests have their turn."""
    if "explain" not in service.encoder.capabilities:
        raise UnsupportedError("this server's encoder cannot explain: serve one that runs through torch")
    encoders = {"hits": service.encoder, **({"mean": service.mean_encoder()} if "mean" in reply else {})}
    for name, encoder in encoders.items():
        for hit in reply[name]:
            hit["evidence"] = _spans(await service.call(request, partial(encoder.explain, hit["text"], query)))


def _spans(evidence: Any) -> dict[str, Any]:
    return {
        "spans": [{"start": each.start, "end": each.end, "score": each.score} for each in evidence.best_spans(3)],
        "dropped": [
            {"start": each.start, "end": each.end, "noise": each.noise, "reason": each.reason}
            for each in evidence.dropped
        ],
    }


def _hit(hit: Hit) -> dict[str, Any]:
    return {"id": hit.id, "score": hit.score, "text": hit.text, "metadata": dict(hit.metadata)}


@readers.get("/documents")
async def get_documents(
    request: Request,
    id: Annotated[list[str], Query(max_length=1_000)] = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """Documents by id; without one, how many there are."""
    index = service_of(request).index
    if not id:
        return JsonReply({"count": await asyncio.to_thread(len, index)})
    found = await asyncio.to_thread(index.get, id)
    data = [{"id": each.id, "text": each.text, "metadata": dict(each.metadata)} for each in found]
    return JsonReply({"count": len(data), "documents": data})


@writers.post("/documents")
async def add_documents(request: Request, body: AddRequest) -> Response:
    """Add documents as they are, one vector each. The answer comes once they are on disk."""
    service = service_of(request)
    documents = [Document(each.text, each.id, each.metadata) for each in body.documents]
    ids = await _add(request, service, documents)
    return JsonReply({"ids": ids})


@writers.delete("/documents")
async def delete_documents(request: Request, body: DeleteRequest) -> Response:
    """Delete documents, in one commit."""
    index = service_of(request).index
    count = await asyncio.to_thread(lambda: index.delete(body.ids, filter=body.filter))
    return JsonReply({"deleted": count})


@writers.post("/files")
async def add_file(
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=1_000, description="Where the file is from, e.g. docs/a.pdf.")],
    content: Annotated[bytes, Body(media_type="application/octet-stream")] = b"",
) -> Response:
    """Read a file of any known format, cut it into chunks, and add them in place of those of the same name."""
    service = service_of(request)
    index = service.index
    read, notes = await asyncio.to_thread(_read_file, name, content)
    room = min(_CHUNK_TOKENS, service.encoder.max_tokens - _SPECIAL_TOKENS)
    options = ChunkOptions(room, overlap=min(32, room // 8))
    chunker = Chunker(service.encoder.token_spans, options, service.index_denoiser)
    kept = await service.call(request, lambda: chunker.denoise(read), sum(len(each.text) // 4 for each in read))
    documents = await asyncio.to_thread(_chunks, chunker, name, read, kept)
    if documents:
        await _add(request, service, documents)

    def remove_others() -> int:
        kept = {document.id for document in documents}
        return index.delete([id for id in index.ids({"file": name}) if id not in kept])

    removed = await asyncio.to_thread(remove_others) if documents else 0
    return JsonReply({"name": name, "chunks": len(documents), "removed": removed, "notes": notes})


async def _add(request: Request, service: Service, documents: list[Document]) -> list[str]:
    index = service.index
    texts = [document.text for document in documents]
    tokens = await service.count_tokens(texts)
    vectors = await service.encode(request, texts, tokens, "document")
    ids = await asyncio.to_thread(index.add_vectors, documents, vectors)
    service.metrics.documents.set(await asyncio.to_thread(len, index))
    return ids


def _read_file(name: str, content: bytes) -> tuple[list[Document], list[str]]:
    """The documents in a file, and what a user should know about it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.name in ("", "..") or "\0" in name:
        raise ApiError(400, f"{name!r:.80} is no file's name", param="name")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / (uuid.uuid4().hex + path.suffix[:20])
        file.write_bytes(content)
        reader = read_documents([file], relative_to=folder)
        found = [_named(each, file.name, name) for each in reader]
        notes = [line.strip().replace(file.name, name) for line in reader.report.lines()[1:]]
    return found, notes


def _named(document: Document, read_as: str, name: str) -> Document:
    """The document as if it had been read under the name that was given: ids and places begin with it."""
    metadata = {**document.metadata, "source": document.source.replace(read_as, name)}
    return Document(document.text, document.id.replace(read_as, name), metadata, document.blocks)


def _chunks(chunker: Chunker, name: str, read: Sequence[Document], kept: Sequence[Denoised | None]) -> list[Document]:
    noise = NoiseReport()
    found: list[Document] = []
    for document, denoised in zip(read, kept, strict=True):
        for chunk in chunker.cut(document, denoised, name, noise):
            title = document.title or PurePosixPath(name).name
            found.append(Document(chunk.text, f"{name}#{len(found)}", {**chunk.metadata, "title": title}))
    return found
