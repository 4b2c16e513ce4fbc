from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glot_rag.denoise.noisy_views import NoiseGenerator, View
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import TrainingError
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import HiddenStateCache, from_stored
from glot_rag.models.tokenizer import TokenBatch, TokenisedText
from glot_rag.training import views as views_module
from glot_rag.training.texts import TrainingText
from glot_rag.training.views import NOISE, SIGNAL, SPECIAL, cache_views, token_labels

VIEWS, SEED, LAYERS = 2, 3, (2, -1)


@pytest.fixture(scope="module")
def texts(prose: list[tuple[str, str]]) -> list[TrainingText]:
    return [TrainingText(text, name if i % 3 else "") for i, (name, text) in enumerate(prose[:10])]


@pytest.fixture(scope="module")
def short_minilm() -> Backbone:
    return Backbone.load("minilm", device="cpu", dtype="float32", max_tokens=64)


@pytest.fixture(scope="module")
def cache(
    texts: list[TrainingText], short_minilm: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> HiddenStateCache:
    return cache_views(tmp_path_factory.mktemp("views"), texts, short_minilm, layers=LAYERS, views=VIEWS, seed=SEED)


def rows_of(texts: list[TrainingText]) -> list[View]:
    generator = NoiseGenerator([text.text for text in texts], SEED)
    rows = []
    for index, text in enumerate(texts):
        rows += [generator.view(index, number) for number in range(VIEWS)]
        query = text.query.split()
        rows.append(View(tuple(query), (False,) * len(query)))
    return rows


def test_states_are_the_backbones(cache: HiddenStateCache, texts: list[TrainingText], short_minilm: Backbone) -> None:
    rows = rows_of(texts)
    assert cache.complete
    assert len(cache) == len(rows) == 30
    for row in (0, 1, 4, 29):
        (ids,) = short_minilm.tokenizer([rows[row].text])
        batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), bool))
        states, _ = short_minilm.hidden_states(batch, LAYERS)
        stored = from_stored(cache.column("states")[cache.ends[row] : cache.ends[row + 1]])
        assert stored.shape == (len(ids), 768)
        assert (stored - torch.cat(states, dim=-1)[0]).abs().max() < 1e-4


def test_targets_are_the_clean_words_mean_vectors(
    cache: HiddenStateCache, texts: list[TrainingText], short_minilm: Backbone
) -> None:
    mean = TorchEncoder(short_minilm, BaselinePooling("mean", 384))
    expected = mean.encode_documents([row.signal for row in rows_of(texts)])
    assert np.abs(cache.column("target") - expected).max() < 1e-5


def test_labels_mark_the_right_tokens(
    cache: HiddenStateCache, texts: list[TrainingText], short_minilm: Backbone
) -> None:
    """Each token's characters lie in a word of the view: it is labelled as that word is."""
    seen = {SIGNAL: 0, NOISE: 0, SPECIAL: 0}
    for number, row in enumerate(rows_of(texts)):
        labels = cache.column("label")[cache.ends[number] : cache.ends[number + 1], 0]
        (tokenised,) = short_minilm.tokenizer.with_offsets([row.text])
        word_of_character = [w for w, word in enumerate(row.words) for _ in range(len(word) + 1)]
        assert len(labels) == len(tokenised.ids)
        for label, (start, end) in zip(labels, tokenised.spans, strict=True):
            if start == end:
                expected = SPECIAL
            else:
                (word,) = {word_of_character[place] for place in range(start, end)}
                assert row.text[start:end] in row.words[word]
                expected = NOISE if row.is_noise[word] else SIGNAL
            assert label == expected
            seen[expected] += 1
    assert min(seen.values()) > 50


def test_a_byte_level_tokens_leading_space_belongs_to_its_word() -> None:
    view = View(("ab", "cde", "f"), (False, True, False))
    spans = [(0, 2), (2, 6), (6, 8), (0, 0)]  # "ab", " cde", " f" and a special token
    labels = token_labels(TokenisedText([1, 2, 3, 4], ["ab", "Ġcde", "Ġf", "</s>"], spans), view)
    assert labels.tolist() == [SIGNAL, NOISE, SIGNAL, SPECIAL]


def test_a_killed_run_goes_on_and_gives_the_same_bits(
    texts: list[TrainingText], short_minilm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "_CHUNK", 2)
    some = texts[:6]
    settings = {"layers": (-1,), "views": 1, "seed": SEED}
    cache_views(tmp_path / "whole", some, short_minilm, **settings)
    append, calls = views_module._append, []

    def killed(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(views_module, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            cache_views(tmp_path / "killed", some, short_minilm, **settings)
    with open(tmp_path / "killed" / "states.bin", "ab") as file:
        file.write(b"half a row")
    resumed = cache_views(tmp_path / "killed", some, short_minilm, **settings)
    assert resumed.complete
    for name in ("states.bin", "label.bin", "target.bin", "length.bin", "cache.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("change", ["texts", "query", "seed", "views", "layers", "max_tokens"])
def test_a_cache_of_something_else_is_refused(
    change: str, cache: HiddenStateCache, texts: list[TrainingText], short_minilm: Backbone
) -> None:
    settings = {"layers": LAYERS, "views": VIEWS, "seed": SEED}
    backbone, others = short_minilm, texts
    if change == "texts":
        others = [*texts[:-1], TrainingText(texts[-1].text + ".", texts[-1].query)]
    elif change == "query":
        others = [*texts[:-1], TrainingText(texts[-1].text, "other")]
    elif change == "max_tokens":
        backbone = Backbone.load("minilm", device="cpu", dtype="float32", max_tokens=63)
    else:
        settings = settings | {change: {"seed": 4, "views": 3, "layers": (-1,)}[change]}
    with pytest.raises(TrainingError, match="holds hidden states of other texts, settings or another backbone"):
        cache_views(cache.path, others, backbone, **settings)


def test_surrogates_and_odd_texts_do_not_stop_it(short_minilm: Backbone, tmp_path: Path) -> None:
    odd = [
        TrainingText("\ud83d\ude00 \udfff \0 one two three four five six seven eight nine ten", "\ud800"),
        TrainingText("a", ""),
    ]
    cache = cache_views(tmp_path, odd, short_minilm, layers=(-1,), views=2, seed=0)
    assert cache.complete
    assert np.isfinite(cache.column("states")).all()
