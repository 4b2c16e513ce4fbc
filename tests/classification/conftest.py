from __future__ import annotations

import numpy as np
import pytest

from glot_rag.classification.fit import Examples
from glot_rag.classification.states import CachedStates
from glot_rag.models.backbone import Backbone

ANIMALS = ("cat", "dog", "horse", "cow", "sheep", "goat", "rabbit", "hen", "duck", "goose")
TOOLS = ("hammer", "saw", "drill", "spanner", "chisel", "axe", "plane", "vice", "file", "clamp")
SENTENCES = ("the {} is in the garden", "we looked for a {} all day long", "nobody here owns a {}")


@pytest.fixture(scope="session")
def animals_and_tools() -> tuple[list[str], list[str]]:
    """60 short texts in two classes, and the classes' names."""
    pairs = [
        (sentence.format(thing), name)
        for sentence in SENTENCES
        for name, things in (("animal", ANIMALS), ("tool", TOOLS))
        for thing in things
    ]
    return [text for text, _ in pairs], [name for _, name in pairs]


@pytest.fixture(scope="session")
def texts(animals_and_tools: tuple[list[str], list[str]]) -> list[str]:
    return animals_and_tools[0]


@pytest.fixture(scope="session")
def examples(animals_and_tools: tuple[list[str], list[str]]) -> Examples:
    labels = np.array([int(name == "tool") for name in animals_and_tools[1]])
    return Examples(np.arange(len(labels))[:, None], labels)


@pytest.fixture(scope="session")
def states(texts: list[str], minilm: Backbone, tmp_path_factory: pytest.TempPathFactory) -> CachedStates:
    return CachedStates(tmp_path_factory.mktemp("states"), texts, minilm)
