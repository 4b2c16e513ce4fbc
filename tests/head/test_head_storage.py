from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_state import global_random_state_unchanged
from safetensors.torch import save

from glot_rag.errors import BundleError
from glot_rag.head import AdaPool, GlotHead, load_head, save_head
from glot_rag.head import weights as weights_module
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.block_storage import load_block_head
from glot_rag.models.registry import PRETRAINED

MakeHead = Callable[..., GlotHead | AdaPool]


@pytest.fixture
def bundle(tmp_path: Path, make_head: MakeHead) -> Path:
    save_head(make_head(state_size=6, hidden_size=4), tmp_path / "head")
    return tmp_path / "head"


def edit(bundle: Path, **changes: Any) -> None:
    record = json.loads((bundle / "config.json").read_text())
    for name, value in changes.items():
        if value is ...:
            del record[name]
        elif name == "head":
            record["head"].update(value)
        else:
            record[name] = value
    (bundle / "config.json").write_text(json.dumps(record))


def plant(bundle: Path, weights: bytes) -> None:
    """Replace the weights and make the checksum agree, as whoever publishes a bundle can."""
    (bundle / "head.safetensors").write_bytes(weights)
    edit(bundle, sha256=hashlib.sha256(weights).hexdigest())


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": (2, -1), "convolution": "gat"},
        {"convolution": "gine", "jumping": "mean", "readout": "sigmoid"},
        {"form": "paper", "output_size": 5},
        {"pooling": "adapool"},
    ],
)
def test_round_trip_is_exact(settings: dict[str, Any], tmp_path: Path, make_head: MakeHead) -> None:
    head = make_head(state_size=6, hidden_size=4, **settings)
    details = {"backbone": "minilm", "validation": {"loss": 0.25}, "note": "Zürich"}
    save_head(head, tmp_path / "a" / "head", details)
    loaded, kept = load_head(tmp_path / "a" / "head")
    assert type(loaded) is type(head)
    assert loaded.config == head.config
    assert kept == details
    assert not loaded.training
    assert loaded.state_dict().keys() == head.state_dict().keys()
    for name, value in head.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    states, mask = torch.randn(2, 5, head.config.input_size), torch.ones(2, 5, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(loaded(states, mask).vector, head(states, mask).vector)


def test_loading_leaves_the_global_random_numbers_alone(bundle: Path) -> None:
    with global_random_state_unchanged():
        head, _ = load_head(bundle)
    assert all(parameter.device.type == "cpu" for parameter in head.parameters())


def test_saving_again_replaces_and_leaves_nothing_else(bundle: Path, make_head: MakeHead) -> None:
    other = make_head(seed=1, state_size=6, hidden_size=4)
    save_head(other, bundle)
    assert sorted(p.name for p in bundle.iterdir()) == ["config.json", "head.safetensors"]
    assert torch.equal(load_head(bundle)[0].convs[0].bias, other.convs[0].bias)


def test_a_write_that_is_cut_off_is_noticed(bundle: Path, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    """New weights under the old configuration: the moment between the two renames."""
    write = weights_module.write_atomically

    def killed(path: Path, data: bytes) -> None:
        if path.name == "config.json":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(weights_module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        save_head(make_head(seed=2, state_size=6, hidden_size=4), bundle)
    with pytest.raises(BundleError, match="it is damaged"):
        load_head(bundle)


@pytest.mark.parametrize("position", [0, 8, 200, -1])
def test_a_flipped_byte(bundle: Path, position: int) -> None:
    data = bytearray((bundle / "head.safetensors").read_bytes())
    data[position] ^= 1
    (bundle / "head.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match=r"head\.safetensors has SHA-256 .* config\.json says .* damaged"):
        load_head(bundle)


@pytest.mark.parametrize("length", [0, 4, 100])
def test_cut_short(bundle: Path, length: int) -> None:
    data = (bundle / "head.safetensors").read_bytes()[:length]
    (bundle / "head.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match="it is damaged"):
        load_head(bundle)
    plant(bundle, data)
    with pytest.raises(BundleError, match="the weights do not fit the settings"):
        load_head(bundle)


@pytest.mark.parametrize("name", ["config.json", "head.safetensors"])
def test_a_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} cannot be read \(No such file or directory\)"):
        load_head(bundle)


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot be read .* expected a glot-rag/head record"):
        load_head(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"format": "glot-rag/head"', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1, 2]", "says format None, expected 'glot-rag/head'"),
        (b'"glot-rag/head"', "says format None, expected 'glot-rag/head'"),
        (b"null", "says format None"),
        (b'{"format": "glot-rag/encoder", "format_version": 1}', "says format 'glot-rag/encoder', expected"),
        (b'{"format": "glot-rag/head"}', "has format version None; this glot-rag reads 1 to 1"),
        (b'{"format": "glot-rag/head", "format_version": "1"}', "has format version '1'"),
        (b'{"format": "glot-rag/head", "format_version": 0}', "has format version 0"),
        (b" " * ((1 << 20) + 1), "is larger than 1048576 bytes"),
    ],
)
def test_a_configuration_that_is_none(bundle: Path, content: bytes, message: str) -> None:
    (bundle / "config.json").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        load_head(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "has format version 2; this glot-rag reads 1 to 1: upgrade it"),
        ({"head": {"dropout": 0.1}}, "unknown head settings dropout"),
        ({"head": {"threshold": 7}}, r"threshold \(tau\) must be in"),
        ({"head": {"state_size": None}}, "state_size must be a whole number"),
        ({"head": {"hidden_size": 5}}, r"size mismatch for convs\.0"),
        ({"head": {"num_layers": 3}}, r"Missing key\(s\) in state_dict"),
        ({"head": {"num_layers": 1, "jumping": "max"}}, r"Unexpected key\(s\) in state_dict"),
        ({"head": {"convolution": "gcn"}}, "the weights do not fit the settings"),
        ({"sha256": ...}, "config.json says None: it is damaged"),
        ({"details": [1]}, "lacks the head's settings"),
    ],
)
def test_a_configuration_that_does_not_fit(bundle: Path, changes: dict[str, Any], message: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        load_head(bundle)


def test_a_configuration_without_settings(bundle: Path) -> None:
    record = json.loads((bundle / "config.json").read_text())
    for settings in (None, "gat", [1]):
        (bundle / "config.json").write_text(json.dumps({**record, "head": settings}))
        with pytest.raises(BundleError, match="lacks the head's settings"):
            load_head(bundle)


def test_weights_of_another_shape(bundle: Path, make_head: MakeHead) -> None:
    plant(bundle, save(make_head(state_size=7, hidden_size=4).state_dict()))
    with pytest.raises(BundleError, match=r"size mismatch for convs\.0\.lin\.weight"):
        load_head(bundle)


@pytest.mark.parametrize(
    "settings",
    [{"num_layers": 65_536}, {"hidden_size": 65_536}, {"state_size": 65_536, "layers": [0] * 1000}],
)
def test_settings_cannot_ask_for_far_more_memory_than_the_weights_take(bundle: Path, settings: dict[str, Any]) -> None:
    edit(bundle, head=settings)
    with pytest.raises(BundleError, match="the weights do not fit the settings"):
        load_head(bundle)


def test_a_planted_pickle_is_not_run(bundle: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    plant(bundle, pickle.dumps(Payload()))
    with pytest.raises(BundleError, match="the weights do not fit the settings"):
        load_head(bundle)
    torch_file = tmp_path / "torch.pt"
    torch.save({"convs.0.bias": Payload()}, torch_file)
    plant(bundle, torch_file.read_bytes())
    with pytest.raises(BundleError, match="the weights do not fit the settings"):
        load_head(bundle)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Payload()))  # noqa: S301 (the payload does run where it is unpickled)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("folder", sorted(p.parent for p in PRETRAINED.glob("*/config.json")), ids=lambda p: p.name)
def test_shipped_heads_load(folder: Path) -> None:
    head: GlotHead | AdaPool | BlockGraphHead
    if folder.name.endswith("-blocks"):
        head, details = load_block_head(folder)
    else:
        head, details = load_head(folder)
    assert all(value.isfinite().all() for value in head.state_dict().values())
    assert len(details["backbone_fingerprint"]) == 64
    assert (folder / "MODEL_CARD.md").is_file()
