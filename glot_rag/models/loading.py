"""Load a transformer and its tokeniser with the transformers library, and find out how long its input may be."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from glot_rag.errors import BundleError, GlotError, MissingExtraError, ModelNotFoundError
from glot_rag.models.registry import ModelSource, not_found, reach_hub
from glot_rag.models.sentence_settings import SentenceSettings

logger = logging.getLogger(__name__)

_LONGEST = 1_000_000  # tokenisers without a limit of their own say 10**30
_QUIET = threading.Lock()


def load_with_transformers(source: ModelSource, dtype: torch.dtype) -> tuple[Any, Any]:
    """The tokeniser and the model, from this machine if the files are here, else from the hub.

    Raises:
        BundleError: the directory does not hold a model that transformers can load.
        ModelNotFoundError: neither the hub nor its cache has it.
        MissingExtraError: transformers, or gguf for a GGUF file, is not installed.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "torch") from error
    where: dict[str, Any] = {}
    if source.gguf_file:
        for package in ("gguf", "accelerate"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "smollm2")
        where["gguf_file"] = source.gguf_file

    def load(local_only: bool) -> tuple[Any, Any]:
        options = {**where, "local_files_only": local_only}
        tokenizer = AutoTokenizer.from_pretrained(source.location, **options)
        return tokenizer, AutoModel.from_pretrained(source.location, dtype=dtype, **options)

    with _quiet_loading():
        try:
            return load(local_only=True)
        except GlotError:
            raise
        except Exception as error:
            if source.is_local:
                raise BundleError(
                    f"{source.location} does not hold a model that transformers can load: {error}"
                ) from error
        try:
            logger.info("'%s' is not on this machine: loading it from the hub", source.location)
            reach_hub(source.location)
            return load(local_only=False)
        except Exception as error:
            raise ModelNotFoundError(not_found(source.name, source.tried, source.install, error)) from error


def longest_input(settings: SentenceSettings, tokenizer: Any, model: Any) -> int:
    """The longest input in tokens: the least that sentence-transformers' settings, tokeniser and positions allow."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from padding_idx + 1; the embeddings before that are never used.
        if positions and name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    limits = (tokenizer.model_max_length, positions, settings.max_tokens, _LONGEST)
    return min(int(limit) for limit in limits if limit)


def put_in_lower_case(tokenizer: Any) -> None:
    """Let a tokeniser put texts in lower case before all else, as sentence-transformers does where a model says so."""
    from tokenizers.normalizers import Lowercase, Sequence

    core = tokenizer.backend_tokenizer
    core.normalizer = Sequence([Lowercase(), *([] if core.normalizer is None else [core.normalizer])])


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hold back the progress bars and notes that transformers prints while it loads."""
    from transformers.utils import logging as transformers_logging

    with _QUIET:
        level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity(40)  # errors only
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if bars:
                transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
