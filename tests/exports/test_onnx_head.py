"""A head exported alone gives what torch gives: vector, token weights and noise probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from glot_onnx import export_head

from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.config import CONVOLUTIONS, FORMS, JUMPING

# Every convolution, jumping knowledge and form once, rather than every combination of them.
HEADS: list[dict[str, object]] = [
    {"convolution": "gat", "num_layers": 2},
    {"convolution": "gcn", "jumping": "max", "readout": "sigmoid"},
    {"convolution": "gin", "jumping": "mean"},
    {"convolution": "gine", "form": "paper", "output_size": 64},
    {"convolution": "transformer", "form": "drop", "layers": (2,), "readout": "sigmoid", "norm": "layer"},
    {"pooling": "adapool"},
]


def test_all_kinds_are_here() -> None:
    assert {each.get("convolution") for each in HEADS} >= set(CONVOLUTIONS)
    assert {each.get("jumping", "cat") for each in HEADS} == set(JUMPING)
    assert {each.get("form", "residual") for each in HEADS} == set(FORMS)


@pytest.mark.parametrize("settings", HEADS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_head_alone(
    make_head: Callable[..., GlotHead | AdaPool], tmp_path: Path, settings: dict[str, object]
) -> None:
    head = make_head(**{"state_size": 48, "hidden_size": 16, "num_layers": 1, "layers": (2, -1), **settings})
    random_state = torch.get_rng_state()
    session = onnxruntime.InferenceSession(export_head(head, tmp_path / "head.onnx"))
    assert torch.equal(torch.get_rng_state(), random_state)  # the caller's random numbers are as they were
    generator = torch.Generator().manual_seed(0)
    for batch, length in ((1, 1), (3, 9), (2, 70), (5, 33)):
        states = torch.randn(batch, length, head.config.input_size, generator=generator)
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[0, length // 2 + 1 :] = 0
        mask[-1, : length // 3] = 0  # padding on the left
        with torch.no_grad():
            pooled = head(states, mask.bool())
        vector, weights, noise = session.run(None, {"hidden_states": states.numpy(), "attention_mask": mask.numpy()})
        assert pooled.logits is not None
        expected = torch.nn.functional.normalize(pooled.vector, dim=-1).numpy()
        assert np.abs(vector - expected).max() < 1e-5
        assert np.abs(weights - pooled.weights.numpy()).max() < 1e-5
        assert np.abs(noise - (torch.sigmoid(-pooled.logits) * mask).numpy()).max() < 1e-5
