"""Cached states are the backbone's own, and a fixed pooling's vectors those of the pooling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glot_rag.classification.classifier import build_pooling
from glot_rag.classification.states import CachedStates, PooledStates, states_for
from glot_rag.errors import InputError, TrainingError
from glot_rag.head.config import BASELINE_POOLINGS
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import pack

ROWS = np.array([3, 0, 41, 20])


def test_the_states_of_each_text_are_those_of_a_pass_of_its_own(
    texts: list[str], minilm: Backbone, tmp_path: Path
) -> None:
    states = CachedStates(tmp_path, texts, minilm, layers=(2, -1))
    values, mask = states.batch(ROWS)
    assert values.shape[2] == 2 * 384
    for place, row in enumerate(ROWS):
        [batch] = pack(minilm.tokenizer([texts[row]]), minilm.tokenizer.pad_id)
        expected = torch.cat(minilm.hidden_states(batch, (2, -1))[0], dim=-1)[0]
        assert states.lengths[row] == len(expected) == int(mask[place].sum())
        torch.testing.assert_close(values[place, mask[place]], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BASELINE_POOLINGS)
def test_a_fixed_pooling_is_computed_once(states: CachedStates, name: str) -> None:
    pooling = build_pooling(name, 384)
    pooled = states_for(pooling, states)
    assert isinstance(pooled, PooledStates)
    assert states_for(pooling, pooled) is pooled
    expected = pooling(*states.batch(ROWS)).vector
    torch.testing.assert_close(pooling(*pooled.batch(ROWS)).vector, expected, atol=1e-6, rtol=1e-5)
    assert pooled.lengths.tolist() == [1] * len(states.lengths)


def test_a_trained_pooling_reads_the_states_themselves(states: CachedStates) -> None:
    assert states_for(build_pooling("adapool", 384), states) is states


def test_a_run_that_was_stopped_goes_on(
    texts: list[str], minilm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: CachedStates
) -> None:
    monkeypatch.setattr("glot_rag.classification.states._CHUNK", 20)
    whole, seen = minilm.tokenizer.__class__.__call__, []

    def interrupted(self: object, given: list[str]) -> list[list[int]]:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(given)
        return whole(self, given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(minilm.tokenizer.__class__, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            CachedStates(tmp_path, texts, minilm)
    assert (tmp_path / "states.bin").stat().st_size == int(states.lengths[:40].sum()) * 384 * 4
    resumed = CachedStates(tmp_path, texts, minilm)
    torch.testing.assert_close(resumed.batch(ROWS)[0], states.batch(ROWS)[0], atol=1e-5, rtol=1e-4)


def test_a_directory_of_other_texts_is_refused(texts: list[str], minilm: Backbone, tmp_path: Path) -> None:
    CachedStates(tmp_path, texts[:4], minilm)
    with pytest.raises(TrainingError, match="hidden states of other texts"):
        CachedStates(tmp_path, texts[1:5], minilm)


def test_a_single_string_is_refused(minilm: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got one str: put it in a list"):
        CachedStates(tmp_path / "cache", "a text", minilm)
    assert not (tmp_path / "cache").exists()
