"""The denoiser that is kept with an index, in the folder `denoiser` beside its store.

It is there as a whole or not at all, and holds counts of what recurs in the documents, not their texts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.files import new_directory, sync_tree
from glot_rag.index.store.directory import DENOISER_NAME, disk_errors

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoiser


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
