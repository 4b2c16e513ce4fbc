from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from glot_rag.errors import BundleError
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.head.block_storage import load_block_head, save_block_head


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    head = BlockGraphHead(BlockGraphConfig(state_size=6, hidden_size=8))
    save_block_head(head, tmp_path / "head", {"backbone": "minilm"})
    return tmp_path / "head"


def test_a_saved_head_is_the_same_head(saved: Path) -> None:
    torch.manual_seed(1)
    expected = BlockGraphHead(BlockGraphConfig(state_size=6, hidden_size=8))
    head, details = load_block_head(saved)
    assert head.config == expected.config
    assert details == {"backbone": "minilm"}
    assert not head.training
    for name, value in expected.state_dict().items():
        assert torch.equal(head.state_dict()[name], value)


def test_damaged_weights_are_refused(saved: Path) -> None:
    path = saved / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BundleError, match="it is damaged"):
        load_block_head(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 16}, "the weights do not fit the settings"),
        ({"block_layers": 60_000}, "layers, but"),
        ({"colour": 1}, "unknown block head settings colour"),
        ({"dropout": 2.0}, "dropout must be in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(saved: Path, change: dict[str, object], message: str) -> None:
    path = saved / "config.json"
    record = json.loads(path.read_text())
    record["head"].update(change)
    path.write_text(json.dumps(record))
    with pytest.raises(BundleError, match=message):
        load_block_head(saved)


def test_a_directory_without_weights_is_refused(saved: Path) -> None:
    (saved / "head.safetensors").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load_block_head(saved)
