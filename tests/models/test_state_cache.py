from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from glot_rag.errors import TrainingError
from glot_rag.models.state_cache import Column, HiddenStateCache, from_stored, stored_dtype, to_stored

FINGERPRINT = {"backbone": "abc", "layers": [2, -1]}
COLUMNS = {"states": Column("float32", 3, per_token=True), "target": Column("float32", 2, per_token=False)}
LENGTHS = np.array([2, 1, 4, 3], np.int32)


def opened(path: Path, **changes: Any) -> HiddenStateCache:
    arguments: dict[str, Any] = {"fingerprint": FINGERPRINT, "columns": COLUMNS, "rows": 4, **changes}
    return HiddenStateCache(path, **arguments)


def content() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    return {"states": rng.normal(size=(10, 3)).astype(np.float32), "target": rng.normal(size=(4, 2)).astype(np.float32)}


def add(cache: HiddenStateCache, start: int, stop: int) -> None:
    ends = np.concatenate([[0], LENGTHS.cumsum()])
    states, target = content()["states"], content()["target"]
    cache.append(LENGTHS[start:stop], {"states": states[ends[start] : ends[stop]], "target": target[start:stop]})


def check(cache: HiddenStateCache, rows: int) -> None:
    ends = np.concatenate([[0], LENGTHS.cumsum()])[: rows + 1]
    assert len(cache) == cache.done == rows
    assert cache.complete is (rows == 4)
    assert cache.ends.tolist() == ends.tolist()
    assert np.array_equal(cache.column("states"), content()["states"][: ends[-1]])
    assert np.array_equal(cache.column("target"), content()["target"][:rows])


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    cache = opened(tmp_path / "a" / "cache")
    add(cache, 0, 1)
    check(cache, 1)
    add(cache, 1, 4)
    check(cache, 4)
    cache.close()
    check(cache, 4)
    again = opened(tmp_path / "a" / "cache")
    check(again, 4)
    again.close()


@pytest.mark.parametrize("extra", [1, 12, 5000])
def test_a_killed_append_is_cut_off_and_done_again(tmp_path: Path, extra: int) -> None:
    cache = opened(tmp_path)
    add(cache, 0, 2)
    cache.close()
    for name in ("states.bin", "target.bin", "length.bin"):  # written, and killed before cache.json was
        with open(tmp_path / name, "ab") as file:
            file.write(b"\xee" * extra)
    resumed = opened(tmp_path)
    check(resumed, 2)
    add(resumed, 2, 4)
    check(resumed, 4)
    resumed.close()
    assert (tmp_path / "states.bin").stat().st_size == 10 * 3 * 4
    assert (tmp_path / "target.bin").stat().st_size == 4 * 2 * 4


@pytest.mark.parametrize(
    "changes",
    [{"fingerprint": {**FINGERPRINT, "backbone": "abd"}}, {"fingerprint": {}}, {"rows": 5}],
)
def test_a_cache_of_something_else_is_refused_and_kept(tmp_path: Path, changes: dict[str, Any]) -> None:
    cache = opened(tmp_path)
    add(cache, 0, 2)
    cache.close()
    with pytest.raises(TrainingError, match="holds hidden states of other texts, settings or another backbone: choose"):
        opened(tmp_path, **changes)
    check(opened(tmp_path), 2)


@pytest.mark.parametrize("name", ["states.bin", "length.bin"])
@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_cache_that_lost_data_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    """Filled up with zeros it would train on texts without content."""
    cache = opened(tmp_path)
    add(cache, 0, 4)
    cache.close()
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage == "short":
        (tmp_path / name).write_bytes(data[:-1])
    with pytest.raises(TrainingError, match=rf"{name} is shorter than cache\.json says: delete the directory"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"done": 3}'])
def test_a_damaged_record_is_refused(tmp_path: Path, content: bytes) -> None:
    opened(tmp_path).close()
    (tmp_path / "cache.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"cache\.json is damaged: delete the directory"):
        opened(tmp_path)


def test_arrays_of_another_shape_or_dtype(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    good = {"states": np.zeros((2, 3), np.float32), "target": np.zeros((1, 2), np.float32)}
    for name, wrong in [
        ("states", np.zeros((3, 3), np.float32)),
        ("states", np.zeros((2, 3), np.float64)),
        ("target", np.zeros((2, 2), np.float32)),
    ]:
        with pytest.raises(TrainingError, match=rf"column {name}: got .*, expected"):
            cache.append(np.array([2], np.int32), {**good, name: wrong})
    assert cache.done == 0
    assert (tmp_path / "states.bin").stat().st_size == 0
    cache.close()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_bit_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    bits = torch.randint(-(2**15), 2**15, (50, 4), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    tensor = bits.view(dtype) if dtype != torch.float32 else torch.randn(50, 4)
    columns = {"states": Column(stored_dtype(dtype), 4, per_token=True)}
    cache = HiddenStateCache(tmp_path, {}, columns, rows=1)
    cache.append(np.array([50], np.int32), {"states": to_stored(tensor)})
    back = from_stored(cache.column("states"))
    cache.close()
    assert back.dtype == dtype
    view = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(back.view(view), tensor.view(view))  # as integers: NaN's bits, too


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1))
def test_bfloat16_values_survive(values: list[float]) -> None:
    tensor = torch.tensor(values).to(torch.bfloat16)
    assert torch.equal(from_stored(to_stored(tensor)), tensor)


def test_names_of_stored_dtypes() -> None:
    assert [stored_dtype(d) for d in (torch.bfloat16, torch.float16, torch.float32)] == ["uint16", "float16", "float32"]


def test_the_record_on_disk(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    add(cache, 0, 3)
    cache.close()
    assert json.loads((tmp_path / "cache.json").read_text()) == {
        "format": "glot-rag/hidden-states", "fingerprint": FINGERPRINT, "rows": 4, "done": 3, "tokens": 7,
    }  # fmt: skip
