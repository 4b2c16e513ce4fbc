from __future__ import annotations

import json
from typing import Any

import pytest

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.head.config import HeadConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "attention"}, "pooling must be one of glot, adapool; got 'attention'"),
        ({"pooling": "mean"}, "pooling must be one of glot, adapool; got 'mean'"),
        ({"convolution": "gatv2"}, "convolution must be one of gat, gcn, gin, gine, transformer; got 'gatv2'"),
        ({"convolution": 3}, "convolution must be one of .* got 3"),
        ({"jumping": "lstm"}, "jumping must be one of cat, max, mean; got 'lstm'"),
        ({"form": "Residual"}, "form must be one of residual, paper, drop; got 'Residual'"),
        ({"readout": "sparsemax"}, "readout must be one of sigmoid, softmax; got 'sparsemax'"),
        ({"state_size": 0}, "state_size must be a whole number from 1 to 65536; got 0"),
        ({"state_size": 1 << 17}, "state_size must be a whole number from 1 to 65536; got 131072"),
        ({"hidden_size": -1}, "hidden_size must be a whole number .* got -1"),
        ({"hidden_size": 64.0}, "hidden_size must be a whole number .* got 64.0"),
        ({"min_keep_ratio": 1.1}, r"min_keep_ratio must be in \[0, 1\]; got 1.1"),
        ({"num_layers": True}, "num_layers must be a whole number .* got True"),
        ({"num_layers": 0}, "num_layers must be a whole number .* got 0"),
        ({"layers": ()}, r"layers must name at least one backbone layer by number; got \(\)"),
        ({"layers": ("last",)}, r"layers must name at least one backbone layer by number; got \('last',\)"),
        ({"threshold": 1.0}, r"threshold \(tau\) must be in \[-1, 1\); got 1.0"),
        ({"threshold": -1.01}, r"threshold \(tau\) must be in \[-1, 1\); got -1.01"),
        ({"threshold": float("nan")}, r"threshold \(tau\) must be in \[-1, 1\); got nan"),
        ({"threshold": "0.3"}, r"threshold \(tau\) must be in \[-1, 1\); got '0.3'"),
        ({"form": "paper", "output_size": 0}, "output_size must be a positive whole number or None; got 0"),
        ({"form": "paper", "output_size": 1.5}, "output_size must be a positive whole number or None; got 1.5"),
        ({"form": "residual", "output_size": 64}, "output_size belongs to the paper form"),
        ({"form": "drop", "mix_weight": 0.0}, "mix_weight must be above 0 and at most 1; got 0.0"),
        ({"form": "drop", "mix_weight": 1.1}, "mix_weight must be above 0 and at most 1; got 1.1"),
        ({"form": "residual", "mix_weight": 0.5}, "mix_weight belongs to the drop form"),
    ],
)
def test_values_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HeadConfig(**{"state_size": 384, **settings})


@pytest.mark.parametrize("threshold", [-1.0, 0, 0.999])
def test_thresholds_that_are_allowed(threshold: float) -> None:
    assert HeadConfig(state_size=8, threshold=threshold).threshold == threshold


@pytest.mark.parametrize(
    ("settings", "mean_queries"),
    [
        ({"form": "residual"}, True),
        ({"form": "drop"}, True),
        ({"form": "paper"}, False),
        ({"pooling": "adapool"}, True),
        ({"pooling": "adapool", "form": "paper"}, True),
    ],
)
def test_queries_are_mean_pooled_where_vectors_stay_in_that_space(settings: dict[str, Any], mean_queries: bool) -> None:
    assert HeadConfig(state_size=8, **settings).mean_queries is mean_queries


def test_json_round_trip() -> None:
    config = HeadConfig(
        state_size=384, layers=(2, -1), convolution="gine", num_layers=4, hidden_size=64, threshold=0.6, jumping="max",
        form="paper", readout="sigmoid", output_size=100,
    )  # fmt: skip
    assert HeadConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_input_size_is_all_layers_side_by_side() -> None:
    assert HeadConfig(state_size=384, layers=(2, 4, -1)).input_size == 1152


def test_unknown_settings_are_listed() -> None:
    with pytest.raises(InputError, match="unknown head settings depth, tau; known: convolution, form, hidden_size"):
        HeadConfig.from_dict({"state_size": 8, "tau": 0.3, "depth": 2})


@pytest.mark.parametrize("values", [{}, {"state_size": 8, "layers": 3}, {"state_size": 8, "layers": None}])
def test_incomplete_settings(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="head settings are incomplete"):
        HeadConfig.from_dict(values)


def test_choose_returns_the_value() -> None:
    assert choose("colour", "red", ("red", "blue")) == "red"
    with pytest.raises(InputError, match="colour must be one of red, blue; got None"):
        choose("colour", None, ("red", "blue"))
