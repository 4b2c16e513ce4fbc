"""Typed errors. Each message says what was got, what was expected and the way out."""

from __future__ import annotations


class GlotError(Exception):
    """Base of every error that this library raises on purpose."""


class InputError(GlotError, ValueError):
    """An argument, a text, a vector or a filter that cannot be used."""


class UnsupportedError(GlotError, NotImplementedError):
    """This encoder cannot do what was asked of it (`GlotEncoder.capabilities`); the message names what can."""


class MissingExtraError(GlotError, ImportError):
    """A feature needs a package that is not installed; the message carries the install line."""

    def __init__(self, package: str, extra: str, what: str = "This") -> None:
        super().__init__(f"{what} needs the package '{package}'. Install it with: pip install 'glot-rag[{extra}]'")
        self.package = package
        self.extra = extra


class ModelNotFoundError(GlotError, OSError):
    """No backbone was found; the message lists every place that was tried."""


class BundleError(GlotError, ValueError):
    """A saved head or encoder is damaged, incomplete, of another format, or does not fit its backbone."""


class DatasetError(GlotError, ValueError):
    """A data file is malformed; the message names the file and the line."""


class TrainingError(GlotError, RuntimeError):
    """Training cannot go on: nothing to train on, a run that does not match its settings, or a diverged loss."""


class IndexStoreError(GlotError):
    """Base of the errors about an index directory."""


class IndexNotFoundError(IndexStoreError, FileNotFoundError):
    """There is no index in that directory."""


class IndexExistsError(IndexStoreError, FileExistsError):
    """There is already an index, or something else, in that directory."""


class IndexLockedError(IndexStoreError, TimeoutError):
    """Another process is writing to this index."""


class IndexReadOnlyError(IndexStoreError, PermissionError):
    """The index was opened for reading only, or is closed."""


class IndexCorruptedError(IndexStoreError):
    """The stored data does not match its checksums, or cannot be read at all."""


class IndexVersionError(IndexStoreError):
    """The index is of a format that this version of the library does not read."""


class IndexReplacedError(IndexStoreError):
    """Another index was put in place of the one that is open, or its directory is gone."""


class IndexDiskError(IndexStoreError, OSError):
    """The operating system refused to read or write: the disk is full, failing or read-only, or the path is wrong."""


class IndexRecoveryWarning(UserWarning):
    """A derived file of an index was missing, damaged or could not be written; no document is lost."""


class FingerprintMismatchError(IndexStoreError, ValueError):
    """The encoder in hand is not the one that made the stored vectors."""


class CacheError(GlotError, OSError):
    """A cache on disk is damaged, is none, or cannot be written; it can be computed again elsewhere."""
