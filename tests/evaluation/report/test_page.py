from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from glot_rag.evaluation import Comparison, Report, save_page
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
        dataset="a <script>",
        dataset_hash="c0ffee",
        costs={"mean": 20.0, "glot": 5.0},
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
        "glot, clean: 1 query",
        "glot, words 80%: 1 query",
    ]
    assert "what <b>lifts</b>" in soup.find("details").get_text()
    assert "Put first: first & noisy" in soup.find("details").get_text()
    assert soup.find("h1").get_text().startswith("a <script>")
    assert len(soup.find_all("svg")) == 1
    assert len(soup.find_all("polygon")) == 1  # one band: one result has an interval


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
    drawn = [(each["stroke"], each.get("stroke-dasharray")) for each in soup.find_all("polyline", stroke=True)]
    assert len(drawn) == len(set(drawn)) == len(names)
    assert [each["fill"] for each in soup.find_all("polygon")] == [drawn[0][0], drawn[-1][0]]
    fills = [each.i["style"] for each in soup.find("div", "key").find_all("span") if each.i.has_attr("style")]
    assert len(set(fills)) == len(names)


def test_bars_by_kind_of_noise_and_cost(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    figures = {each.figcaption.get_text() if each.figcaption else "cost": each for each in soup.find_all("figure")}
    assert list(figures) == ["words", "clean", "words 80%", "cost"]
    bars = {
        name: [(row.span.get_text(), row.b["style"].split(";")[0], row.find_all("span")[-1].get_text()) for row in rows]
        for name, each in figures.items()
        if (rows := each.find_all("div", "bar"))
    }
    # The longest bar of quality is the highest value of the report, an end of an interval or the ceiling: 39.6.
    assert bars["clean"] == [("mean", "width:100.00%", "39.6"), ("glot", f"width:{39.1 / 0.396:.2f}%", "39.1")]
    assert bars["words 80%"] == [
        ("mean", f"width:{20 / 0.396:.2f}%", "20.0"),
        ("glot", f"width:{32 / 0.396:.2f}%", "32.0"),
    ]
    assert bars["cost"] == [("mean", "width:100.00%", "20"), ("glot", "width:25.00%", "5.0")]
    assert [each.get_text() for each in figures["words 80%"].find_all("span", "best")] == ["32.0"]
    assert figures["words 80%"].u["style"] == f"left:{36 / 0.396:.2f}%"


def test_every_setting_and_hash_is_listed(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    names, values = ([each.find(string=True) for each in soup.find_all(tag)] for tag in ("dt", "dd"))
    assert dict(zip(names, values, strict=True)) == {
        "dataset": "a <script>",
        "dataset hash": "c0ffee",
        "seed": "0",
        "words at most": "170",
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
    assert not re.search(r"https?:|<script|@import|url\(|\bsrc=", text)
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]
