"""What sentence-transformers' files beside a model say of how texts become vectors: prompts, pooling, longest input.

The files: `modules.json`, the `config.json` of the pooling, `sentence_bert_config.json` and
`config_sentence_transformers.json`. A model without them is a bare transformer, which says none of this.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glot_rag.errors import BundleError
from glot_rag.models.registry import NO_PROMPTS, ModelSource, Prompts

logger = logging.getLogger(__name__)

# sentence-transformers' names -> ours. A mean divided by √length has the same direction as the mean.
_POOLINGS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean",
    "lasttoken": "last",
}
# The older form: a field for each pooling, of which one is true.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_HARMLESS = ("Transformer", "Pooling", "Normalize", "Dropout")  # every vector of ours has norm 1
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class SentenceSettings:
    """How a model's own vectors are made.

    Args:
        pooling: "mean", "max", "cls" or "last"; None if the files do not say.
        prompts: put before queries and documents.
        max_tokens: longest input; None if the files do not say.
        lower_case: whether texts are put in lower case first.
        dimensions: the vector's length after truncation; None for all of it.
        missing: what else the model does to a vector, which glot-rag does not do ("Dense"); empty for nothing.
    """

    pooling: str | None = None
    prompts: Prompts = NO_PROMPTS
    max_tokens: int | None = None
    lower_case: bool = False
    dimensions: int | None = None
    missing: str = ""


NO_SETTINGS = SentenceSettings()


def read_settings(source: ModelSource) -> SentenceSettings:
    """The settings of a model in a directory, in the hub's cache or on the hub. Prompts of a known model come first.

    Raises:
        BundleError: a file is damaged.
    """
    if source.gguf_file:
        return SentenceSettings(prompts=source.prompts)
    files = _Files(source)
    transformer = files.read("sentence_bert_config.json", {})
    model = files.read("config_sentence_transformers.json", {})
    modules = files.read("modules.json", [])
    try:
        kinds = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in modules]
        prompts = {name: str(prompt) for name, prompt in (model.get("prompts") or {}).items() if prompt}
        fallback = prompts.get(model.get("default_prompt_name"), "")
        found = Prompts(
            prompts.get("query", fallback),
            next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), fallback),
        )
        missing = [kind for kind, _ in kinds if kind not in _HARMLESS]
        pooling = None
        for kind, path in kinds:
            if kind == "Pooling":
                config = files.read(f"{path}/config.json", {})
                pooling = _pooling(config)
                missing += [] if pooling else ["pooling by " + _mode(config)]
                if found != NO_PROMPTS and config.get("include_prompt") is False:
                    missing.append("a pooling that leaves the prompt out")
        return SentenceSettings(
            pooling=pooling,
            prompts=source.prompts if source.prompts != NO_PROMPTS else found,
            max_tokens=_number(transformer.get("max_seq_length")),
            lower_case=transformer.get("do_lower_case") is True,
            dimensions=_number(model.get("truncate_dim")),
            missing=", ".join(missing),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(
            f"the sentence-transformers files of '{source.name}' are damaged ({error!r}): get the model again"
        ) from error


class _Files:
    """The settings files of a model: in its directory, else in the hub's cache, else from the hub."""

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._asks_hub = not source.is_local

    def read(self, name: str, otherwise: Any) -> Any:
        """A file's JSON, of the type of `otherwise`, which stands for a file that the model does not have.

        Raises:
            BundleError: it is no JSON, or of another type.
        """
        path = self._find(name)
        if path is None:
            return otherwise
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{path} is not JSON ({error}): get the model again") from error
        if not isinstance(record, type(otherwise)):
            raise BundleError(f"{path} is not a record of settings (a {type(record).__name__}): get the model again")
        return record

    def _find(self, name: str) -> Path | None:
        if self._source.is_local:
            path = Path(self._source.location) / name
            return path if path.is_file() else None
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        cached = try_to_load_from_cache(self._source.location, name)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None or not self._asks_hub:  # the hub said before that there is none
            return None
        try:
            return Path(hf_hub_download(self._source.location, name))
        except LocalEntryNotFoundError:  # the hub is out of reach
            self._asks_hub = False
            logger.warning(
                "the hub's cache lacks %s of '%s' and the hub is out of reach: its vectors may differ from those made "
                "elsewhere (prompts, pooling, longest input); load it once with a network",
                name,
                self._source.location,
            )
        except EntryNotFoundError:
            pass
        return None


def _mode(config: Mapping[str, Any]) -> str:
    mode = config.get("pooling_mode") or [name for flag, name in _FLAGS.items() if config.get(flag)] or "mean"
    return mode if isinstance(mode, str) else " and ".join(mode)


def _pooling(config: Mapping[str, Any]) -> str | None:
    return _POOLINGS.get(_mode(config))


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))
