"""The application: its routes, and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING

import glot_rag
from glot_rag.errors import MissingExtraError
from glot_rag.serving.limits import Guard, Limits

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import GlotIndex
    from glot_rag.serving.keys import Keys

try:
    import prometheus_client  # noqa: F401
    from fastapi import Depends, FastAPI, Request
    from starlette.responses import PlainTextResponse, RedirectResponse, Response
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "serve") from error

from glot_rag.serving import embeddings, replies, retrieval
from glot_rag.serving.keys import may_read
from glot_rag.serving.metrics import CONTENT_TYPE, Observed
from glot_rag.serving.service import Service, service_of

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"  # noqa: E501


def create_app(
    encoder: GlotEncoder,
    *,
    name: str = "minilm",
    index: GlotIndex | None = None,
    denoiser: Denoiser | None = None,
    keys: Keys | None = None,
    limits: Limits | None = None,
    loopback: bool = False,
) -> FastAPI:
    """Make the application, for uvicorn or any other ASGI server. One process each: the model and the index are inside.

    Args:
        encoder: makes the vectors.
        name: what clients call the model.
        index: what is searched; closed with the application. None serves embeddings alone.
        denoiser: the one that the index's documents went through before they were cut into chunks, which files that
            are added and `/v1/denoise` go through, too. None is the encoder's own, chunk by chunk.
        keys: who may call; None lets everybody.
        limits: what a request may ask for.
        loopback: refuse requests that name another host than this machine.
    """
    limits = limits or Limits()
    service = Service(encoder, name=name, index=index, denoiser=denoiser, keys=keys, limits=limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        if index is not None:
            service.metrics.documents.set(len(index))
        yield
        await service.batcher.stop()
        if index is not None:
            index.close()

    app = FastAPI(
        title="glot-rag",
        version=glot_rag.__version__,
        description="Embeddings that survive noisy documents, to OpenAI's contract; search, denoising and evidence.",
        lifespan=lifespan,
        docs_url=None,  # those pages come from another site: `/docs` here needs no network
        redoc_url=None,
    )
    app.state.service = service
    replies.install(app)
    for router in (embeddings.router, retrieval.readers, retrieval.writers):
        app.include_router(router)
    _add_operations(app)
    app.add_middleware(Observed, metrics=service.metrics)
    app.add_middleware(
        Guard,
        limits=limits,
        loopback=loopback,
        count_refusal=lambda status: service.metrics.refused.labels(str(status)).inc(),
    )
    return app


def _add_operations(app: FastAPI) -> None:
    @app.get("/health", tags=["operations"])
    async def health() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @app.get("/ready", tags=["operations"])
    async def ready(request: Request) -> Response:
        """The model is loaded; what is served."""
        service = service_of(request)
        return replies.JsonReply(
            {
                "status": "ready",
                "model": service.name,
                "keys": service.keys is not None,
                "index": service.has_index,
                "cleaned": service.index_denoiser is not None,
                "writable": service.has_index and not service.index.read_only,
                "capabilities": sorted(service.encoder.capabilities),
            }
        )

    @app.get(
        "/metrics",
        tags=["operations"],
        dependencies=[Depends(may_read)],
        response_class=PlainTextResponse,
        responses={401: {**replies.ERRORS[401], "content": {"application/json": {}}}},
    )
    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        service = service_of(request)
        service.metrics.waiting.set(service.batcher.waiting)
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _file("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return _file("docs.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        return _file(name)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return RedirectResponse("/page/icon.svg")


def _file(name: str) -> Response:
    folder = resources.files("glot_rag.serving").joinpath("page")
    known = {each.name: each for each in folder.iterdir()}  # a name from outside is looked up, never joined to a path
    suffix = "." + name.rpartition(".")[2]
    if name not in known or suffix not in _TYPES:
        raise replies.ApiError(404, f"there is no {name!r:.80}")
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(known[name].read_bytes(), media_type=_TYPES[suffix], headers=headers)
