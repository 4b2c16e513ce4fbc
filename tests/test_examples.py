"""Every example runs as it is, without a network, and says what it found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
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
RUN = """
import runpy, socket, sys

def refuse(*arguments):
    raise OSError("an example reached for the network")

socket.socket.connect = socket.getaddrinfo = refuse
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_none_is_left_out() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*EXPECTED, *OTHERS}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_example(name: str, minilm_folder: Path, tmp_path: Path) -> None:
    needs, phrases = EXPECTED[name]
    pytest.importorskip(needs, reason="the example's framework is not installed")
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    for phrase in phrases:
        assert phrase in result.stdout, result.stdout
    if name not in ("classify_noisy", "hybrid_search"):
        # Last is what was asked of the noisiest documents.
        right = {pooling: float(count or measure) for pooling, count, measure in RIGHT.findall(result.stdout)}
        assert right["fitted"] > right["mean"], result.stdout
    assert not list(tmp_path.iterdir()), "an example left files behind"


def test_training_for_a_backbone_of_ones_own(
    tiny: Callable[[str], Backbone], prose: list[tuple[str, str]], tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text, "title": name}) + "\n" for name, text in prose[:150]))
    options = [str(texts), "--backbone", tiny("bert").source.location, "--texts", "60", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(EXAMPLES / "train_your_own.py"), *options],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = re.search(r"F1 of the words kept (0\.\d+), of keeping everything (0\.\d+)", result.stdout)
    assert found is not None, result.stdout
    assert float(found[1]) > float(found[2]) + 0.2
    assert "can no longer carry heavy lorries" in result.stdout
    assert "Terms of use" not in result.stdout
