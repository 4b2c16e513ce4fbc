"""What the server answers: JSON that always encodes, and errors in OpenAI's form."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from glot_rag.errors import (
    GlotError,
    IndexDiskError,
    IndexReadOnlyError,
    IndexStoreError,
    InputError,
    MissingExtraError,
    UnsupportedError,
)

logger = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """An error, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """What stands in the body of every error."""

    error: ErrorDetail


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: what was got, what was expected, the way out.
        param: the field that it is about.
        code: a word that programs can look at.
        retry_after: seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def reply(self) -> JsonReply:
        """The answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        detail = {"message": self.message, "type": _kind(self.status), "param": self.param, "code": self.code}
        return JsonReply({"error": detail}, self.status, headers)


class JsonReply(Response):
    """JSON in ASCII: half a surrogate pair, which a document may hold, has no UTF-8."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": description}
    for status, description in {
        400: "The request cannot be used.",
        401: "A key is needed, or this one is not known.",
        403: "The key may not do this, or the request comes from a page of another site.",
        404: "There is no such model, document or index.",
        408: "The body took too long to arrive.",
        413: "The body is too large.",
        422: "Too many inputs or tokens.",
        429: "The server is busy: try again after `Retry-After` seconds.",
    }.items()
}


def install(app: FastAPI) -> None:
    """Turn every error into a reply of that form."""

    @app.exception_handler(ApiError)
    async def _(request: Request, error: ApiError) -> Response:
        return error.reply()

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        # Of a field that takes several types, the error of the one that was meant: it is about more than the type.
        first = min(error.errors(), key=lambda each: each["type"].endswith("_type"))
        if first["type"] == "json_invalid":
            return ApiError(400, "the body is no JSON", code="invalid_json").reply()
        place = [str(part) for part in first["loc"] if part not in ("body", "query") and not _is_type_name(part)]
        where = ".".join(place) or None
        return ApiError(400, f"{where or 'the body'}: {first['msg']}", param=where, code="invalid_value").reply()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        reply = ApiError(error.status_code, str(error.detail)).reply()
        reply.headers.update(error.headers or {})
        return reply

    @app.exception_handler(GlotError)
    async def _(request: Request, error: GlotError) -> Response:
        if isinstance(error, (InputError, UnsupportedError, MissingExtraError)):
            return ApiError(400, str(error)).reply()
        if isinstance(error, IndexReadOnlyError):
            return ApiError(403, str(error)).reply()
        logger.error("%s", error)
        if isinstance(error, (IndexDiskError, IndexStoreError)):
            return ApiError(503, str(error)).reply()
        return ApiError(500, str(error)).reply()

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        return ApiError(500, "The server failed; its log says why.").reply()


def _is_type_name(part: object) -> bool:
    """Pydantic names the branch of a union in an error's place: "list[constrained-str]"."""
    return isinstance(part, str) and ("[" in part or part in ("str", "constrained-str"))


def _kind(status: int) -> str:
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
