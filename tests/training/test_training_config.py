from __future__ import annotations

from typing import Any

import pytest

from glot_rag.errors import InputError
from glot_rag.head import load_head
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PRETRAINED
from glot_rag.training.config import TrainingConfig, default_head


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 0}, "views must be at least 1; got 0"),
        ({"epochs": -1}, "epochs must be at least 1; got -1"),
        ({"patience": 0}, "patience must be at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"seed": -1}, "seed must be from 0 to .* got -1"),
        ({"seed": 2**63}, "seed must be from 0 to .* got 9223372036854775808"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"weight_decay": -1e-9}, "weight_decay must be at least 0; got -1e-09"),
        ({"denoising": -1.0}, "denoising must be at least 0; got -1.0"),
        ({"contrastive": float("nan")}, "contrastive must be at least 0; got nan"),
        ({"tokens": -0.5}, "tokens must be at least 0; got -0.5"),
        ({"denoising": 0.0, "contrastive": 0.0, "tokens": 0.0}, "at least one objective needs a weight above 0"),
        ({"validation": 1.0}, "validation must be between 0 and 1; got 1.0"),
    ],
)
def test_values_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(**settings)


@pytest.mark.parametrize(("folder", "pooling"), [("minilm", "glot"), ("minilm-adapool", "adapool")])
def test_the_default_head_has_the_shape_of_the_shipped_one(folder: str, pooling: str, minilm: Backbone) -> None:
    shipped = load_head(PRETRAINED / folder)[0].config
    default = default_head(minilm, pooling)
    if pooling == "glot":
        assert default == shipped
    else:  # the settings of a graph that is not there aside
        assert (default.layers, default.form, default.readout) == (shipped.layers, shipped.form, shipped.readout)
        assert (default.min_keep_ratio, default.mix_weight) == (shipped.min_keep_ratio, shipped.mix_weight)
