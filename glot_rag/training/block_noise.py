"""Training of the block graph head: documents with known noise -> noise logits of blocks and tokens."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glot_rag.documents.blocks import split_blocks
from glot_rag.documents.layout import layout_features
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.training.block_labels import noise_at

logger = logging.getLogger(__name__)

MIXED_WEIGHT = 10.0
AVERAGING = 0.98  # of the weights, from step to step: the average of about 50 steps is steadier than the last one
WINDOW = 128  # tokens; the token graph joins tokens of a block within a window


@dataclass(frozen=True)
class BlockDocument:
    """A document ready for the head: N blocks, L tokens.

    Attributes:
        block: (L,) int64, the block of each token.
        layout: (N, F) float32.
        counts: (N, C) float32, all zero where nothing was counted.
        words: (N,) float32, words a block.
        noise: (N,) float32, the share of each block's words that is noise.
        token_noise: (L,) float32, 1 for noise.
        states: gives the token states of tokens start to end, (end - start, D) float32.
    """

    block: NDArray[np.int64]
    layout: NDArray[np.float32]
    counts: NDArray[np.float32]
    words: NDArray[np.float32]
    noise: NDArray[np.float32]
    token_noise: NDArray[np.float32]
    states: Callable[[int, int], NDArray[np.float32]]


class BlockBatch(NamedTuple):
    """Documents side by side, as `BlockGraphHead.forward` takes them, with what they are to give."""

    states: Tensor  # (W, L, D)
    block: Tensor  # (W, L)
    mask: Tensor  # (B, N)
    layout: Tensor  # (B, N, F)
    counts: Tensor  # (B, N, C)
    words: Tensor  # (B, N)
    noise: Tensor  # (B, N)
    token_noise: Tensor  # (W, L)


def prepare(
    text: str,
    noise: Sequence[tuple[int, int]],
    spans: NDArray[np.int64],
    states: Callable[[int, int], NDArray[np.float32]],
    counts: NDArray[np.float32] | None = None,
    count_size: int = 4,
) -> BlockDocument:
    """Blocks, layout and labels of a document.

    Args:
        text: the document.
        noise: sorted character spans of its noise.
        spans: (L, 2) characters of each token.
        states: as in `BlockDocument`.
        counts: (N, C) corpus features.
        count_size: C, where there are none.
    """
    blocks = split_blocks(text)
    starts = np.array([block.start for block in blocks], np.int64)
    words = [text[block.start : block.end].split() for block in blocks]
    at = (np.searchsorted(starts, spans[:, 1] - 1, side="right") - 1).clip(min=0)
    token_noise = noise_at(noise, spans).astype(np.float32)
    total = np.bincount(at, minlength=len(blocks))
    share = np.bincount(at, token_noise, minlength=len(blocks)) / np.maximum(total, 1)
    return BlockDocument(
        block=at,
        layout=layout_features(text, blocks),
        counts=np.zeros((len(blocks), count_size), np.float32) if counts is None else counts,
        # A block without tokens (a line of dashes) counts for nothing.
        words=np.array([len(each) for each in words], np.float32) * (total > 0),
        noise=share.astype(np.float32),
        token_noise=token_noise,
        states=states,
    )


def crop(document: BlockDocument, rng: np.random.Generator, most_tokens: int) -> BlockDocument:
    """A run of whole blocks with at most so many tokens; the document itself where it has no more."""
    if len(document.block) <= most_tokens:
        return document
    first = int(rng.integers(len(document.block) - most_tokens + 1))
    block = int(document.block[first])
    start = int(np.searchsorted(document.block, block))
    end = min(start + most_tokens, len(document.block))
    last = int(document.block[end - 1]) + 1
    rows = slice(block, last)
    return BlockDocument(
        document.block[start:end] - block,
        document.layout[rows],
        document.counts[rows],
        document.words[rows],
        document.noise[rows],
        document.token_noise[start:end],
        lambda a, b: document.states(start + a, start + b),
    )


def collate(documents: Sequence[BlockDocument], window: int = WINDOW) -> BlockBatch:
    """Pad documents to one batch; their tokens come in windows of their own."""
    number = max(len(each.words) for each in documents)
    size = len(documents)
    windows = [max(1, math.ceil(len(each.block) / window)) for each in documents]
    width = documents[0].states(0, 0).shape[1]
    states = np.zeros((sum(windows) * window, width), np.float32)
    block = np.full(sum(windows) * window, -1, np.int64)
    token_noise = np.zeros(sum(windows) * window, np.float32)
    mask = np.zeros((size, number), bool)
    layout = np.zeros((size, number, documents[0].layout.shape[1]), np.float32)
    counts = np.zeros((size, number, documents[0].counts.shape[1]), np.float32)
    words, noise = np.zeros((size, number), np.float32), np.zeros((size, number), np.float32)
    at = 0
    for row, each in enumerate(documents):
        tokens, blocks = len(each.block), len(each.words)
        states[at : at + tokens] = each.states(0, tokens)
        block[at : at + tokens] = each.block + row * number
        token_noise[at : at + tokens] = each.token_noise
        mask[row, :blocks] = True
        layout[row, :blocks], counts[row, :blocks] = each.layout, each.counts
        words[row, :blocks], noise[row, :blocks] = each.words, each.noise
        at += windows[row] * window
    flat = (each.reshape(-1, window, *each.shape[1:]) for each in (states, block, token_noise))
    s, b, t = (torch.from_numpy(each) for each in flat)
    m, la, c, w, n = (torch.from_numpy(each) for each in (mask, layout, counts, words, noise))
    return BlockBatch(s, b, m, la, c, w, n, t)


def batches(
    documents: Sequence[BlockDocument], rng: np.random.Generator | None, most_tokens: int
) -> Iterator[list[BlockDocument]]:
    """Documents of like size together, so many tokens a batch; in random order and cropped if `rng` is given."""
    cropped = list(documents) if rng is None else [crop(each, rng, most_tokens) for each in documents]
    noise = rng.uniform(0.8, 1.25, len(cropped)) if rng is not None else np.ones(len(cropped))
    order = np.argsort([len(each.words) * r for each, r in zip(cropped, noise, strict=True)])
    groups: list[list[BlockDocument]] = [[]]
    for row in order:
        if sum(len(each.block) for each in groups[-1]) + len(cropped[row].block) > most_tokens and groups[-1]:
            groups.append([])
        groups[-1].append(cropped[row])
    if rng is not None:
        rng.shuffle(groups)
    yield from groups


def loss_of(head: BlockGraphHead, batch: BlockBatch, token_share: float = 0.5) -> Tensor:
    """Binary cross-entropy of blocks, each weighted by the square root of its words, and of tokens."""
    logits = head(batch.states, batch.block, batch.mask, batch.layout, batch.counts)
    weights = batch.words.sqrt() * batch.mask
    blocks = binary_cross_entropy_with_logits(logits.blocks, batch.noise, weights, reduction="sum") / weights.sum()
    if not head.config.state_size:
        return blocks
    # A token weighs so that its block weighs the square root of its words, as above; more in blocks of signal and
    # noise, as only there has a word anything to say that its block does not.
    real = batch.block >= 0
    mixed = (batch.noise > 0.05) & (batch.noise < 0.95)
    each = weights / batch.words.clamp(min=1) * (1 + (MIXED_WEIGHT - 1) * mixed)
    of_block = each.reshape(-1)[batch.block.clamp(min=0)] * real
    tokens = binary_cross_entropy_with_logits(logits.tokens, batch.token_noise, of_block, reduction="sum")
    return blocks + token_share * tokens / of_block.sum().clamp(min=1)


@dataclass(frozen=True)
class BlockTraining:
    """Settings of a training run.

    Args:
        epochs: passes over the documents.
        learning_rate: of AdamW at its peak; it falls to zero along a cosine.
        weight_decay: of AdamW.
        batch_tokens: tokens a step, and the longest run of a document that is seen at once.
        layout_dropout: share of documents that are shown without layout features.
        count_dropout: share of documents that are shown without corpus features.
        seed: of the parameters and of every draw.
    """

    epochs: int = 12
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    batch_tokens: int = 4096
    layout_dropout: float = 0.15
    count_dropout: float = 0.5
    seed: int = 0


def train_blocks(
    config: BlockGraphConfig,
    documents: Sequence[BlockDocument],
    settings: BlockTraining,
    after_epoch: Callable[[int, BlockGraphHead], None] | None = None,
    start: BlockGraphHead | None = None,
    chances: Sequence[float] | None = None,
    view: Callable[[BlockDocument, np.random.Generator], BlockDocument] | None = None,
) -> BlockGraphHead:
    """Train a head: the one that is returned has the running average of the weights.

    Args:
        config: the head's.
        documents: what it learns from.
        settings: of the run.
        after_epoch: called with the epoch and the head, in evaluation mode.
        start: a head of the same configuration that is trained on, in place; None begins with fresh parameters.
        chances: of each document, the chance that an epoch shows it; None shows all of them in every epoch.
        view: makes of a document what an epoch shows of it; None shows it as it is.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    head = BlockGraphHead(config) if start is None else start
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    average = AveragedModel(head, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING))  # type: ignore[no-untyped-call]
    shown = np.ones(len(documents)) if chances is None else np.array(chances)
    sizes = np.array([min(len(each.block), settings.batch_tokens) for each in documents])
    total = float((sizes * shown).sum())
    expected = settings.epochs * max(1, round(1.15 * total / settings.batch_tokens))
    step = 0
    for epoch in range(settings.epochs):
        head.train()
        losses = []
        drawn = [each for each, chance in zip(documents, shown, strict=True) if rng.random() < chance]
        drawn = drawn if view is None else [view(each, rng) for each in drawn]
        for group in batches(drawn, rng, settings.batch_tokens):
            batch = collate(group)
            for features, share in ((batch.layout, settings.layout_dropout), (batch.counts, settings.count_dropout)):
                features[torch.from_numpy(rng.random(len(group)) < share)] = 0
            warm = min(1.0, (step + 1) / min(100, 1 + expected // 10))
            done = min(1.0, step / expected)
            for parameters in optimizer.param_groups:
                parameters["lr"] = settings.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
            loss = loss_of(head, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(head)
            losses.append(float(loss.detach()))
            step += 1
        logger.info("epoch %d of %d: loss %.4f, %d steps", epoch + 1, settings.epochs, np.mean(losses), len(losses))
        if after_epoch is not None:
            after_epoch(epoch, cast(BlockGraphHead, average.module).eval())
    return cast(BlockGraphHead, average.module).eval()


def block_means(document: BlockDocument) -> BlockDocument:
    """The document with one token a block, whose state is the mean of its tokens': quick to train on."""
    states = document.states(0, len(document.block))
    number = len(document.words)
    total = np.zeros((number, states.shape[1]), np.float32)
    having, first = np.unique(document.block, return_index=True)
    if len(having):
        total[having] = np.add.reduceat(states, first)
    count = np.maximum(np.bincount(document.block, minlength=number), 1).astype(np.float32)
    means: NDArray[np.float32] = total / count[:, None]
    return replace(
        document,
        block=np.arange(number),
        token_noise=document.noise,
        states=lambda start, end: means[start:end],
    )


@torch.no_grad()
def calibrate(
    head: BlockGraphHead,
    probabilities: NDArray[np.float32],
    noise: NDArray[np.float32],
    words: NDArray[np.float32],
) -> tuple[float, float]:
    """Scale and shift the head's logits so that its probabilities are right on held-out blocks (Platt, 1999).

    The two numbers go into the last layers' parameters: the head gives calibrated logits from then on.

    Args:
        head: a trained head; changed in place.
        probabilities: (N,) what it gives for held-out blocks.
        noise: (N,) the share of each block that is noise.
        words: (N,) the weight of each block.

    Returns:
        The scale and the shift.
    """
    logits = torch.logit(torch.from_numpy(probabilities).double(), eps=1e-6)
    target, weight = (torch.from_numpy(each).double() for each in (noise, words))
    coefficients = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        each = binary_cross_entropy_with_logits(coefficients[0] * logits + coefficients[1], target, weight)
        value = each / weight.mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    scale, shift = coefficients.tolist()
    head.block_out.weight.mul_(scale)
    head.block_out.bias.mul_(scale).add_(shift)
    if head.config.state_size:
        # A token's logit is its block's plus its own.
        last = head.token_out[-1]
        assert isinstance(last, torch.nn.Linear)
        last.weight.mul_(scale)
        last.bias.mul_(scale)
    return scale, shift
