"""`glot-rag doctor`: what it says about a machine, its packages and models; and the shell's completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import glot_rag
from glot_rag.cli import doctor, machine
from glot_rag.cli.doctor import Extra, extras_of, next_steps
from glot_rag.cli.machine import Speed
from glot_rag.models.registry import locate

ROOT = Path(__file__).resolve().parents[2]
SPEEDS = [Speed("torch", "float32", 40.0), Speed("torch", "bfloat16", 80.0)]


@pytest.fixture(autouse=True)
def terminal_and_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough for every row; the build for CUDA would be advised against where there is no GPU."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("torch.version.cuda", None)


def row(shown: str, name: str) -> str:
    """What a table says after the name of a row."""
    return str(re.findall(rf"^{re.escape(name)}  +(.*?) *$", shown, re.MULTILINE)[0])


def test_it_shows_packages_models_and_speeds(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    minilm_folder: Path,
) -> None:
    monkeypatch.setattr(doctor, "measure", lambda: iter(SPEEDS))
    monkeypatch.setattr(doctor, "busy", lambda: 9.0)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    extras = [
        Extra("torch", ["torch 2.9"], ["transformers"]),
        Extra("documents", [], ["lxml"]),
        Extra("mteb", [], ["mteb", "transformers"]),
    ]
    monkeypatch.setattr(doctor, "extras_of", lambda _: extras)
    assert command("doctor", str(tmp_path), "someone/model") == 0
    shown = capsys.readouterr().out
    assert row(shown, "Processor").endswith(", 2 cores, load 9.0")
    assert row(shown, "torch").startswith("runs and trains models")
    assert re.split("  +", row(shown, "documents")) == ["reads HTML, PDF, Word, …", "lacks lxml"]
    assert re.split("  +", row(shown, "mteb")) == ["mteb", "lacks mteb"]
    assert re.split("  +", row(shown, "minilm")) == ["package", "words, blocks, adapool", str(minilm_folder)]
    assert row(shown, str(tmp_path)).split() == ["path", "none", str(tmp_path)]
    assert "not on this machine" in row(shown, "someone/model")
    bars = [line.count("█") for line in shown.splitlines() if line.startswith("torch ") and "█" in line]
    assert bars == [12, 24]
    assert re.search(r"all-MiniLM-L6-v2, loaded in [\d.]+ s, embeds [\d,]+ texts of 56 words a second", shown)
    assert "1. To read HTML, PDF, Word and more: pip install 'glot-rag[documents]'" in shown
    assert "2. The machine is busy (load 9.0 on 2 cores)" in shown


def test_the_same_as_json(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    minilm_folder: Path,
) -> None:
    monkeypatch.setattr(doctor, "measure", lambda: iter(SPEEDS[:1]))
    monkeypatch.setattr(doctor, "_embedding", lambda: doctor.Embedding(1.5, 56, 100.0))
    monkeypatch.setattr(doctor, "extras_of", lambda _: [Extra("documents", [], ["lxml"])])
    monkeypatch.setenv("GLOT_RAG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "e5").mkdir(parents=True)
    (tmp_path / "cache" / "e5" / "model").write_bytes(bytes(2_100_000))
    assert command("doctor", "--json", "someone/model") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == glot_rag.__version__
    assert found["machine"]["Cache"] == f"{tmp_path / 'cache'}, 2 MB"
    assert found["extras"] == [{"name": "documents", "present": [], "missing": ["lxml"]}]
    minilm, other = found["models"][0], found["models"][-1]
    assert minilm == {
        "name": "minilm",
        "found_in": "package",
        "path": str(minilm_folder),
        "heads": ["words", "blocks", "adapool"],
    }
    assert other == {"name": "someone/model", "found_in": None, "path": None, "heads": []}
    assert found["speeds"] == [{"runtime": "torch", "dtype": "float32", "gflops": 40.0}]
    assert found["embedding"] == {"load_seconds": 1.5, "words": 56, "texts_a_second": 100.0}
    assert found["next"][0] == "To read HTML, PDF, Word and more: pip install 'glot-rag[documents]'"


def test_without_anything_that_runs_a_model_the_exit_code_is_1(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "measure", lambda: iter([]))
    assert command("doctor") == 1
    assert "1. Nothing can run a model: pip install 'glot-rag[minilm]'" in capsys.readouterr().out


def test_steps_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "busy", lambda: 0.0)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 64)
    complete, *_ = next_steps([Extra("openvino", ["openvino 2026.4"], [])], SPEEDS)
    assert complete == "Nothing is missing. Begin with: glot-rag index FOLDER --out my-index"
    (step, _) = next_steps([Extra("openvino", [], ["openvino"])], SPEEDS)
    assert "pip install 'glot-rag[openvino,export]'" in step
    step, *_ = next_steps([], [Speed("onnxruntime", "float32", 40.0)])
    assert "only exported models run: pip install 'glot-rag[minilm]'" in step
    monkeypatch.setattr(doctor, "locate", lambda _: None)
    (step, _) = next_steps([], SPEEDS)
    assert "pip install 'glot-rag[minilm]' brings its files" in step
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "busy", lambda: None)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 0.5)
    import torch

    assert f"torch uses {torch.get_num_threads()} threads, but 0.5 cores are allowed: export OMP_NUM_THREADS=1" in (
        next_steps([], SPEEDS)
    )


def test_extras_are_those_of_the_installed_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "some_tool-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: some-tool\nVersion: 1.0\nRequires-Dist: numpy\n"
        "Provides-Extra: dev\nProvides-Extra: onnx\nProvides-Extra: torch\nProvides-Extra: unknown\n"
        "Requires-Dist: numpy>=1; extra == 'torch'\n"
        "Requires-Dist: numpy<1; extra == 'onnx'\n"
        "Requires-Dist: no-such-package; extra == 'onnx'\n"
        "Requires-Dist: no-such-package; (python_version < '3') and extra == 'torch'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(extras_of("some-tool")) == [
        Extra("torch", [f"numpy {np.__version__}"], []),
        Extra("onnx", [], [f"numpy<1, not {np.__version__}", "no-such-package"]),
        Extra("unknown", [], []),
    ]
    assert list(extras_of("not-installed")) == []


def test_every_extra_has_its_purpose() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    names = set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
    assert names - set(doctor._NOT_SHOWN) == set(doctor.PURPOSES)


def test_a_model_is_located_without_being_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm_folder: Path
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--someone--model"
    (model / "snapshots" / "abc").mkdir(parents=True)
    (model / "snapshots" / "abc" / "config.json").write_text("{}")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    assert locate("minilm") == ("package", minilm_folder)
    assert locate(str(tmp_path)) == ("path", tmp_path)
    assert locate("someone/model") == ("hub cache", (model / "snapshots" / "abc").resolve())
    assert locate("someone/other") is None
    assert locate("../nowhere/at/all") is None


def test_instructions_and_name_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: ["model name\t: Xeon 8", "flags\t\t: sse avx2 avx512f amx_tile"])
    assert machine.processor() == "Xeon 8"
    assert machine.instructions() == {"AVX2": True, "AVX-512": True, "VNNI": False, "BF16": False, "AMX": True}
    monkeypatch.setattr(machine, "_cpuinfo", lambda: ["Features\t: fp asimd asimddp bf16"])
    assert machine.instructions() == {"BF16": True, "dot product": True, "int8 products": False, "SVE": False}
    monkeypatch.setattr(machine, "_cpuinfo", list)
    assert machine.instructions() is None
    assert machine.processor()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({"cpu.max": "damaged"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_a_container_may_be_allowed_fewer_cores(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert machine._quota(tmp_path) == cores


def test_every_installed_runtime_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def fastest(run: object) -> float:
        run()  # type: ignore[operator]
        calls.append(run)
        return 2 * 1024 * 384 * 1536 / 5e9

    monkeypatch.setattr(machine, "_fastest", fastest)
    found = list(machine.measure())
    assert {(speed.runtime, speed.dtype) for speed in found} >= {
        ("torch", "float32"),
        ("torch", "bfloat16"),
        ("onnxruntime", "float32"),
    }
    assert [speed.gflops for speed in found] == pytest.approx([5.0] * len(calls))


def test_a_runtime_that_cannot_be_loaded_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("libfoo.so is missing")

    monkeypatch.setattr(machine, "_fastest", lambda _: 1.0)
    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    assert {speed.runtime for speed in machine.measure()} - {"openvino"} == {"torch"}
    assert "onnxruntime is installed, but cannot be used: libfoo.so is missing" in caplog.text


def test_the_onnx_product_is_the_product_that_it_says() -> None:
    session = onnxruntime.InferenceSession(machine._PRODUCT)
    states = np.random.default_rng(0).standard_normal((1024, 384)).astype(np.float32)
    (found,) = session.run(None, {"x": states})
    np.testing.assert_allclose(found, np.repeat(states.sum(1, keepdims=True), 1536, 1), atol=1e-3)


def test_the_shell_completes_commands_and_options() -> None:
    def complete(line: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_GLOT_RAG_COMPLETE": "complete_bash"}
        code = "import sys; sys.argv = ['glot-rag']; from glot_rag.cli.app import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True, timeout=120
        )
        return done.stdout.split()

    assert complete("glot-rag ex") == ["explain", "export", "export-index"]
    assert complete("glot-rag search --mo") == ["--mode"]
