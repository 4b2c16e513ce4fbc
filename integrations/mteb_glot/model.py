"""`GlotModel`: mteb's encoder interface over a `GlotEncoder`, or any other `Embedder`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import FRAMEWORKS, ModelMeta, ScoringFunction
from mteb.types import PromptType

from glot_rag.embedder import Embedder, Vectors
from glot_rag.encoder.base import GlotEncoder
from glot_rag.errors import FingerprintMismatchError

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import BatchedInput
    from torch.utils.data import DataLoader


class GlotModel(AbsEncoder):
    """What `mteb.evaluate` takes as a model.

    Queries are embedded by `encode_queries`; documents, and the texts of tasks that know no queries (STS,
    classification, clustering), by `encode_documents`. Prompts are the encoder's own; those of tasks are not used.

    Args:
        encoder: the encoder.
        name: of the model, for the results. The encoder's fingerprint is the revision, so that results of another head
            are never taken for its own.
    """

    mteb_model_meta: ModelMeta

    def __init__(self, encoder: Embedder, name: str = "glot-rag/encoder") -> None:
        self.model = encoder
        self.mteb_model_meta = _meta(name, encoder)

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Vectors:
        """N texts -> (N, D) float32, rows of norm 1.

        Args:
            inputs: batches of texts. Their size does not matter: the encoder makes its own batches, by length.
            task_metadata: not used, like the split and the subset.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: whether they are queries.
            kwargs: mteb's; `show_progress_bar` is used.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        encoder: Embedder = self.model
        encode = encoder.encode_queries if prompt_type == PromptType.query else encoder.encode_documents
        return np.asarray(encode(texts, show_progress=bool(kwargs.get("show_progress_bar", False))))


def get_model(
    model_name: str = "minilm", revision: str | None = None, device: str | None = None, **kwargs: Any
) -> GlotModel:
    """Load a model, as `mteb.get_model` does.

    Args:
        model_name: as `GlotEncoder.from_pretrained`: a saved or an exported encoder's directory, too.
        revision: the first characters of the encoder's fingerprint that are expected; None for any.
        device: "cpu", "cuda", …; None chooses.
        kwargs: as `GlotEncoder.from_pretrained`: backend, pooling, head, dtype, ….

    Raises:
        ModelNotFoundError, BundleError, InputError, MissingExtraError: as `GlotEncoder.from_pretrained`.
        FingerprintMismatchError: the files make another encoder than `revision` says.

    Example:
        >>> import mteb
        >>> mteb.evaluate(get_model("minilm"), mteb.get_tasks(["SciFact"]))  # doctest: +SKIP
    """
    encoder = GlotEncoder.from_pretrained(model_name, device=device, **kwargs)
    if revision is not None and not encoder.fingerprint.startswith(revision):
        raise FingerprintMismatchError(
            f"'{model_name}' makes an encoder with fingerprint {encoder.fingerprint}, revision {revision!r} was asked "
            "for: leave the revision out, or use the files that it was made with"
        )
    model = GlotModel(encoder, _name(model_name, encoder))
    loader: Callable[..., Any] = _load
    options = {"model": model_name, **kwargs}
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"loader": loader, "loader_kwargs": options})
    return model


def get_model_meta(model_name: str = "minilm", **kwargs: Any) -> ModelMeta:
    """The metadata of a model, from which mteb can load it. Arguments and errors as `get_model`.

    The model is loaded here, too, for its fingerprint: without a revision, mteb's cache would give the results of one
    head for another.
    """
    return get_model(model_name, **kwargs).mteb_model_meta


def _load(name: str, revision: str | None = None, *, model: str, device: str | None = None, **kwargs: Any) -> GlotModel:
    return get_model(model, revision, device, **kwargs)


def _name(model_name: str, encoder: GlotEncoder) -> str:
    """With one slash, as mteb wants it; what else was chosen is in the revision."""
    own = Path(model_name).name if Path(model_name).is_dir() else model_name.replace("/", "--")
    pooling, denoiser = getattr(encoder, "pooling", None), getattr(encoder, "denoiser", None)
    if pooling is None:
        return f"glot-rag/{own}-{encoder.backend}"
    return f"glot-rag/{own}-{pooling.name}{'-denoised' * (denoiser is not None)}"


def _framework(encoder: Embedder) -> FRAMEWORKS:
    names: dict[str, FRAMEWORKS] = {"onnx": "ONNX", "openvino": "OpenVINO"}
    return names.get(getattr(encoder, "backend", "torch"), "PyTorch")


def _meta(name: str, encoder: Embedder) -> ModelMeta:
    return ModelMeta(
        loader=None,
        name=name,
        revision=encoder.fingerprint[:16],
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=getattr(encoder, "max_tokens", None),
        embed_dim=encoder.dimension,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=[_framework(encoder)],
        similarity_fn_name=ScoringFunction("cosine"),
        use_instructions=False,
        training_datasets=None,
    )
