"""Both heads for a backbone from one set of data, and whether they help: what `glot-rag train` does."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glot_rag.denoise.classifier import CLASSIFIER_FILE
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.head import BaselinePooling, load_head
from glot_rag.head.block_storage import load_block_head
from glot_rag.head.fit import Epoch, best_epoch
from glot_rag.head.registry import BLOCKS, freeze
from glot_rag.models.backbone import Backbone
from glot_rag.training.block_head import BlockReport, split, train_block_head
from glot_rag.training.classifier import FEWEST_TEXTS, ClassifierReport, train_classifier
from glot_rag.training.config import TrainingConfig, default_head
from glot_rag.training.documents import NoisyDocument, TrainingData, made_pages
from glot_rag.training.held_out import Gain, gain_on_documents, gain_on_texts
from glot_rag.training.loop import train
from glot_rag.training.texts import sample

FEWEST_PAGES = 100  # with fewer documents whose noise is known, pages are made
MADE, PLAIN = 400, 300  # pages made of texts, and texts without noise
TEXTS_A_CORPUS = 400  # simulated corpora grow in number with the texts, 10 to 300
MEASURED = 20  # of so many texts one is held out to be measured on


@dataclass(frozen=True)
class HeadsReport:
    """What was trained, and what it is worth on what was held out.

    Attributes:
        blocks: of the block head.
        made: whether pages were made of texts, as there were too few documents whose noise is known.
        documents: retrieval of documents with the block head.
        history: the word head's epochs.
        classifier: of the noise classifier; None where there are too few texts for one, or it was there already.
        can_be_fitted: whether there is a noise classifier.
        texts: retrieval of texts with the word head.
    """

    blocks: BlockReport
    made: bool
    documents: Gain
    history: Sequence[Epoch]
    classifier: ClassifierReport | None
    can_be_fitted: bool
    texts: Gain

    def lines(self) -> list[str]:
        """The report for people."""
        blocks, best = self.blocks, best_epoch(self.history)
        made = ", most of them pages made of texts: real ones make a better head" if self.made else ""
        shown = [
            f"block head: learned from {blocks.trained} documents{made}",
            f"  {blocks.noisy} documents held out: F1 of the words kept {blocks.kept:.3f}, of keeping everything "
            f"{blocks.everything:.3f}; {blocks.clean} clean ones lose {blocks.lost:.1%} of their words",
            f"  {self.documents}",
            f"word head: best of {len(self.history)} epochs is {best.number}, validation loss {best.validation:.4f}",
            f"  noise between the words of texts held out: {self.texts}",
        ]
        if self.classifier is not None:
            shown.append(
                f"noise classifier: token loss on simulated corpora held out {self.classifier.classifier:.4f}, of the "
                f"head alone {self.classifier.head:.4f}"
            )
        elif not self.can_be_fitted:
            shown.append(
                f"no noise classifier, so the word head cannot be fitted to a corpus: it takes {FEWEST_TEXTS} texts"
            )
        return shown


def train_heads(
    data: TrainingData,
    backbone: Backbone,
    out: Path,
    *,
    pooling: str = "glot",
    limit: int | None = None,
    seed: int = 0,
    lines: Mapping[str, Sequence[str]] | None = None,
    details: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> HeadsReport:
    """Train the block head, the word head and its noise classifier, and measure them on what was held out.

    A run that was stopped goes on where it was; heads that are finished are not trained again.

    Args:
        data: texts and documents (`glot_rag.training.documents.read_training_data`).
        backbone: the frozen transformer.
        out: gets the word head, and the block head in `blocks/`: a folder for `head=`.
        pooling: "glot" or "adapool", of the word head.
        limit: how many texts the word head learns from, drawn at random; None takes all.
        seed: of every random choice.
        lines: real page lines for the noise (`glot_rag.training.texts.read_noise_lines`).
        details: more to record in the word head's `config.json`.
        show_progress: draw progress bars on stderr.

    Raises:
        TrainingError: too little to train on, or a directory that belongs to a run with other settings.
    """
    measured, texts = ([t for t in data.texts if _is_measured(t.text) is held] for held in (True, False))
    made: list[NoisyDocument] = []
    if sum(bool(each.noise) for each in data.documents) < FEWEST_PAGES:
        made = made_pages(data.texts, MADE, seed, lines)
    plain = [NoisyDocument(t.text, (), t.source, t.query) for t in sample(data.texts, PLAIN, seed)]
    documents = [*data.documents, *made, *plain]
    blocks = train_block_head(documents, backbone, out / BLOCKS, seed=seed, show_progress=show_progress)
    chosen = texts if limit is None else sample(texts, limit, seed)
    history = train(
        chosen,
        backbone,
        default_head(backbone, pooling),
        TrainingConfig(seed=seed),
        out,
        lines=lines,
        details={"denoise": True, **(details or {})},
        show_progress=show_progress,
    )
    head, classifier = load_head(out)[0], None
    if len(texts) >= FEWEST_TEXTS and not (out / CLASSIFIER_FILE).is_file():
        frozen = freeze(head, backbone)
        network, classifier = train_classifier(
            frozen,
            backbone,
            texts,
            corpora=int(np.clip(len(chosen) // TEXTS_A_CORPUS, 10, 300)),
            seed=seed,
            lines=lines,
            show_progress=show_progress,
        )
        network.save(out)
    prompts = backbone.settings.prompts
    encoder = TorchEncoder(
        backbone,
        head,
        query_pooling=BaselinePooling("mean", backbone.state_size),
        query_prompt=prompts.query,
        document_prompt=prompts.document,
    )
    denoiser = TorchDenoiser(backbone, None, block_head=load_block_head(out / BLOCKS)[0])
    unseen = [documents[row] for row in split(documents)[2]]
    return HeadsReport(
        blocks,
        bool(made),
        gain_on_documents(encoder.with_pooling("mean"), denoiser, unseen),
        history,
        classifier,
        (out / CLASSIFIER_FILE).is_file(),
        gain_on_texts(encoder, measured, seed),
    )


def _is_measured(text: str) -> bool:
    """Whether a text is held out from the word head's training."""
    return zlib.crc32(text.encode()) % MEASURED == 0
