"""What the fixtures here hand to the tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from glot_onnx import ParityReport

from glot_rag import TorchEncoder

PROMPTS = {"query_prompt": "query: ", "document_prompt": "passage: "}


class Exported(NamedTuple):
    """An encoder, the bundle that it became, and what was measured then."""

    encoder: TorchEncoder
    path: Path
    report: ParityReport
