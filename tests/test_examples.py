"""Every example runs as it is, without a network, and says what it found."""

from __future__ import annotations

import json
import re
import runpy
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from glot_rag.models.backbone import Backbone

EXAMPLES = Path(__file__).parents[1] / "examples"
# name: (what it needs, what it prints)
EXPECTED = {
    "langchain_rag": ("langchain_core", ["Only pages in German", "Der Reisepass wird im Rathaus", "The chain;"]),
    "llama_index_rag": ("llama_index.core", ["Right page first", "waste department"]),
    "sentence_transformers_rag": ("sentence_transformers", ["Modules: GlotTransformer, Pooling", "Saved and loaded"]),
    "mteb_local": ("mteb", ["ndcg_at_10", "minilm-glot-denoised, revision"]),
    "classify_noisy": ("sklearn", ["accuracy", "glot, noisy views", "Saved and loaded"]),
    "hybrid_search": ("snowballstemmer", ["keyword: X-4410 parts list", "hybrid: X-4410 overheating"]),
    "haystack_rag": ("haystack", ["The pipeline's prompt", "[drill]"]),
}
# How many questions each finds the answer to, or its measures.
RIGHT = re.compile(r"\b(mean|fitted) +(?:(\d+) (?:of|and) \d|(0\.\d+))")
OTHERS = {"demo", "train_your_own"}  # the README's `make demo`, tested in its parts, and the training below
Run = Callable[..., str]


def refuse(*_: object) -> None:
    raise OSError("an example reached for the network")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example in this process, which has loaded torch already, and gives back what it printed."""

    def run(name: str, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with warnings.catch_warnings():
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_none_is_left_out() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*EXPECTED, *OTHERS}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_example(name: str, minilm_folder: Path, tmp_path: Path, run: Run) -> None:
    needs, phrases = EXPECTED[name]
    pytest.importorskip(needs, reason="the example's framework is not installed")
    printed = run(name)
    for phrase in phrases:
        assert phrase in printed, printed
    if name not in ("classify_noisy", "hybrid_search"):
        # Last is what was asked of the noisiest documents.
        right = {pooling: float(count or measure) for pooling, count, measure in RIGHT.findall(printed)}
        assert right["fitted"] > right["mean"], printed
    assert not list(tmp_path.iterdir()), "an example left files behind"


def test_training_for_a_backbone_of_ones_own(
    tiny: Callable[[str], Backbone], prose: list[tuple[str, str]], tmp_path: Path, run: Run
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text, "title": name}) + "\n" for name, text in prose[:150]))
    backbone = tiny("bert").source.location
    printed = run("train_your_own", str(texts), "--backbone", backbone, "--texts", "60", "--out", str(tmp_path / "out"))
    found = re.search(r"F1 of the words kept (0\.\d+), of keeping everything (0\.\d+)", printed)
    assert found is not None, printed
    assert float(found[1]) > float(found[2]) + 0.2
    assert "can no longer carry heavy lorries" in printed
    assert "Terms of use" not in printed
