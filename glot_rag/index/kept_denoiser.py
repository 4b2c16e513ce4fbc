"""The denoiser that is kept with an index, in the folder `denoiser` beside its store.

It is there as a whole or not at all, and holds counts of what recurs in the documents, not their texts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.errors import IndexReadOnlyError, InputError, MissingExtraError, ModelNotFoundError
from glot_rag.files import new_directory, sync_tree
from glot_rag.index.store.directory import DENOISER_NAME, disk_errors

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.index.api import GlotIndex

FEWEST_DOCUMENTS = 50  # that a denoiser can be fitted to
logger = logging.getLogger(__name__)


def keep_denoiser(denoiser: Denoiser, index_path: str | os.PathLike[str]) -> None:
    """Write a denoiser into an index's directory, where there is none yet.

    Raises:
        InputError: there is one already.
        IndexDiskError: the disk is full or failing.
    """
    with disk_errors(Path(index_path)), new_directory(Path(index_path) / DENOISER_NAME) as folder:
        denoiser.save(folder)
        sync_tree(folder)


def kept_denoiser(index_path: str | os.PathLike[str]) -> Denoiser | None:
    """The denoiser that is kept in an index's directory; None where there is none.

    Raises:
        MissingExtraError: torch is not installed.
        BundleError: its files are damaged.
    """
    folder = Path(index_path) / DENOISER_NAME
    if not folder.is_dir():
        return None
    from glot_rag import Denoiser  # here, as it needs torch and an index does not

    return Denoiser.from_pretrained(folder)


def choose_denoiser(
    index: GlotIndex,
    denoise: bool | Denoiser | None,
    texts: Sequence[str],
    groups: Sequence[str] | None,
    *,
    wanted: bool = True,
) -> Denoiser | None:
    """The denoiser for documents that are about to be added: the kept one or, for an empty index, a new one.

    A new one is fitted where there are 50 texts or more, and is kept with the index. An index that was filled without
    one stays without.

    Args:
        index: Open for writing.
        denoise: None takes a new denoiser where it can be fitted and loaded; True takes one in any case; False none. A
            `Denoiser` is taken as it is.
        texts: The documents' texts.
        groups: The name of each document's group, or None.
        wanted: False makes None no.

    Raises:
        InputError: `denoise` is something else, or another choice than the index was filled with.
        MissingExtraError, ModelNotFoundError: True, and none can be loaded.
        IndexReadOnlyError: One would have to be kept with an index that is read-only.
    """
    if denoise is not None and not isinstance(denoise, bool):
        from glot_rag import Denoiser  # here, as it needs torch and an index does not

        if not isinstance(denoise, Denoiser):
            raise InputError(f"denoise must be True, False, None or a Denoiser, got {type(denoise).__name__}")
    kept = kept_denoiser(index.path)
    if kept is not None or len(index):
        if denoise is not None and not _same(denoise, kept):
            state = "without a denoiser" if kept is None else f"with {kept!r}, which is kept beside it"
            raise InputError(f"the index at {index.path} was filled {state}; leave denoise= out")
        return kept
    if denoise is None and not (wanted and len(texts) >= FEWEST_DOCUMENTS):
        return None
    made = _made(denoise, texts, groups)
    if made is not None:
        if index.read_only:
            raise IndexReadOnlyError(f"{index.path} is open for reading only; open it for writing to keep a denoiser")
        keep_denoiser(made, index.path)
    return made


def _made(denoise: bool | Denoiser | None, texts: Sequence[str], groups: Sequence[str] | None) -> Denoiser | None:
    if denoise is False:
        return None
    if denoise is not None and denoise is not True:
        return denoise
    try:
        from glot_rag import Denoiser

        denoiser = Denoiser.from_pretrained()
    except (MissingExtraError, ModelNotFoundError) as error:
        if denoise:
            raise
        logger.warning("documents are embedded as they are: %s. denoise=False says that this is wanted", error)
        return None
    return denoiser.fit(texts, groups) if len(texts) >= FEWEST_DOCUMENTS else denoiser


def _same(denoise: bool | Denoiser, kept: Denoiser | None) -> bool:
    if isinstance(denoise, bool) or kept is None:
        return bool(denoise) == (kept is not None)
    return denoise.fingerprint == kept.fingerprint
