from __future__ import annotations

from typing import Any

import pytest

from glot_rag.errors import InputError
from glot_rag.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 0}, "views must be at least 1; got 0"),
        ({"epochs": -1}, "epochs must be at least 1; got -1"),
        ({"patience": 0}, "patience must be at least 1; got 0"),
        ({"batch_texts": 0}, "batch_texts must be at least 1; got 0"),
        ({"seed": -1}, "seed must be from 0 to .* got -1"),
        ({"seed": 2**63}, "seed must be from 0 to .* got 9223372036854775808"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"temperature": -0.1}, "temperature must be above 0; got -0.1"),
        ({"weight_decay": -1e-9}, "weight_decay must be at least 0; got -1e-09"),
        ({"denoising": -1.0}, "denoising must be at least 0; got -1.0"),
        ({"contrastive": float("nan")}, "contrastive must be at least 0; got nan"),
        ({"tokens": -0.5}, "tokens must be at least 0; got -0.5"),
        ({"negatives": -1}, "negatives must be at least 0; got -1"),
        ({"negatives": 2, "contrastive": 0.0}, "negatives belong to the contrastive objective, whose weight is 0"),
        ({"denoising": 0.0, "contrastive": 0.0, "tokens": 0.0}, "at least one objective needs a weight above 0"),
        ({"warmup": 0.0}, "warmup must be between 0 and 1; got 0.0"),
        ({"validation": 1.0}, "validation must be between 0 and 1; got 1.0"),
    ],
)
def test_values_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(**settings)
