"""The script that puts pages into other languages keeps what is noise, line by line."""

from __future__ import annotations

import importlib
import itertools
import random
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("gather_foreign")


def test_a_page_keeps_its_layout_and_its_noise(foreign: ModuleType) -> None:
    text = "Home\nLog in\n\nThe council decided to rebuild the bridge.\nHome"
    page = {"text": text, "noise": [(0, 4), (5, 11), (len(text) - 4, len(text))]}
    chrome = [(4, "Inicio"), (6, "Acceder")]
    prose = itertools.cycle(["El puente es viejo."])
    translated, noise = foreign.in_language(page, chrome, prose, 1.2, random.Random(0))
    lines = translated.split("\n")
    assert len(lines) == 5
    assert {lines[0], lines[1]} <= {"Inicio", "Acceder"}
    assert lines[4] == lines[0], "a menu says the same each time"
    assert not lines[2]
    assert lines[3] == " ".join(["El puente es viejo."] * 3), "as long as the English line, at the language's ratio"
    assert [translated[start:end] for start, end in noise] == [lines[0], lines[1], lines[4]]
