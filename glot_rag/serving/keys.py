"""Who may call: keys, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from fastapi import Request

from glot_rag.errors import InputError
from glot_rag.serving.replies import ApiError

_LINE = re.compile(r"(?P<right>read|write)\s+(?:sha256:)?(?P<hash>[0-9a-fA-F]{64})")


class Keys:
    """The keys that may read, and those that may change the index, too.

    A key is a random string of at least 128 bits (`openssl rand -hex 32`): such a one needs no slow hash.

    Args:
        read: SHA-256 of each key that may read, in hexadecimal.
        write: of each that may also add and delete documents.
    """

    def __init__(self, read: Iterable[str] = (), write: Iterable[str] = ()) -> None:
        self._hashes = [(each.lower(), False) for each in read] + [(each.lower(), True) for each in write]

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read a file of lines such as `read 2c26b46b…` or `write 2c26b46b…`; empty lines and # comments are skipped.

        Raises:
            InputError: it cannot be read, a line is something else, or there is no key.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the file of keys {path} cannot be read: {error}") from error
        found: dict[str, list[str]] = {"read": [], "write": []}
        for number, line in enumerate(lines, start=1):
            if not (line := line.partition("#")[0].strip()):
                continue
            if not (match := _LINE.fullmatch(line)):
                raise InputError(
                    f"{path}, line {number}: expected `read` or `write` and the key's SHA-256 in hexadecimal "
                    f"(printf %s KEY | sha256sum)"
                )
            found[match["right"]].append(match["hash"])
        if not any(found.values()):
            raise InputError(f"{path} holds no key: nobody could call the server")
        return cls(found["read"], found["write"])

    def check(self, given: str | None, *, write: bool) -> None:
        """Let a key pass.

        Raises:
            ApiError: there is none, it is not known (401), or it may not write (403).
        """
        digest = hashlib.sha256((given or "").encode("utf-8", "surrogatepass")).hexdigest()
        # All are compared, in constant time each, so that the time says nothing about which one was nearly right.
        rights = [may_write for each, may_write in self._hashes if hmac.compare_digest(each, digest)]
        if given is None or not rights:
            said = "no key was given" if given is None else "the key is not known"
            raise ApiError(401, f"{said}: send it as `Authorization: Bearer KEY`", code="invalid_api_key")
        if write and not any(rights):
            raise ApiError(403, "this key may read only", code="read_only_key")


def _given(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def may_read(request: Request) -> None:
    """For a route that reads."""
    keys: Keys | None = request.app.state.service.keys
    if keys is not None:
        keys.check(_given(request), write=False)


def may_write(request: Request) -> None:
    """For a route that changes the index."""
    keys: Keys | None = request.app.state.service.keys
    if keys is not None:
        keys.check(_given(request), write=True)
