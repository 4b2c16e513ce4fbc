"""Vectors on disk, by the content of the text and the encoder: a run that was killed goes on without encoding again.

One SQLite file. A batch is one transaction, so after a kill at any point there are whole batches. Each vector has a
checksum: a damaged one is forgotten and computed again. No text is kept, only its hash.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import CacheError

FILE_NAME = "vectors.sqlite"
# texts, names -> name -> (N, D) unit vectors
EmbedAs = Callable[[Sequence[str], Sequence[str]], Mapping[str, Vectors]]
_APPLICATION_ID, _VERSION = 0x474C5643, 1  # "GLVC"
_BUSY_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE encoders (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE vectors (encoder INTEGER NOT NULL, text BLOB NOT NULL, vector BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE UNIQUE INDEX keys ON vectors (encoder, text);
"""


class VectorCache:
    """A table of (encoder, text) -> vector. Several processes may share it.

    Attributes:
        damaged: vectors that did not match their checksums, so far.

    Args:
        directory: where the file is, or will be; made if it is missing.

    Raises:
        CacheError: what is there is damaged, or no such cache.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = Path(directory) / FILE_NAME
        self.damaged = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{self.path.parent} cannot be a cache's directory ({error.strerror})") from error
        with self._errors():
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            with self._errors():
                self._open()
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        execute = self._connection.execute
        # After a kill, WAL loses nothing that was committed; after a power cut it may lose the last batches.
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cell_size_check = ON", "trusted_schema = OFF"):
            execute(f"PRAGMA {pragma}")
        execute("BEGIN IMMEDIATE")
        if not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            execute(f"PRAGMA user_version = {_VERSION}")
        execute("COMMIT")
        found = (execute("PRAGMA application_id").fetchone()[0], execute("PRAGMA user_version").fetchone()[0])
        if found != (_APPLICATION_ID, _VERSION):
            raise CacheError(f"{self.path} is no cache of vectors of this version: choose another directory")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def get(self, encoder: str, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The vectors that are there: key -> (D,) float32.

        Args:
            encoder: a name made of everything that decides a vector.
            keys: of the texts, see `text_key`.

        Raises:
            CacheError: the file is damaged.
        """
        found: dict[bytes, Vectors] = {}
        with self._errors():
            number = self._number(encoder)
            if number is None:
                return found
            select = "SELECT vector, checksum FROM vectors WHERE encoder = ? AND text = ?"
            for key in keys:
                row = self._connection.execute(select, (number, key)).fetchone()
                if row is None:
                    continue
                vector, checksum = row
                if isinstance(vector, bytes) and checksum == _checksum(encoder, key, vector):
                    found[key] = np.frombuffer(vector, dtype="<f4")
                else:
                    self.damaged += 1
        return found

    def put(self, keys: Sequence[bytes], vectors: Mapping[str, Vectors]) -> None:
        """Keep a batch, all of it or, if the process is killed meanwhile, nothing.

        Args:
            keys: of n texts.
            vectors: encoder -> (n, D) float32.

        Raises:
            CacheError: the file is damaged, or the disk is full.
        """
        insert = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)"
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for encoder, rows in vectors.items():
                    self._connection.execute("INSERT OR IGNORE INTO encoders (name) VALUES (?)", (encoder,))
                    number = self._number(encoder)
                    for key, row in zip(keys, np.ascontiguousarray(rows, dtype="<f4"), strict=True):
                        blob = row.tobytes()
                        self._connection.execute(insert, (number, key, blob, _checksum(encoder, key, blob)))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _number(self, encoder: str) -> int | None:
        row = self._connection.execute("SELECT number FROM encoders WHERE name = ?", (encoder,)).fetchone()
        return None if row is None else int(row[0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise CacheError(f"{self.path} cannot be used ({error}): choose another directory, or free it") from error
        except sqlite3.DatabaseError as error:
            raise CacheError(f"{self.path} is damaged ({error}): delete it, it can be computed again") from error


def embed_missing(
    embed: EmbedAs, texts: Sequence[str], encoders: Mapping[str, str], cache: VectorCache | None
) -> dict[str, Vectors]:
    """Embed what the cache lacks, and keep it there.

    Args:
        embed: texts, names -> vectors; called with the texts and names that the cache lacks, each text once.
        texts: N strings.
        encoders: name -> its key in the cache.
        cache: None embeds all texts.

    Returns:
        Name -> (N, D).
    """
    if cache is None or not texts:
        return dict(embed(texts, list(encoders)))
    keys = [text_key(text) for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    held = {name: cache.get(encoder, list(by_key)) for name, encoder in encoders.items()}
    wanted: dict[tuple[str, ...], list[bytes]] = {}  # names that lack them -> keys
    for key in by_key:
        if lacking := tuple(name for name in encoders if key not in held[name]):
            wanted.setdefault(lacking, []).append(key)
    for lacking, missing in wanted.items():
        vectors = embed([by_key[key] for key in missing], lacking)
        cache.put(missing, {encoders[name]: vectors[name] for name in lacking})
        for name in lacking:
            held[name].update(zip(missing, np.asarray(vectors[name], dtype=np.float32), strict=True))
    return {name: np.stack([held[name][key] for key in keys]) for name in encoders}


def text_key(text: str) -> bytes:
    """The hash under which a text is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(encoder: str, key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(encoder.encode() + key + vector, digest_size=16).digest()
