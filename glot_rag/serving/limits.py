"""What the server takes at most, and the guard in front of it: body size, requests at a time, other sites."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glot_rag.errors import InputError
from glot_rag.serving.replies import ApiError

T = TypeVar("T")

RETRY_AFTER = 1  # seconds
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPEN = ("/health", "/ready", "/metrics")  # answered however busy the server is


@dataclass(frozen=True)
class Limits:
    """What the server takes at most; more is refused, never cut.

    Args:
        body_bytes: of a request (413).
        inputs: texts of a request (422). OpenAI's own is 2,048.
        tokens: of all texts of a request (422).
        requests: at a time (429).
        waiting_tokens: of all texts that wait for the model (429).
        seconds: for a request (429), and for its body to arrive (408).
        batch_tokens: of the texts that go through the model together. More is not faster, and a short request waits
            for the batch before it.

    Raises:
        InputError: a limit below 1.
    """

    body_bytes: int = 32 << 20
    inputs: int = 2_048
    tokens: int = 1_000_000
    requests: int = 256
    waiting_tokens: int = 2_000_000
    seconds: int = 300
    batch_tokens: int = 8_192

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InputError(f"{field.name} must be at least 1; got {getattr(self, field.name)}")


class Guard:
    """Refuses what is too large, too much at once, or sent by a page of another site, before anything is read.

    Args:
        app: what is behind it.
        limits: see `Limits`.
        loopback: the server listens on this machine alone, so its name must be this machine's: no site can point a
            name of its own here (DNS rebinding).
        count_refusal: called with the status of each refusal.
    """

    def __init__(self, app: ASGIApp, limits: Limits, loopback: bool, count_refusal: Callable[[int], None]) -> None:
        self._app = app
        self._limits = limits
        self._loopback = loopback
        self._count_refusal = count_refusal
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._check_origin(scope["method"], headers)
            if self._running >= self._limits.requests:
                raise ApiError(
                    429, f"{self._running} requests are running: try again", code="busy", retry_after=RETRY_AFTER
                )
        except ApiError as error:
            await self._refuse(error, scope, receive, send)
            return
        self._running += 1
        try:
            try:
                body = await self._body(headers, receive)
            except ApiError as error:
                await self._refuse(error, scope, receive, send)
                return
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._running -= 1

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        self._count_refusal(error.status)
        await error.reply()(scope, receive, send)

    def _check_origin(self, method: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if self._loopback and _name(host) not in (*_LOOPBACK, ""):
            raise ApiError(
                403, f"this server is for its own machine: {host!r:.80} is not its name; start it with --host"
            )
        origin = headers.get("origin")
        if method not in ("GET", "HEAD", "OPTIONS") and origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, f"a page of another site ({origin!r:.80}) may not call this server")

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        most = self._limits.body_bytes
        too_large = ApiError(413, f"the body is larger than {most:,} bytes: send less at a time", code="body_too_large")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise too_large
        try:
            body = await asyncio.wait_for(_read(receive, most), self._limits.seconds)
        except asyncio.TimeoutError:
            raise ApiError(408, f"the body did not arrive within {self._limits.seconds} s") from None
        if body is None:
            raise too_large
        return body


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body; None for one that is larger than that."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the client went away")
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then what else comes."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return first.pop() if first else await receive()

    return next_message


def _name(host: str) -> str:
    """The host without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


async def while_connected(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Run something for a request; end it when the client goes away or the time is over.

    Raises:
        ApiError: it took too long (429), or nobody waits for the answer (400).
    """
    running = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request.receive))
    try:
        done, _ = await asyncio.wait({running, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if running in done:
            return running.result()
        if gone in done:
            raise ApiError(400, "the client went away")
        raise ApiError(429, f"not done within {seconds:g} s: the server is busy", code="busy", retry_after=RETRY_AFTER)
    finally:
        running.cancel()
        gone.cancel()


async def _disconnected(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
