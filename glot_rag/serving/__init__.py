"""The HTTP application: embeddings to OpenAI's contract, search, denoising, and a page to look at."""

from glot_rag.serving.app import create_app
from glot_rag.serving.limits import Limits

__all__ = ["Limits", "create_app"]
