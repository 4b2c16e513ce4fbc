from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.errors import TrainingError
from glot_rag.head.block_storage import load_block_head
from glot_rag.models.backbone import Backbone
from glot_rag.training import block_head
from glot_rag.training.block_head import split, train_block_head
from glot_rag.training.documents import NoisyDocument, made_pages
from glot_rag.training.texts import TrainingText


@pytest.fixture(scope="module")
def documents(prose: list[tuple[str, str]]) -> list[NoisyDocument]:
    """Docstrings with menus and footers around them, and docstrings alone."""
    texts = [TrainingText(text, name) for name, text in prose]
    plain = [NoisyDocument(text.text, (), text.query) for text in texts[:60]]
    return [*made_pages(texts[60:], 160, seed=0), *plain]


def test_no_group_is_on_two_sides() -> None:
    documents = [NoisyDocument(f"text {number}", (), f"site {number % 40}") for number in range(200)]
    parts = split(documents)
    assert sorted(chain(*parts)) == list(range(200))
    assert all(parts)
    groups = [{documents[row].group for row in part} for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_documents_of_one_site_are_split_one_by_one() -> None:
    parts = split([NoisyDocument(f"text {number}", (), "site") for number in range(200)])
    assert [len(part) > 5 for part in parts] == [True] * 3


def test_a_head_for_another_backbone_finds_noise_in_documents_it_never_saw(
    documents: list[NoisyDocument], tiny: Callable[[str], Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny("bert")
    report = train_block_head(documents, backbone, tmp_path)
    train, _, measured = split(documents)
    assert report.trained == len(train)
    assert report.noisy + report.clean == len(measured)
    assert report.kept > report.everything + 0.2
    assert report.lost < 0.05
    head, details = load_block_head(tmp_path)
    assert details["backbone_fingerprint"] == backbone.fingerprint
    assert head.config.noise_threshold == report.threshold
    assert not head.training
    page = next(documents[row] for row in measured if documents[row].noise)
    (kept,) = TorchDenoiser(backbone, None, block_head=head).denoise([page.text])
    assert len(kept.text) < 0.8 * len(page.text)
    # What is finished is not trained again; other data is not mistaken for it.
    monkeypatch.setattr(block_head, "train_blocks", None)
    assert train_block_head(documents, backbone, tmp_path) == report
    with pytest.raises(TrainingError, match="holds hidden states of other texts"):
        train_block_head(documents[:-1], backbone, tmp_path)


def test_too_few_documents_are_refused(tiny: Callable[[str], Backbone], tmp_path: Path) -> None:
    documents = [NoisyDocument(f"Home\ntext {number}", ((0, 4),) * (number < 19), str(number)) for number in range(40)]
    with pytest.raises(TrainingError, match="expected at least 20, got 19: give web pages"):
        train_block_head(documents, tiny("bert"), tmp_path)
    assert not list(tmp_path.iterdir())
