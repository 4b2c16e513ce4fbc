"""Every example runs as it is, without a network, and says what it found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
# Slower than a minute, and tested in their parts: the README's `make demo`, and a training.
LONG = {"demo", "train_your_own"}
RUN = """
import runpy, socket, sys

def refuse(*arguments):
    raise OSError("an example reached for the network")

socket.socket.connect = socket.getaddrinfo = refuse
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_none_is_left_out() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*EXPECTED, *LONG}


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
