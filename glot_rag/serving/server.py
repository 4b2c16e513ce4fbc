"""Runs the application: loads what it serves, listens, and ends without losing what was acknowledged."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.errors import IndexNotFoundError, InputError, MissingExtraError
from glot_rag.index.kept_denoiser import kept_denoiser
from glot_rag.serving.app import create_app
from glot_rag.serving.keys import Keys
from glot_rag.serving.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import GlotIndex

logger = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 30  # that requests which are running have to end


def load_app(
    index: Path | None,
    model: str | None,
    *,
    host: str = "127.0.0.1",
    keys: Path | None = None,
    read_only: bool = False,
    limits: Limits | None = None,
) -> FastAPI:
    """Load the model and the index, and make the application.

    Args:
        index: its directory; made if missing, with the model. None serves embeddings alone.
        model: "minilm", a saved or exported encoder, …; None is the index's own, else "minilm".
        host: the address that it will listen on.
        keys: a file of keys; see `Keys.load`. None lets everybody call.
        read_only: another process may write to the index meanwhile.
        limits: what a request may ask for.

    Raises:
        GlotError: what loading a model, an index or keys raises.
    """
    loaded = None if keys is None else Keys.load(keys)
    loopback = is_loopback(host)
    if loaded is None and not loopback:
        logger.warning("everybody who reaches %s may read and write: give --keys", host)
    if index is None:
        encoder, opened = _encoder(model or "minilm"), None
    else:
        encoder, opened = _open(index, model, read_only)
    name = model or "minilm"
    return create_app(
        encoder,
        name=Path(name).name or name,
        index=opened,
        denoiser=None if index is None else kept_denoiser(index),
        keys=loaded,
        limits=limits,
        loopback=loopback,
    )


def run(app: FastAPI, host: str, port: int) -> None:
    """Listen until SIGTERM or Ctrl-C; then requests that are running end, and the index is closed."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError(error.name or "uvicorn", "serve") from error
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        server_header=False,
        h11_max_incomplete_event_size=64 << 10,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _encoder(name: str) -> GlotEncoder:
    from glot_rag.encoder.base import GlotEncoder

    return GlotEncoder.from_pretrained(name)


def _open(path: Path, model: str | None, read_only: bool) -> tuple[GlotEncoder, GlotIndex]:
    from glot_rag.index import GlotIndex

    try:
        GlotIndex.open(path, read_only=True, check=False).close()  # a wrong path is told before a model is loaded
    except IndexNotFoundError:
        if read_only:
            raise
        encoder = _encoder(model or "minilm")
        return encoder, GlotIndex.create(path, encoder=encoder, save_encoder=True)
    saved = path / "encoder"
    if model is None and not saved.is_dir():
        raise InputError(f"{path} does not say which encoder made it (no {saved}): name it with --model")
    encoder = _encoder(model or str(saved))
    return encoder, GlotIndex.open(path, encoder=encoder, read_only=read_only)
