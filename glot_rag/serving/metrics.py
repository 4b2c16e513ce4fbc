"""What `/metrics` tells Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "glot_rag_requests", "Answers, by route and status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram("glot_rag_request_seconds", "Time of an answer.", ["route"], registry=registry)
        self.refused = Counter(
            "glot_rag_refused", "Requests refused before they were read.", ["status"], registry=registry
        )
        self.inputs = Counter("glot_rag_inputs", "Texts embedded.", ["input_type"], registry=registry)
        self.tokens = Counter("glot_rag_tokens", "Tokens that the model was given.", registry=registry)
        self.cut = Counter("glot_rag_cut_inputs", "Texts that were longer than the model reads.", registry=registry)
        self.batch_inputs = Histogram(
            "glot_rag_batch_inputs", "Texts of a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), registry=registry
        )
        self.batch_tokens = Histogram(
            "glot_rag_batch_tokens", "Tokens of a batch.", buckets=[1 << n for n in range(5, 16)], registry=registry
        )
        self.waiting = Gauge("glot_rag_waiting_tokens", "Tokens that wait for the model.", registry=registry)
        self.documents = Gauge("glot_rag_documents", "Documents in the index.", registry=registry)

    def observe_batch(self, inputs: int, tokens: int) -> None:
        """A batch of so many texts and tokens goes through the model."""
        self.batch_inputs.observe(inputs)
        self.batch_tokens.observe(tokens)

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self._registry)


class Observed:
    """Counts and times the answers of an application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            # The route's template, not the path: a path that somebody made up is no label.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
