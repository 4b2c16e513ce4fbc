"""The settings of an index. They are written when it is created; only its type can be changed later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from glot_rag.embedder import Embedder
from glot_rag.errors import FingerprintMismatchError, IndexCorruptedError, IndexVersionError, InputError
from glot_rag.index.index_types import check_type
from glot_rag.index.keywords.analysis import check_language

FORMAT_VERSION = 4
MAX_DIMENSION = 1 << 16
WAY_OUT = "Restore the directory from a backup"
UPGRADE = "Upgrade: pip install -U glot-rag"


@dataclass(frozen=True)
class Manifest:
    """Format and settings of an index.

    Attributes:
        dimension: D, the length of every vector.
        fingerprint: That of the encoder that makes the vectors.
        index_type: One of `index_types.NAMES`.
        language: Whose stems and stop words the keywords have; one of `keywords.analysis.LANGUAGES`.
        metric: How vectors are compared.
        dtype: Type of a stored component.
        format_version: Raised when an older library could not read the result.
    """

    dimension: int
    fingerprint: str
    index_type: str = "flat"
    language: str = "english"
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
            IndexVersionError: The format, the index type or the metric is not one that this library reads.
            IndexCorruptedError: It is not a manifest.
        """
        try:
            values = json.loads(text)
            version = values["format_version"]
            if type(version) is not int or version < 1:
                raise ValueError(f"format_version {version!r:.50}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise IndexCorruptedError(f"The manifest cannot be read: {error!r:.200}. {WAY_OUT}") from None
        if version != FORMAT_VERSION:
            way_out = UPGRADE if version > FORMAT_VERSION else "Make the index again from its documents"
            raise IndexVersionError(
                f"The index has format version {version}, this library reads {FORMAT_VERSION}. {way_out}"
            )
        if set(values) != {field.name for field in fields(cls)}:
            raise IndexCorruptedError(
                f"The manifest holds {sorted(values)}, which is not what format version {version} holds. {WAY_OUT}"
            )
        manifest = cls(**values)
        sizes = type(manifest.dimension) is int and 1 <= manifest.dimension <= MAX_DIMENSION
        if not sizes or not isinstance(manifest.fingerprint, str):
            raise IndexCorruptedError(
                f"The manifest has a dimension of {manifest.dimension!r:.50} and a fingerprint of type "
                f"{type(manifest.fingerprint).__name__}. {WAY_OUT}"
            )
        if (manifest.metric, manifest.dtype) != (cls.metric, cls.dtype):
            raise IndexVersionError(
                f"The index holds {manifest.dtype!r:.50} compared by {manifest.metric!r:.50}, this library knows "
                f"{cls.dtype!r} compared by {cls.metric!r}. {UPGRADE}"
            )
        try:
            check_type(manifest.index_type)
            check_language(manifest.language)
        except InputError as error:
            raise IndexVersionError(f"This library does not know a setting of the index: {error}. {UPGRADE}") from None
        return manifest

    def check_encoder(self, encoder: Embedder) -> None:
        """Refuse an encoder whose vectors cannot be compared with the stored ones.

        Raises:
            FingerprintMismatchError: It is not the encoder that the index was made with.
            InputError: It has the right fingerprint, yet its vectors have another length.
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
