"""Connects to a Ray cluster, or says within seconds why there is none."""

from __future__ import annotations

import logging
import os
import socket
from urllib.parse import urlsplit

from glot_rag.errors import InputError, MissingExtraError

_PATIENCE = 5.0  # seconds that a cluster has to answer
_SETTINGS = b"\x04"  # the kind of frame that HTTP/2, on which gRPC is built, begins with
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0" + _SETTINGS + bytes(5)


def connect(address: str | None) -> None:
    """Connect this process to Ray, unless it is connected already.

    Args:
        address: see `RayEngine`.

    Raises:
        InputError: no cluster at that address, or one that Ray Data cannot run on from here.
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    wanted = None if ray.is_initialized() else address or os.environ.get("RAY_ADDRESS")
    if ray.util.client.ray.is_connected() or (wanted or "").startswith("ray://"):
        raise InputError(
            f"Ray Data does not run through Ray's client, got {wanted or 'a connection of it'}: run this on a machine "
            "of the cluster, with the address auto, or host:port"
        )
    if ray.is_initialized():
        return
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)  # Ray's files have the rest
    if not wanted or wanted in ("auto", "local"):
        failure = "Ray does not start on this machine" if wanted != "auto" else "no Ray cluster on this machine"
        hint = "" if wanted != "auto" else ": start one with `ray start --head`, or leave the address out"
    else:
        where = wanted if address else f"{wanted}, which RAY_ADDRESS names"
        _check_answers(wanted, where)
        failure = f"{where}, answers, but not as a cluster of Ray {ray.__version__} does"
        hint = (
            ": give the address that `ray start --head` printed, run the cluster's version, and set "
            "RAY_AUTH_MODE=token if it asks for one"
        )
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:  # Ray raises a bare Exception where a node is slow to start
        raise InputError(f"{failure} ({last_line(error)}){hint}") from error


def last_line(error: Exception) -> str:
    """What an error says after all tracebacks that are in it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__


def _check_answers(address: str, where: str) -> None:
    """Refuse an address at which nothing speaks gRPC, as Ray does: `ray.init` would wait there for minutes."""
    if "://" in address:
        return  # of a provider, which Ray knows
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise InputError(f"a cluster's address is host:port or auto, got {where}")
    try:
        with socket.create_connection((host, port), _PATIENCE) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return  # the server waits for a certificate
            connection.sendall(_PREFACE)
            answer = connection.recv(4, socket.MSG_WAITALL)
        reason = "" if answer[3:] == _SETTINGS else "what answers is something else"
    except TimeoutError:
        reason = f"no answer in {_PATIENCE:g} seconds"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise InputError(
            f"no Ray cluster at {where} ({reason}): start one with `ray start --head` and give the address that it "
            "prints, or leave the address out for one on this machine"
        )
