"""Noisy views -> cached hidden states, token labels and denoising targets.

Row t·(V + 1) + v of the cache is view v of text t; row t·(V + 1) + V is the text's query. A head that is trained on
token labels alone needs no queries: row t·V + v is view v of text t. Without targets the backbone is run only up to the
highest layer that the head reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.noisy_views import VERSION, NoiseGenerator, View
from glot_rag.encoder.encoding import pool_texts
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import Column, HiddenStateCache, stored_dtype, token_states
from glot_rag.models.tokenizer import TokenisedText, check_texts
from glot_rag.progress import bar
from glot_rag.training.texts import TrainingText

SIGNAL, NOISE, SPECIAL = 0, 1, 2  # token labels; special tokens take no part in the token objective
_CHUNK = 256  # texts between two points that a killed run can go on from


def cache_views(
    path: str | os.PathLike[str],
    texts: Sequence[TrainingText],
    backbone: Backbone,
    *,
    layers: Sequence[int],
    views: int,
    seed: int,
    lines: Mapping[str, Sequence[str]] | None = None,
    without: Sequence[str] = (),
    queries: bool = True,
    targets: bool = True,
    teacher: Backbone | None = None,
    show_progress: bool = False,
) -> HiddenStateCache:
    """Make noisy views and run the backbone over each once. A killed run goes on where it was.

    Args:
        path: the cache's directory.
        texts: T clean texts.
        backbone: the frozen transformer.
        layers: the backbone layers whose states are kept, concatenated.
        views: V, noisy views a text.
        seed: of the noise.
        lines: real lines for the noise, by kind (`glot_rag.training.texts.read_noise_lines`).
        without: families of noise to leave out.
        queries: whether each text's query gets a row, too.
        targets: whether to keep the mean-pooled vectors of the clean words.
        teacher: the backbone that gives these vectors; None is `backbone` itself.
        show_progress: draw a progress bar on stderr.

    Returns:
        A complete cache with columns "states" (tokens, S·D), "label" and "id" (tokens, 1) and, with targets, "target"
        (rows, D of the teacher), the teacher's mean-pooled vector of the row's clean words; T·(V + 1) rows with
        queries, else T·V.
    """
    clean, teacher = _clean(texts), teacher or backbone
    per_text = rows_per_text(views, queries)
    cache = HiddenStateCache(
        path,
        {
            **data_fingerprint(clean, backbone, lines, teacher if targets else None),
            **{"layers": list(layers), "views": views, "seed": seed, "noise": VERSION, "without": sorted(without)},
        },
        {
            "states": Column(stored_dtype(backbone.dtype), backbone.state_size * len(layers), per_token=True),
            "label": Column("uint8", 1, per_token=True),
            "id": Column("int32", 1, per_token=True),
        }
        | ({"target": Column("float32", teacher.state_size, per_token=False)} if targets else {}),
        rows=len(clean) * per_text,
    )
    noise = NoiseGenerator([t.text for t in clean], seed, lines, without)
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("hidden states of noisy views", total=cache.rows, completed=cache.done)
        for start in range(cache.done // per_text, len(clean), _CHUNK):
            rows: list[View] = []
            for index in range(start, min(start + _CHUNK, len(clean))):
                rows += [noise.view(index, number) for number in range(views)]
                if queries:
                    query = clean[index].query.split()
                    rows.append(View(tuple(query), (False,) * len(query)))
            _append(cache, backbone, teacher, rows, layers)
            progress.advance(task, len(rows))
    cache.close()
    return cache


def rows_per_text(views: int, queries: bool) -> int:
    """How many rows of the cache belong to one text: its views and, with `queries`, its query."""
    return views + 1 if queries else views


def data_fingerprint(
    texts: Sequence[TrainingText],
    backbone: Backbone,
    lines: Mapping[str, Sequence[str]] | None = None,
    teacher: Backbone | None = None,
) -> dict[str, Any]:
    """Fingerprint of the training data and models, as JSON values."""
    return {
        **({"teacher": teacher.fingerprint} if teacher not in (None, backbone) else {}),
        "lines": hashlib.sha256(json.dumps(lines or {}, sort_keys=True).encode()).hexdigest(),
        "backbone": backbone.fingerprint,
        "dtype": str(backbone.dtype),
        "max_tokens": backbone.max_tokens,
        "texts": hashlib.sha256("\0".join(f"{t.query}\1{t.text}" for t in _clean(texts)).encode()).hexdigest(),
    }


def _clean(texts: Sequence[TrainingText]) -> list[TrainingText]:
    columns = [t.text for t in texts], [t.query for t in texts]
    return [TrainingText(*pair) for pair in zip(*map(check_texts, columns), strict=True)]


def _append(
    cache: HiddenStateCache, backbone: Backbone, teacher: Backbone, rows: Sequence[View], layers: Sequence[int]
) -> None:
    tokenised = backbone.tokenizer.with_offsets([row.text for row in rows])
    columns: dict[str, NDArray[Any]] = {
        "states": token_states(backbone, [t.ids for t in tokenised], layers),
        "label": np.concatenate([token_labels(t, row) for t, row in zip(tokenised, rows, strict=True)])[:, None],
        "id": np.concatenate([t.ids for t in tokenised]).astype(np.int32)[:, None],
    }
    if "target" in cache.columns:
        mean = {"mean": BaselinePooling("mean", teacher.state_size)}
        columns["target"] = pool_texts(teacher, mean, [row.signal for row in rows])["mean"]
    cache.append(np.array([len(t.ids) for t in tokenised], np.int32), columns)


def token_labels(tokenised: TokenisedText, row: View) -> NDArray[np.uint8]:
    """SIGNAL, NOISE or SPECIAL for each token of a view."""
    starts = np.cumsum([0] + [len(word) + 1 for word in row.words])[:-1]
    words = tokenised.words(starts)
    labels = np.full(len(words), SPECIAL, np.uint8)
    labels[words >= 0] = np.where(np.array(row.is_noise)[words[words >= 0]], NOISE, SIGNAL)
    return labels
