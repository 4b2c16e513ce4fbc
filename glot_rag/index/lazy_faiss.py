"""FAISS, imported when it is first needed: an index can be written and inspected without loading it."""

from __future__ import annotations

import importlib
from typing import Any


def load_faiss() -> Any:
    """The module `faiss`. Any: its type stubs lack names that the module has."""
    return importlib.import_module("faiss")
