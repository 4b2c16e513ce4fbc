"""`glot-rag stress` and `glot-rag glue`, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glot_rag.evaluation.paper import stress
from glot_rag.evaluation.paper.results import ExperimentReport
from glot_rag.head.fit import FitConfig
from glot_rag.models.backbone import Backbone


def test_stress(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    minilm_folder: Path,
    tmp_path: Path,
) -> None:
    def small(backbone: Backbone, settings: stress.StressSettings, **options: Any) -> ExperimentReport:
        assert settings == stress.StressSettings((0.2,), experiment=stress.StressSettings().experiment)
        experiment = replace(settings.experiment, seeds=1, fit=FitConfig(epochs=1), learning_rates=(1e-3,))
        return run_stress(backbone, replace(settings, train=16, validation=8, test=8, experiment=experiment), **options)

    run_stress = stress.run_stress
    monkeypatch.setattr(stress, "run_stress", small)
    options = ("--distractors", "0.2", "--pooling", "mean,adapool,glot", "--json", tmp_path / "out.json")
    assert command("stress", *options) == 0
    shown = capsys.readouterr()
    assert "strict protocol, minilm" in shown.out
    assert "seed 0, glot: accuracy" in shown.err
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [(each["pooling"], each["metric"], each["ratio"]) for each in results] == [
        (pooling, "accuracy", 0.2) for pooling in ("mean", "adapool", "glot")
    ]


def test_glue(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], minilm_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "rte").mkdir()
    for part in ("train", "validation"):
        lines = [f"The {thing} is here.\tThere is a {thing}.\t{i % 2}" for i, thing in enumerate(["cat", "dog"] * 8)]
        (tmp_path / "rte" / f"{part}.tsv").write_text("\n".join(["text_a\ttext_b\tlabel", *lines]) + "\n")
    options = ("--pooling", "mean", "--json", tmp_path / "out.json")
    assert command("glue", "--task", "rte", "--data", tmp_path, *options) == 0
    assert "rte" in capsys.readouterr().out
    [result] = json.loads((tmp_path / "out.json").read_text())["results"]
    assert (result["pooling"], result["metric"], result["task"], len(result["values"])) == (
        "mean",
        "accuracy",
        "rte",
        3,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stress", "--json", "missing/a.json"], "there is no folder missing"),
        (["stress", "--distractors", "most"], "--distractors must be numbers"),
        (["stress", "--distractors", "1.5"], "between 0 and 1; got 1.5"),
        (["stress", "--pooling", "median"], "pooling must be one of"),
        (["glue", "--task", "wnli", "--data", "."], "task must be one of"),
        (["glue", "--task", "rte", "--data", "nowhere"], "there is neither nowhere/rte/validation.tsv.gz"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not list(tmp_path.iterdir())
