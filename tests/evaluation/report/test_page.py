from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from glot_rag.errors import MissingExtraError
from glot_rag.evaluation import Comparison, Report, save_page
from glot_rag.evaluation.report import page as page_module
from glot_rag.evaluation.significance import Loss


@pytest.fixture
def full(report: Report) -> Report:
    loss = Loss("q1", "what <b>lifts</b>", 0.1, 0.9, "d1", "first & noisy", "d2", "wanted text")
    compared = Comparison(0.12, [0.05, 0.2], 0.001, wins=150, losses=50, ties=25, p_holm=0.002, worst=[loss])
    last = dataclasses.replace(report.results[-1], interval=[0.3, 0.34], against_mean=compared)
    clean = dataclasses.replace(report.results[1], against_mean=dataclasses.replace(compared, p_holm=None))
    return dataclasses.replace(
        report,
        results=[report.results[0], clean, report.results[2], last],
        collection="a <script>",
        collection_hash="c0ffee",
        costs={"mean": 20.0, "GLOT": 5.0},
        encoders={"glot": "fee1dead" * 8},
        setup={"dtype": "bfloat16", "noise": "none words:0.8"},
        versions={"python": "3.99"},
    )


def test_the_page_holds_values_tests_and_settings(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    for expected in ("words 80%", "32.0", "[30.0, 34.0]", "36.0", "75%", "+12.0", "0.0020", "150–50"):
        assert expected in soup.find("table").get_text("|")
    assert [each.get_text() for each in soup.find_all("summary")] == [
        "GLOT, no noise added: 1 query",
        "GLOT, words 80%: 1 query",
    ]
    assert "what <b>lifts</b>" in soup.find("details").get_text()
    assert "Put first: first & noisy" in soup.find("details").get_text()
    assert soup.find("h1").get_text().startswith("a <script>")
    assert len(soup.find_all("svg")) == 1
    assert len(soup.find_all("g", "band")) == 1  # one result has an interval


def test_many_systems_are_told_apart_and_two_bands_are_drawn(full: Report, tmp_path: Path) -> None:
    names = ["mean", *(f"system {number}" for number in range(9))]
    results = [
        dataclasses.replace(each, pooling=name, interval=[0.1, 0.2], metrics={**each.metrics, "ndcg@10": number / 10})
        for each in (full.results[1], full.results[3])
        for number, name in enumerate(names)
    ]
    save_page(dataclasses.replace(full, results=results), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser")
    assert "bands (of mean and the best)" in text
    drawn = [_stroke(each) for each in soup.find_all("g", "curve")[1:]]  # after the oracle
    assert len(drawn) == len(set(drawn)) == len(names)
    assert [re.search(r"fill: (#\w+)", str(each))[1] for each in soup.find_all("g", "band")] == [
        drawn[0][0],
        drawn[-1][0],
    ]
    fills = [each.i["style"] for each in soup.find("div", "key").find_all("span") if each.i.has_attr("style")]
    assert len(set(fills)) == len(names)


def _stroke(group: Tag) -> tuple[str, bool]:
    """Colour of a curve, and whether it is broken."""
    style = group.find("path")["style"]
    return re.search(r"stroke: (#\w+)", style)[1], "dasharray" in style


def test_bars_by_kind_of_noise_and_cost(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    figures = {each.figcaption.get_text() if each.figcaption else "cost": each for each in soup.find_all("figure")}
    assert list(figures) == ["words", "no noise added", "words 80%", "cost"]
    bars = {
        name: [(row.span.get_text(), row.b["style"].split(";")[0], row.find_all("span")[-1].get_text()) for row in rows]
        for name, each in figures.items()
        if (rows := each.find_all("div", "bar"))
    }
    # The longest bar of quality is the highest value of the report, an end of an interval or the oracle: 39.6.
    assert bars["no noise added"] == [("mean", "width:100.00%", "39.6"), ("GLOT", f"width:{39.1 / 0.396:.2f}%", "39.1")]
    assert bars["words 80%"] == [
        ("mean", f"width:{20 / 0.396:.2f}%", "20.0"),
        ("GLOT", f"width:{32 / 0.396:.2f}%", "32.0"),
    ]
    assert bars["cost"] == [("mean", "width:100.00%", "20"), ("GLOT", "width:25.00%", "5.0")]
    assert [each.get_text() for each in figures["words 80%"].find_all("span", "best")] == ["32.0"]
    assert figures["words 80%"].u["style"] == f"left:{36 / 0.396:.2f}%"


def test_every_setting_and_hash_is_listed(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    names, values = ([each.find(string=True) for each in soup.find_all(tag)] for tag in ("dt", "dd"))
    assert dict(zip(names, values, strict=True)) == {
        "collection": "a <script>",
        "collection hash": "c0ffee",
        "seed": "0",
        "words of a noisy document": "170",
        "documents found": "100 a query",
        "metrics": "ndcg@10",
        "dtype": "bfloat16",
        "noise": "none words:0.8",
        "encoder glot": "fee1dead" * 8,
        "python": "3.99",
    }


def test_the_page_asks_the_network_for_nothing(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|@import|url\((?!#)|\bsrc=", text)
    assert {each for each in re.findall(r'href="([^"]*)"', text) if not each.startswith("#")} == {"data:,"}


def test_a_page_without_ndcg(full: Report, tmp_path: Path) -> None:
    """Many methods, of which no nDCG was measured: bands and comparisons are left out."""
    results = [
        dataclasses.replace(
            full.results[3], pooling=f"method {number}", metrics={"mrr@10": 0.5}, oracle={"mrr@10": 0.6},
            interval=None, against_mean=None,
        )
        for number in range(8)
    ]  # fmt: skip
    save_page(dataclasses.replace(full, results=results), tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    assert "MRR@10 × 100" in soup.p.get_text()
    assert [each.get_text() for each in soup.find_all("tr")[2].find_all("td")][:3] == ["method 0", "50.0", "–"]
    assert "which was not measured" in soup.get_text()
    assert not soup.find_all("g", "band")


def test_a_notebook_shows_a_table(full: Report) -> None:
    soup = BeautifulSoup(full._repr_html_(), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in soup.find_all("tr")]
    assert rows == [
        ["", "no noise added", "words 80%"],
        ["mean", "39.6", "20.0"],
        ["GLOT", "39.1", "32.0"],
        ["oracle", "39.6", "36.0"],
    ]
    assert [each.get_text() for each in soup.find_all("b")] == ["39.6", "32.0"]
    assert "a <script>" in soup.caption.get_text()


def test_without_jinja(full: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    page_module._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"jinja2.*glot-rag\[eval\]"):
        full._repr_html_()
