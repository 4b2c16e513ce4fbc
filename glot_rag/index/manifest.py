"""What an index is: written once, when it is created."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from glot_rag.embedder import Embedder
from glot_rag.errors import FingerprintMismatchError, IndexCorruptedError, IndexVersionError, InputError

FORMAT_VERSION = 1
INDEX_TYPES = ("flat",)


@dataclass(frozen=True)
class Manifest:
    """Format and settings of an index.

    Attributes:
        dimension: D, the length of every vector.
        fingerprint: That of the encoder that makes the vectors.
        index_type: The FAISS index: "flat" is an exact search.
        metric: How vectors are compared.
        dtype: Type of a stored component.
        format_version: Raised when an older library could not read the result.
    """

    dimension: int
    fingerprint: str
    index_type: str = "flat"
    metric: str = "inner_product"
    dtype: str = "float32"
    format_version: int = FORMAT_VERSION

    @property
    def vector_bytes(self) -> int:
        """Size of a stored vector."""
        return 4 * self.dimension

    def to_json(self) -> str:
        """JSON text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            IndexVersionError: A newer library wrote it, or it is of a type that this one does not know.
            IndexCorruptedError: It is no manifest.
        """
        values = json.loads(text)
        if values["format_version"] > FORMAT_VERSION:
            raise IndexVersionError(
                f"The index has format version {values['format_version']}, this library reads up to {FORMAT_VERSION}. "
                "Upgrade: pip install -U glot-rag"
            )
        if set(values) != {field.name for field in fields(cls)}:
            raise IndexCorruptedError(f"The manifest holds {sorted(values)}, which is not what format version 1 holds")
        if values["index_type"] not in INDEX_TYPES:
            raise IndexVersionError(
                f"The index is of type {values['index_type']!r}, this library knows "
                f"{', '.join(map(repr, INDEX_TYPES))}. Upgrade: pip install -U glot-rag"
            )
        return cls(**values)

    def check_encoder(self, encoder: Embedder) -> None:
        """Refuse an encoder whose vectors cannot be compared with the stored ones.

        Raises:
            FingerprintMismatchError: It is another one than the index was made with.
            InputError: It says that it is the same, yet its vectors have another length.
        """
        if encoder.fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"The index was made by encoder {self.fingerprint!r}, the one in hand is {encoder.fingerprint!r}. "
                "Open it with the encoder that made it, or create a new index and add the documents again"
            )
        if encoder.dimension != self.dimension:
            raise InputError(
                f"The index holds vectors of {self.dimension} components, the encoder makes {encoder.dimension}"
            )
