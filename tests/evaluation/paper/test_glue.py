"""GLUE's files, metrics and a short run on them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.paper.experiment import ExperimentSettings
from glot_rag.evaluation.paper.glue import GLUE_TASKS, GlueSettings, read_glue, run_glue
from glot_rag.head.fit import FitConfig
from glot_rag.models.backbone import Backbone

HEADER = "text_a\ttext_b\tlabel\n"


@pytest.fixture(scope="session")
def glue(data: Path) -> Path:
    if not (data / "glue" / "rte" / "train.tsv.gz").is_file():
        pytest.skip(f"no GLUE in {data} (set GLOT_RAG_DATA)")
    return data / "glue"


def one_hot(classes: list[int]) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[classes]


def test_the_metrics_are_the_papers() -> None:
    """True positives 3, false positives 1, false negatives 2, true negatives 4."""
    labels = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    outputs = one_hot([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert GLUE_TASKS["cola"].score(outputs, labels) == pytest.approx((3 * 4 - 1 * 2) / (4 * 5 * 5 * 6) ** 0.5)
    assert GLUE_TASKS["mrpc"].score(outputs, labels) == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert GLUE_TASKS["rte"].score(outputs, labels) == GLUE_TASKS["sst2"].score(outputs, labels) == 0.7
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6·2 / (4·15)
    assert GLUE_TASKS["stsb"].score(np.array([[1.0], [9.0], [4.0], [50.0]]), np.arange(4)) == pytest.approx(0.8)
    assert GLUE_TASKS["stsb"].score(np.zeros((4, 1)), np.arange(4)) == 0.0
    assert {name: task.texts for name, task in GLUE_TASKS.items()} == {
        "cola": 1, "sst2": 1, "stsb": 2, "mrpc": 2, "rte": 2,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
def test_a_file_is_read_with_its_quotes(tmp_path: Path, suffix: str) -> None:
    content = HEADER + '"He said ""no""."\t"a\tb"\t4.0\none\ttwo\t0\n'
    (tmp_path / "stsb").mkdir()
    write = gzip.compress if suffix.endswith("gz") else bytes
    (tmp_path / "stsb" / f"train{suffix}").write_bytes(write(content.encode()))
    found = read_glue(tmp_path, "stsb", "train")
    assert found.texts == [('He said "no".', "a\tb"), ("one", "two")]
    assert found.labels.tolist() == [0.8, 0.0]


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("cola", HEADER + "a\t\t1\nb\t\t2\n", r"train.tsv:3: label must be 0 or 1; got '2'"),
        ("cola", HEADER + "a\t\t1\nb\t\n", r"train.tsv:3: label must be 0 or 1; got None"),
        ("stsb", HEADER + "a\tb\t5.5\n", r"train.tsv:2: label must be a number from 0 to 5; got '5.5'"),
        ("rte", HEADER + "a\t\t1\n", r"train.tsv:2: expected 2 texts, got \('a', ''\)"),
        ("rte", "sentence\tlabel\n", r"train.tsv:1: no column text_a, text_b"),
        ("rte", HEADER, "holds 0 examples"),
    ],
)
def test_a_malformed_line_is_told_by_its_number(tmp_path: Path, task: str, content: str, message: str) -> None:
    (tmp_path / task).mkdir()
    (tmp_path / task / "train.tsv").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_glue(tmp_path, task, "train")


def test_a_file_that_is_not_there_or_cut_off(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither .*train.tsv.gz nor train.tsv"):
        read_glue(tmp_path, "rte", "train")
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "train.tsv.gz").write_bytes(gzip.compress(HEADER.encode() * 50)[:-12])
    with pytest.raises(DatasetError, match=r"train.tsv.gz cannot be read"):
        read_glue(tmp_path, "rte", "train")


def test_the_data_at_hand_is_all_there(glue: Path) -> None:
    sizes = {"cola": (8551, 1043), "stsb": (5749, 1500), "mrpc": (4076, 1725), "rte": (2490, 277)}
    for task, expected in sizes.items():
        assert tuple(len(read_glue(glue, task, part).texts) for part in ("train", "validation")) == expected


def test_a_short_run_on_a_single_text_task_and_a_pair_task(tmp_path: Path, minilm: Backbone, glue: Path) -> None:
    data = tmp_path / "glue"
    for task in ("cola", "stsb"):
        (data / task).mkdir(parents=True)
        for part in ("train", "validation"):
            lines = gzip.decompress((glue / task / f"{part}.tsv.gz").read_bytes()).decode().splitlines()[:31]
            (data / task / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    head = {"hidden_size": 16, "num_layers": 1}
    experiment = ExperimentSettings(("mean", "glot"), 2, fit=FitConfig(epochs=1), learning_rates=(), head=head)
    config = GlueSettings(("cola", "stsb"), limit=24, experiment=experiment)
    report = run_glue(minilm, data, config, cache=tmp_path / "cache")
    results = json.loads(report.to_json())["results"]
    assert [(each["task"], each["pooling"], each["metric"]) for each in results] == [
        ("cola", "mean", "MCC"), ("cola", "glot", "MCC"), ("stsb", "mean", "Spearman"), ("stsb", "glot", "Spearman"),
    ]  # fmt: skip
    assert {(each["train"], each["test"]) for each in results} == {(24, 30)}
    assert all(-1 <= value <= 1 for each in results for value in each["values"])
    assert "at most 24 training examples" in report.title
    # The states are kept; a second run reads them, and finds the same.
    again = run_glue(minilm, data, config, cache=tmp_path / "cache")
    assert [each.values for each in again.results] == [each.values for each in report.results]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ("wnli",)}, "task must be one of cola, sst2, stsb, mrpc, rte; got 'wnli'"),
        ({"tasks": ()}, "different names; got none"),
        ({"tasks": ("rte",), "limit": 3}, "limit must be at least 10"),
        ({"tasks": ("rte",), "held_out": 1.0}, "held out must be between 0 and 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GlueSettings(**settings)  # type: ignore[arg-type]
