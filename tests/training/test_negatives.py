from __future__ import annotations

import torch

from glot_rag.training.negatives import NONE, mine


def unit(*degrees: float) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_the_nearest_queries_of_others_the_nearest_first() -> None:
    texts, queries = unit(0, 90, 180), unit(10, 70, 200)
    # From 0: 70 and 200 degrees away; from 90: 80 and 110; from 180: 110 (query 1) and 170 (query 0).
    assert mine(texts, queries * 7, 2).tolist() == [[1, 2], [0, 2], [1, 0]]


def test_what_may_well_fit_is_no_negative() -> None:
    # From 0: its own is 30 away, the other 41, cos 0.87 of the own's. From 40: 1 and 10, cos 0.985 of the own's.
    assert mine(unit(0, 40), unit(30, 41), 1).tolist() == [[1], [NONE]]


def test_there_may_be_fewer_than_wanted() -> None:
    assert mine(unit(0, 90), unit(0, 90), 3).tolist() == [[1, NONE, NONE], [0, NONE, NONE]]
    assert mine(unit(0), unit(5), 2).tolist() == [[NONE, NONE]]
