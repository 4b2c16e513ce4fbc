"""The script that gathers training lines keeps out what the evaluation's boilerplate is made of."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from glot_rag.evaluation.noise import boilerplate


@pytest.fixture(scope="module")
def gather() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gather", Path(__file__).parents[2] / "benchmarks" / "gather.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_line_with_an_evaluation_templates_words(gather: ModuleType) -> None:
    rng = random.Random(0)
    lines = [boilerplate.boilerplate_line(rng) for _ in range(2000)]
    pattern = gather.evaluation_words()
    caught = [line for line in lines if pattern.search(gather.bare(line))]
    # Templates whose longest fixed part is a single word cannot be told from any line with that word.
    assert len(caught) > 0.85 * len(lines)
    assert not pattern.search(gather.bare("The trailing edge of the aerofoil is sharp."))


def test_a_page_is_prose_and_what_surrounds_it(gather: ModuleType) -> None:
    body = "The wing of a bird is an aerofoil that can be folded, and it is made of bones and of feathers. " * 2
    html = f"<nav>Home News Shop</nav><h1>Wings</h1><p>{body}</p><ul><li>See also</li></ul><script>var x</script>"
    texts, lines = gather.page(html, foreign=False, template=False, rng=random.Random(0))
    assert texts == [("Wings", " ".join(body.split()))]
    families = {line: family for family, line in lines}
    assert families["See also"] == "page"
    assert any(line.startswith("Home News Shop") for line in families)
    assert not any("bird" in line for line, family in families.items() if family == "page")
