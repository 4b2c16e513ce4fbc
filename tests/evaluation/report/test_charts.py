"""The pictures hold the values of the report, in one palette."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation import Report, save_picture
from glot_rag.evaluation.report.charts import page_curves, styles


def test_styles_tell_many_methods_apart() -> None:
    drawn = styles(["mean", *(f"method {number}" for number in range(12))])
    assert len({(each.colour, each.broken) for each in drawn.values()}) == 13
    assert [each.broken for each in drawn.values()] == [False] * 8 + [True] * 5


def test_curves_for_the_page_are_parts_of_a_page(report: Report) -> None:
    [(kind, svg)] = page_curves(report, "ndcg@10")
    assert kind == "words"
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert not re.search(r"https?:|xmlns|#000000|DejaVu", svg)
    assert svg.count('class="curve"') == 3  # the oracle, mean, GLOT
    ids = re.findall(r'\sid="([^"]*)"', svg)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"(?:href=\"#|url\(#)([^\")]*)", svg)) <= set(ids)
    assert page_curves(report, "ndcg@10") == [(kind, svg)]


@pytest.mark.parametrize(("name", "start"), [("picture.png", b"\x89PNG"), ("picture.svg", b"<?xml")])
def test_picture(report: Report, tmp_path: Path, name: str, start: bytes) -> None:
    save_picture(report, tmp_path / name)
    save_picture(report, tmp_path / f"again-{name}")
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    assert content == (tmp_path / f"again-{name}").read_bytes()


def test_picture_draws_the_values(report: Report) -> None:
    from glot_rag.evaluation.report.charts import _curves

    [panel] = _curves(report, ["words"], "ndcg@10").axes
    lines = {line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in panel.lines}
    assert lines.keys() == {"oracle", "mean", "GLOT"}
    assert lines["oracle"] == [(0.0, pytest.approx(39.6)), (0.8, pytest.approx(36.0))]
    assert lines["mean"] == [(0.0, pytest.approx(39.6)), (0.8, pytest.approx(20.0))]
    assert lines["GLOT"] == [(0.0, pytest.approx(39.1)), (0.8, pytest.approx(32.0))]


def test_picture_refuses(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"saved as \.png or \.svg, got '.*picture\.gif'"):
        save_picture(report, tmp_path / "picture.gif")
    clean = dataclasses.replace(report, results=[each for each in report.results if each.noise == "none"])
    with pytest.raises(InputError, match="no documents that noise was added to"):
        save_picture(clean, tmp_path / "picture.png")
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"matplotlib.*glot-rag\[eval\]"):
        save_picture(report, tmp_path / "picture.png")
