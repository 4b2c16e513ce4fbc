"""Evidence: contributions that sum to the score, spans, what was dropped and why, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag import Denoiser, TorchEncoder
from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.encoder.evidence import Evidence, TokenEvidence, dropped_parts
from glot_rag.encoder.evidence_page import pieces
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone

QUERY = "who lets a writer go on while others read?"
TEXT = """Home | Products | Pricing | Log in
We use cookies. Accept all cookies
Write-ahead logging
Readers do not block writers and a writer does not block readers, which is why a log is kept beside the <database>.
Readers and writers do not wait for each other, because the log is read beside the database.
Share this page
© 2024 Example Corp. All rights reserved."""
HEADS: dict[str, dict[str, Any]] = {
    "paper": {"form": "paper"},
    "paper, projected": {"form": "paper", "output_size": 384, "jumping": "max"},
    "residual": {"form": "residual", "readout": "sigmoid"},
    "drop": {"form": "drop", "layers": (2,), "scale": 2.0},
    "drop, mixed": {"form": "drop", "layers": (2,), "mix_weight": 0.6, "scale": 2.0},
}


def check(encoder: TorchEncoder, text: str) -> Evidence:
    """Contributions and the rest sum to the score, which is the vectors' own."""
    evidence = encoder.explain(text, QUERY)
    expected = float(encoder.encode_documents([text])[0] @ encoder.encode_queries([QUERY])[0])
    own = sum(each.contribution or 0.0 for each in evidence.tokens if each.span[0] < each.span[1])
    assert evidence.rest is not None
    assert own + evidence.rest == pytest.approx(expected, abs=1e-5)
    assert evidence.score == pytest.approx(expected, abs=1e-5)
    return evidence


@pytest.mark.parametrize("name", HEADS)
def test_contributions_sum_to_the_score(name: str, minilm: Backbone, make_head: Callable[..., Any]) -> None:
    head = make_head(**{"hidden_size": 16, **HEADS[name]})
    query_pooling = BaselinePooling("mean", 384) if head.output_size == 384 else None
    encoder = TorchEncoder(minilm, head, query_pooling=query_pooling, document_prompt="passage: ")
    evidence = check(encoder, TEXT)
    assert evidence.rest != pytest.approx(0, abs=1e-6)  # special tokens and the prompt have a part, too
    if name.startswith("drop"):
        weights = {round(each.weight, 6) for each in evidence.tokens}
        assert len(weights) == 2  # kept, dropped
        gone = [each.contribution for each in evidence.tokens if each.weight == min(weights) == 0]
        assert bool(gone) == (name == "drop")
        assert not any(gone)


@pytest.mark.parametrize("name", ["mean", "max", "cls", "last"])
def test_contributions_of_fixed_poolings_sum_to_the_score(name: str, minilm: Backbone) -> None:
    check(TorchEncoder(minilm, BaselinePooling(name, 384)), TEXT)


def test_contributions_of_a_long_and_an_empty_text(minilm: Backbone) -> None:
    encoder = TorchEncoder(minilm, BaselinePooling("mean", 384))
    check(encoder, "readers and writers " * 400)
    assert check(encoder, "").best_spans() == []


def test_contributions_of_a_fitted_encoder(
    minilm: Backbone,
    make_head: Callable[..., Any],
    make_classifier: Callable[[int], NoiseClassifier],
    pages: list[str],
) -> None:
    head = make_head(form="drop", layers=(2,), hidden_size=16)
    classifier = make_classifier(minilm.tokenizer.vocabulary_size)
    mean = BaselinePooling("mean", 384)
    fitted = TorchEncoder(minilm, head, query_pooling=mean, classifier=classifier).fit(pages)
    evidence = check(fitted, pages[3])
    assert 0 < sum(each.weight > 0 for each in evidence.tokens) < len(evidence.tokens)


@pytest.fixture(scope="module")
def denoising(minilm: Backbone) -> TorchEncoder:
    denoiser = Denoiser.from_pretrained("minilm", device="cpu", dtype="float32")
    mean = BaselinePooling("mean", 384)
    return TorchEncoder(denoiser.backbone, mean, denoiser=denoiser)


@pytest.fixture(scope="module")
def evidence(denoising: TorchEncoder) -> Evidence:
    return check(denoising, TEXT)


