from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_state import global_random_state_unchanged
from transformers import BertConfig, BertModel

from glot_rag.denoise.noisy_views import NoiseGenerator
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import TrainingError
from glot_rag.head import BaselinePooling, load_head
from glot_rag.head.config import HeadConfig
from glot_rag.head.fit import Epoch, Measured
from glot_rag.models.backbone import Backbone
from glot_rag.training import loop
from glot_rag.training.config import TrainingConfig
from glot_rag.training.loop import train
from glot_rag.training.texts import TrainingText

HEAD = HeadConfig(state_size=384, hidden_size=16)
CONFIG = TrainingConfig(views=1, epochs=3, batch_size=16, validation=0.2, denoising=1.0, contrastive=0.1, tokens=0.3)
Run = Callable[..., list[Epoch]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def short_minilm() -> Backbone:
    return Backbone.load("minilm", device="cpu", dtype="float32", max_tokens=48)


@pytest.fixture(scope="module")
def texts(prose: list[tuple[str, str]]) -> list[TrainingText]:
    return [TrainingText(text, name if i % 4 else "") for i, (name, text) in enumerate(prose[:60])]


@pytest.fixture(scope="module")
def run(texts: list[TrainingText], short_minilm: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train on 60 texts, over hidden states that are computed once."""
    cache = tmp_path_factory.mktemp("cache")

    def train_into(out: Path, head: HeadConfig = HEAD, config: TrainingConfig = CONFIG, **more: Any) -> list[Epoch]:
        read = more.pop("texts", texts), more.pop("backbone", short_minilm)
        return train(*read, head, config, out, **{"cache": cache, **more})

    return train_into


@pytest.fixture(scope="module")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Epoch]]:
    out = tmp_path_factory.mktemp("finished")
    return out, run(out)


def same(one: Path, other: Path) -> None:
    for name in ("head.safetensors", "config.json", "history.json", "state/state.json", "state/epoch-3.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_the_same_seed_gives_the_same_bits(
    finished: tuple[Path, list[Epoch]], run: Run, texts: list[TrainingText], tmp_path: Path
) -> None:
    torch.manual_seed(12345)  # whatever the caller did with torch's own generator
    with global_random_state_unchanged():
        assert run(tmp_path / "again") == finished[1]
    same(tmp_path / "again", finished[0])
    other = dataclasses.replace(CONFIG, seed=1, epochs=1)
    assert run(tmp_path / "other", config=other, cache=tmp_path / "cache", texts=texts[:12]) != finished[1][:1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("when", ["after the epoch", "within the next epoch", "before its state is saved"])
def test_a_killed_run_goes_on_and_gives_the_same_bits(
    when: str, finished: tuple[Path, list[Epoch]], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, loss, calls = loop._Run.save, loop._Run._loss, {"save": 0, "loss": 0}

    def killed_save(self: Any) -> None:
        calls["save"] += 1
        if when == "before its state is saved" and calls["save"] == 2:
            raise Killed
        save(self)
        if when == "after the epoch":
            raise Killed

    def killed_loss(self: Any, *arguments: Any) -> Any:
        calls["loss"] += calls["save"]  # counts from the second epoch on
        if when == "within the next epoch" and calls["loss"] == 2:
            raise Killed
        return loss(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "save", killed_save)
        patch.setattr(loop._Run, "_loss", killed_loss)
        with pytest.raises(Killed):
            run(tmp_path)
    assert len(json.loads((tmp_path / "state" / "state.json").read_text())["history"]) == 1
    assert run(tmp_path) == finished[1]
    same(tmp_path, finished[0])


def test_a_killed_process_goes_on(finished: tuple[Path, list[Epoch]], run: Run, tmp_path: Path) -> None:
    """SIGKILL between two writes of the state: no handler, no flush."""
    code = f"""
import os, signal
from pathlib import Path
from glot_rag.training import loop
import test_training_loop as t

write = loop.write_atomically
def killed(path, data):
    if path.name == "state.json" and b'"number": 2' in data:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
loop.write_atomically = killed
import json
texts = [t.TrainingText(*pair) for pair in json.loads(Path({str(tmp_path / "texts.json")!r}).read_text())]
backbone = t.Backbone.load("minilm", device="cpu", dtype="float32", max_tokens=48)
t.train(texts, backbone, t.HEAD, t.CONFIG, {str(tmp_path / "out")!r}, cache={str(_cache_of(run))!r})
"""
    texts = _closure(run)["texts"]
    (tmp_path / "texts.json").write_text(json.dumps([dataclasses.astuple(text) for text in texts]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *Path(__file__).parents[:2])))},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert len(json.loads((tmp_path / "out" / "state" / "state.json").read_text())["history"]) == 1
    assert run(tmp_path / "out") == finished[1]
    same(tmp_path / "out", finished[0])


def _closure(run: Run) -> dict[str, Any]:
    code, cells = run.__code__, run.__closure__  # type: ignore[attr-defined]
    return dict(zip(code.co_freevars, (cell.cell_contents for cell in cells), strict=True))


def _cache_of(run: Run) -> Path:
    return Path(_closure(run)["cache"])


def test_a_finished_run_is_left_as_it_is(finished: tuple[Path, list[Epoch]], run: Run) -> None:
    out, history = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(out) == history
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_what_is_written(finished: tuple[Path, list[Epoch]], short_minilm: Backbone) -> None:
    out, history = finished
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "head.safetensors", "history.json", "state"]
    assert [epoch.number for epoch in history] == [1, 2, 3]
    head, details = load_head(out)
    assert head.config == HEAD
    assert details["backbone"] == "minilm"
    assert details["backbone_fingerprint"] == short_minilm.fingerprint
    assert details["training"] == json.loads(json.dumps(dataclasses.asdict(CONFIG)))
    assert details["texts"] == 60
    best = min(history, key=lambda epoch: epoch.validation)
    assert details["validation"] == dataclasses.asdict(best)
    assert json.loads((out / "history.json").read_text()) == [dataclasses.asdict(epoch) for epoch in history]


def test_the_loss_is_the_weighted_sum_of_its_parts(finished: tuple[Path, list[Epoch]]) -> None:
    for epoch in finished[1]:
        weighted = sum(getattr(CONFIG, name) * value for name, value in epoch.parts.items())
        assert epoch.validation == pytest.approx(weighted, rel=1e-5)
        assert set(epoch.parts) == {"denoising", "contrastive", "tokens"}


def test_the_first_epochs_denoising_loss_starts_at_mean_poolings(run: Run, tmp_path: Path, texts: list[TrainingText],
                                                                 short_minilm: Backbone) -> None:  # fmt: skip
    """With a learning rate of nearly 0 the head stays mean pooling, whose loss can be worked out by itself."""
    still = dataclasses.replace(CONFIG, epochs=1, learning_rate=1e-12)
    (epoch,) = run(tmp_path, config=still)
    held_out = np.sort(np.random.default_rng([0, 1]).permutation(60)[:12])
    generator = NoiseGenerator([text.text for text in texts], 0)
    mean = TorchEncoder(short_minilm, BaselinePooling("mean", 384))
    views = [generator.view(int(index), 0) for index in held_out]
    noisy = mean.encode_documents([view.text for view in views])
    clean = mean.encode_documents([view.signal for view in views])
    assert epoch.parts["denoising"] == pytest.approx(1 - (noisy * clean).sum(axis=1).mean(), abs=1e-5)


PAPER = HeadConfig(state_size=384, hidden_size=16, form="paper", convolution="gcn")


@pytest.mark.parametrize(
    ("head", "denoising"),
    [
        (HeadConfig(state_size=384, pooling="adapool"), 1.0),
        (dataclasses.replace(PAPER, output_size=384), 1.0),
        (PAPER, 0.0),
    ],
    ids=["adapool", "paper, projected", "paper, contrastive only"],
)
def test_other_heads_train_and_load(
    head: HeadConfig, denoising: float, run: Run, tmp_path: Path, short_minilm: Backbone
) -> None:
    history = run(tmp_path, head=head, config=dataclasses.replace(CONFIG, epochs=1, denoising=denoising))
    assert math.isfinite(history[0].validation)
    loaded, _ = load_head(tmp_path)
    assert loaded.config == head
    assert not torch.equal(loaded.score_layer[2].weight, torch.zeros_like(loaded.score_layer[2].weight))
    assert TorchEncoder(short_minilm, loaded).encode_documents(["a text"]).shape == (1, loaded.output_size)


def test_denoising_needs_vectors_of_the_backbones_length(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match="vectors of length 384, the head's have 416: set form='paper' and output_size=384, or den"
    ):
        run(tmp_path, head=PAPER)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Backbone:
    """A BERT of random weights with vectors of another length than the student's."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    BertModel(
        BertConfig(vocab_size=30_522, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    ).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm_folder / name, folder)
    return Backbone.load(str(folder), device="cpu", dtype="float32", max_tokens=48)


def test_a_teachers_space_is_learned(
    run: Run, tmp_path: Path, teacher: Backbone, short_minilm: Backbone, texts: list[TrainingText]
) -> None:
    head = dataclasses.replace(PAPER, output_size=32)
    config = dataclasses.replace(CONFIG, epochs=8, contrastive=0.0, learning_rate=1e-2)
    history = run(tmp_path / "out", head=head, config=config, teacher=teacher, cache=tmp_path / "cache")
    assert history[-1].parts["denoising"] < 0.5 * history[0].parts["denoising"]
    record = json.loads((tmp_path / "out" / "config.json").read_text())["details"]
    assert record["teacher_fingerprint"] == teacher.fingerprint
    # Texts and queries alike land nearer to the teacher's vector of the same words than to any other's.
    taught = TorchEncoder(short_minilm, load_head(tmp_path / "out")[0])
    wanted = TorchEncoder(teacher, BaselinePooling("mean", 32))
    clean, queries = [text.text for text in texts], [text.query for text in texts if text.query]
    for given, expected in (
        (taught.encode_documents(clean), wanted.encode_documents(clean)),
        (taught.encode_queries(queries), wanted.encode_documents(queries)),
    ):
        assert (given * expected).sum(axis=1).mean() > 0.9


def test_a_teacher_needs_its_length_and_the_heads_own_queries(run: Run, tmp_path: Path, teacher: Backbone) -> None:
    with pytest.raises(
        TrainingError, match="teacher's vectors of length 32, the head's have 416: set form='paper' and"
    ):
        run(tmp_path, head=PAPER, teacher=teacher)
    head = HeadConfig(state_size=384, pooling="adapool")
    with pytest.raises(TrainingError, match="queries would be mean-pooled in the backbone"):
        run(tmp_path, head=head, teacher=teacher, config=dataclasses.replace(CONFIG, denoising=0.0))


@pytest.mark.parametrize("layers", [(2, -1), (6,)])
def test_a_head_cannot_drop_after_the_last_layer(run: Run, tmp_path: Path, layers: tuple[int, ...]) -> None:
    config = dataclasses.replace(CONFIG, denoising=0.0, contrastive=0.0)
    with pytest.raises(TrainingError, match="layers must lie below the last"):
        run(tmp_path, head=HeadConfig(state_size=384, hidden_size=16, form="drop", layers=layers), config=config)
    assert not list(tmp_path.rglob("*.bin"))  # told before anything is computed


def test_the_validation_loss_falls(prose: list[tuple[str, str]], minilm_folder: Path, tmp_path: Path) -> None:
    texts = [TrainingText(text, name) for name, text in prose[:200]]
    assert len(texts) == 200
    config = dataclasses.replace(CONFIG, epochs=5, batch_size=16, learning_rate=3e-3, validation=0.2)
    shorter = Backbone.load("minilm", device="cpu", dtype="float32", max_tokens=28)
    history = train(texts, shorter, HEAD, config, tmp_path)
    losses = [epoch.validation for epoch in history]
    assert min(losses[1:]) < losses[0] - 0.01, losses
    tokens = [epoch.parts["tokens"] for epoch in history]
    assert min(tokens[1:]) < tokens[0], tokens


def test_training_stops_when_nothing_gets_better(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends the run, and the head of the best epoch is kept."""
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.5])
    monkeypatch.setattr("glot_rag.training.loop._Run._measure", lambda self, cache: Measured(next(losses)))
    history = run(tmp_path, config=dataclasses.replace(CONFIG, epochs=9, patience=2))
    assert [epoch.validation for epoch in history] == [3.0, 1.0, 2.0, 1.5]
    assert load_head(tmp_path)[1]["validation"]["number"] == 2


@pytest.mark.parametrize("change", ["head", "seed", "count", "texts", "backbone"])
def test_a_directory_of_another_run_is_refused(
    change: str, finished: tuple[Path, list[Epoch]], run: Run, texts: list[TrainingText], tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {
        "head": {"head": dataclasses.replace(HEAD, threshold=0.6)},
        "seed": {"config": dataclasses.replace(CONFIG, seed=9)},
        "count": {"texts": texts[:-1], "cache": tmp_path},
        "texts": {"texts": [*texts[:-1], TrainingText(texts[0].text + " again", "")], "cache": tmp_path},
        "backbone": {"cache": tmp_path},
    }[change]
    if change == "backbone":
        arguments["backbone"] = Backbone.load("minilm", device="cpu", dtype="float32", max_tokens=40)
    before = (finished[0] / "head.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="holds a run with other settings or texts: choose another directory"):
        run(finished[0], **arguments)
    assert (finished[0] / "head.safetensors").read_bytes() == before


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_texts(count: int, run: Run, texts: list[TrainingText], tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=f"{count} texts are too few to train on and hold some out; give at least 4"
    ):
        run(tmp_path, texts=texts[:count], cache=tmp_path / "cache")


def test_a_diverged_loss_stops_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "denoising_loss", lambda vectors, targets: vectors.sum() * float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1: lower the learning rate"):
        run(tmp_path)
    assert not (tmp_path / "head.safetensors").exists()


def test_every_text_is_shown_once_an_epoch_and_every_view_in_turn(run: Run, texts: list[TrainingText]) -> None:
    class Lengths:
        ends = np.concatenate([[0], np.random.default_rng(0).integers(5, 90, 240).cumsum()])

    config = dataclasses.replace(CONFIG, views=3, batch_size=7)
    chosen = np.arange(0, 60, 2)
    shown: dict[int, list[int]] = {int(text): [] for text in chosen}
    orders = []
    for epoch in (1, 2, 3):
        batches = list(loop._batches(chosen, Lengths(), config, epoch))  # type: ignore[arg-type]
        rows = np.concatenate([batch.rows for batch in batches])
        assert sorted(rows // 4) == chosen.tolist()
        assert max(len(rows) for rows, _ in batches) == 7
        for row in rows:
            shown[row // 4].append(row % 4)
        for rows, queries in batches:
            assert np.array_equal(queries, rows // 4 * 4 + 3)
        orders.append((rows // 4).tolist())
    assert all(sorted(views) == [0, 1, 2] for views in shown.values())
    assert orders[0] != orders[1] != orders[2]
