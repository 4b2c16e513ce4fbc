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
    return dataclasses.replace(
        report, results=[*report.results[:-1], last], dataset="a <script>", dataset_hash="c0ffee"
    )


def test_the_page_holds_values_tests_and_settings(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    for expected in ("words 80%", "32.0", "[30.0, 34.0]", "36.0", "75%", "+12.0", "0.0020", "150–50"):
        assert expected in soup.find("table").get_text("|")
    assert "c0ffee" in soup.find("pre").get_text()
    assert "what <b>lifts</b>" in soup.find("details").get_text()
    assert soup.find("h1").get_text().startswith("a <script>")
    assert len(soup.find_all("svg")) == 1
    assert len(soup.find_all("polygon")) == 1  # one band: one result has an interval


def test_the_page_asks_the_network_for_nothing(full: Report, tmp_path: Path) -> None:
    save_page(full, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|@import|url\(|\bsrc=", text)
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]