def test_what_was_dropped_and_why(evidence: Evidence) -> None:
    assert evidence.denoised is not None
    dropped = {TEXT[each.start : each.end]: each for each in evidence.dropped}
    assert "Home | Products | Pricing | Log in" in dropped
    assert {each.reason for each in dropped.values()} <= {"reads like navigation", "by its layout"}
    assert all(each.noise > 0.5 for each in dropped.values())
    # What was kept and what was dropped are together the whole text.
    spans = sorted([*evidence.denoised.spans, *((each.start, each.end) for each in evidence.dropped)])
    assert "".join("".join(TEXT[slice(*span)].split()) for span in spans) == "".join(TEXT.split())


def test_best_spans_are_lines_that_were_read(evidence: Evidence) -> None:
    best = evidence.best_spans(2)
    assert TEXT[best[0].start : best[0].end].startswith("Readers do not block writers")
    assert [span.score for span in best] == sorted((span.score for span in best), reverse=True)
    inside = [each for each in evidence.tokens if best[0].start <= each.span[0] < each.span[1] <= best[0].end]
    assert best[0].score == pytest.approx(sum(each.contribution or 0.0 for each in inside), abs=1e-6)


def test_the_graph_of_blocks(evidence: Evidence) -> None:
    blocks = evidence.blocks
    assert blocks is not None
    assert [TEXT[slice(*span)] for span in blocks.spans] == TEXT.splitlines()
    np.testing.assert_allclose(blocks.similarity, blocks.similarity.T, atol=1e-6)
    np.testing.assert_allclose(blocks.similarity.diagonal(), 1, atol=1e-5)
    clusters = blocks.clusters()
    assert np.bincount(clusters)[0] == np.bincount(clusters).max()
    joined = np.argwhere(np.triu(blocks.joined, 1))
    assert len(joined)
    alone = [n for n in range(len(clusters)) if not np.delete(blocks.joined[n], n).any()]
    assert all((clusters == clusters[n]).sum() == 1 for n in alone)


def test_a_part_of_a_block_goes_for_its_words() -> None:
    from glot_rag.denoise.denoised import Denoised, DenoisedBlock

    text = "keep gone keep\nall gone"
    blocks = (DenoisedBlock("keep gone keep", 0, 14, 0.2), DenoisedBlock("all gone", 15, 23, 0.9))
    found = dropped_parts(text, Denoised("keep keep", ((0, 4), (10, 14)), 0.5, blocks), ["one", "two"])
    assert [(text[each.start : each.end], each.noise, each.reason) for each in found] == [
        ("gone", 0.2, "its words score as noise"),
        ("all gone", 0.9, "two"),
    ]


def test_pieces_are_the_text(evidence: Evidence) -> None:
    shown = pieces(evidence)
    assert "".join(piece.text for piece in shown) == TEXT
    assert max(abs(piece.heat) for piece in shown) == pytest.approx(1)
    assert sum(len("".join(piece.text.split())) for piece in shown if piece.dropped) == sum(
        len("".join(TEXT[each.start : each.end].split())) for each in evidence.dropped
    )


def test_pieces_without_a_query_are_weights() -> None:
    tokens = (TokenEvidence("[CLS]", (0, 0), 0.5, None), TokenEvidence("a", (0, 1), 0.2, 0.25))
    shown = pieces(Evidence("a b", (*tokens, TokenEvidence("b", (2, 3), 0.3, None)), None))
    assert [(piece.text, round(piece.heat, 4), piece.note) for piece in shown] == [
        ("a", 0.6667, "weight 20.00% · 25% noise"),
        (" ", 0.0, ""),
        ("b", 1.0, "weight 30.00%"),
    ]


def test_the_page_needs_nothing_else(denoising: TorchEncoder, evidence: Evidence, tmp_path: Path) -> None:
    mean = denoising.with_pooling("mean", denoise=False).explain(TEXT, QUERY)
    evidence.save_html(tmp_path / "page.html", mean)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "http" not in text
    assert "<script" not in text
    assert "&lt;database&gt;" in text
    assert "<database>" not in text
    assert f"score {evidence.score:.3f}" in text
    assert f"score {mean.score:.3f}" in text
    assert text.count('<s title="dropped: ') == len(evidence.dropped)
    assert text.count("<circle") >= len(TEXT.splitlines())
    notebook = evidence._repr_html_()
    assert "<html" not in notebook
    assert f"score {evidence.score:.3f}" in notebook
