"""Denoiser with a block head: whole lines go first, and the word head reads what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glot_rag import Denoiser, TorchEncoder
from glot_rag.denoise import block_noise
from glot_rag.denoise.block_noise import find_noise, find_noisy_blocks
from glot_rag.denoise.block_states import early_states
from glot_rag.denoise.denoiser import Denoised, DenoisedBlock, _put_back
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import BundleError, InputError, ModelNotFoundError
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.head.registry import PRETRAINED
from glot_rag.models.backbone import Backbone

MENU = ["Home", "News", "Sport", "Log in", "Subscribe", "Search"]
ARTICLE = [
    "The city council voted on Tuesday to rebuild the old stone bridge across the river after a long debate.",
    "Engineers had warned that the arches, which were built in 1871, could no longer carry heavy lorries.",
    "Work is to begin in spring and will take about two years, during which a ferry will run every ten minutes.",
]
FOOTER = ["Share this", "Related articles", "Privacy policy", "Terms of use", "© 2024 Example Media", "Contact us"]
PAGE = "\n".join([*MENU, *ARTICLE, *FOOTER])
GENERATED = (
    "9f3aa81c kq2 00x7 zz81 a81cff0 id=77fa01bb\nThe kettle switches itself off.\nstatus=0x3fa1 retry=3 e81f00a9c"
)


@pytest.fixture(scope="module")
def denoiser(minilm: Backbone) -> Denoiser:
    shipped = Denoiser.from_pretrained("minilm", blocks=True, dtype="float32")
    assert shipped.block_head is not None
    return shipped


def words_alone(denoiser: Denoiser) -> Denoiser:
    return Denoiser(denoiser.backbone, denoiser.head, denoiser.classifier)


def test_the_menu_goes_and_the_prose_stays(denoiser: Denoiser) -> None:
    (denoised,) = denoiser.denoise([PAGE])
    assert denoised.text == "\n".join(ARTICLE)
    assert [PAGE[start:end] for start, end in denoised.spans] == ["\n".join(ARTICLE)]
    assert denoised.kept == pytest.approx(len(denoised.text.split()) / len(PAGE.split()))


def test_blocks_and_what_is_kept_are_those_of_the_block_head(denoiser: Denoiser) -> None:
    head = denoiser.block_head
    assert head is not None
    (found,) = find_noise(head, [PAGE], early_states(denoiser.backbone, [PAGE], head.config.layer))
    (denoised,) = denoiser.denoise([PAGE])
    assert [(block.start, block.end) for block in denoised.blocks] == [block[:2] for block in found.blocks]
    np.testing.assert_allclose([block.noise for block in denoised.blocks], found.block_noise, atol=1e-5)
    # With this margin no word departs from its block.
    kept = found.kept_words(head.config.noise_threshold, margin=0.5)
    assert denoised.text == found.text(PAGE, kept)


def test_where_no_block_goes_the_word_head_decides_as_without_blocks(denoiser: Denoiser) -> None:
    texts = ["\n".join(ARTICLE[:2]), GENERATED, "one line of text", "", " \n", "\ud83d\ude00 hi", "\ud800"]
    expected = words_alone(denoiser).denoise(texts)
    got = denoiser.denoise(texts)
    assert [replace(each, blocks=()) for each in got] == [replace(each, blocks=()) for each in expected]
    assert got[0].text == texts[0]
    assert got[1].kept < 1


def test_the_least_noisy_block_stays_where_all_are_noise(denoiser: Denoiser) -> None:
    (denoised,) = denoiser.denoise(["\n".join([*MENU, *FOOTER])])
    assert denoised.text == min(denoised.blocks, key=lambda block: block.noise).text


def test_fitted_the_word_head_reads_what_the_block_head_left(denoiser: Denoiser, pages: list[str]) -> None:
    fitted = denoiser.fit(pages)
    page = "\n".join([*MENU, pages[0], *FOOTER])
    (by_blocks,) = denoiser.denoise([page])
    (by_words,) = words_alone(fitted).denoise([by_blocks.text])
    (denoised,) = fitted.denoise([page])
    assert 0 < by_words.kept < 1
    assert denoised.text == by_words.text
    assert " ".join(page[start:end] for start, end in denoised.spans).split() == by_words.text.split()
    assert denoised.kept == pytest.approx(len(by_words.text.split()) / len(page.split()))
    assert denoised.blocks == by_blocks.blocks


def test_places_in_the_clean_text_become_places_in_the_document() -> None:
    text = "MENU\nab cd\nMENU\nef gh ij"
    blocks = Denoised("ab cd\nef gh ij", ((5, 10), (16, 24)), 5 / 7, (DenoisedBlock("MENU", 0, 4, 0.9),))
    words = Denoised("cd\nef ij", ((3, 8), (12, 14)), 3 / 5)
    got = _put_back(words, blocks, text)
    assert [text[start:end] for start, end in got.spans] == ["cd", "ef", "ij"]
    assert got == Denoised("cd\nef ij", got.spans, 3 / 7, blocks.blocks)


def test_a_long_text_is_read_in_sections_between_blocks(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    head = denoiser.block_head
    assert head is not None
    monkeypatch.setattr(block_noise, "MOST_BLOCKS", len(MENU))
    monkeypatch.setattr(block_noise, "MOST_CHARACTERS", 400)
    (alone, found, nothing) = find_noisy_blocks(denoiser.backbone, head, ["One short line.", PAGE, ""])
    assert found.spans == [block[:2] for block in split_blocks(PAGE)]
    start = found.spans[len(MENU)][0]
    (menu,) = find_noise(head, [PAGE[:start]], early_states(denoiser.backbone, [PAGE[:start]], head.config.layer))
    np.testing.assert_allclose(found.noise[: len(MENU)], menu.block_noise, atol=1e-4)
    assert (len(alone.noise), len(nothing.noise), nothing.spans) == (1, 0, [])


def test_save_and_load(denoiser: Denoiser, tmp_path: Path) -> None:
    denoiser.save(tmp_path / "saved")
    again = Denoiser.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == denoiser.fingerprint
    assert again.denoise([PAGE]) == denoiser.denoise([PAGE])
    words_alone(denoiser).save(tmp_path / "saved")
    assert Denoiser.from_pretrained(tmp_path / "saved", dtype="float32").block_head is None


def test_an_encoder_saves_the_block_head_of_its_denoiser(denoiser: Denoiser, tmp_path: Path) -> None:
    encoder = TorchEncoder.from_pretrained("minilm", dtype="float32")
    denoising = encoder.with_pooling(
        "glot", denoise=Denoiser(encoder.backbone, denoiser.head, None, denoiser.block_head)
    )
    words = encoder.with_pooling("glot", denoise=Denoiser(encoder.backbone, denoiser.head))
    assert denoising.fingerprint != words.fingerprint
    denoising.save(tmp_path / "saved")
    again = TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == denoising.fingerprint
    assert again.denoise([PAGE])[0].text == "\n".join(ARTICLE)


def test_the_fingerprint_covers_the_block_head_where_text_is_denoised(minilm: Backbone, denoiser: Denoiser) -> None:
    torch.manual_seed(0)
    config = BlockGraphConfig(state_size=minilm.state_size, hidden_size=8)
    one, other = BlockGraphHead(config), BlockGraphHead(config)
    higher = BlockGraphHead(replace(config, noise_threshold=0.9))
    higher.load_state_dict(one.state_dict())
    heads = [None, one, other, higher]
    prints = [Denoiser(minilm, denoiser.head, block_head=head).fingerprint for head in heads]
    assert len(set(prints)) == 4
    assert prints[1] == Denoiser(minilm, denoiser.head, block_head=one).fingerprint


def test_it_is_there_only_where_it_is_asked_for(minilm_folder: Path, denoiser: Denoiser, tmp_path: Path) -> None:
    assert Denoiser.from_pretrained("minilm", dtype="float32").block_head is None
    with pytest.raises(ModelNotFoundError, match=r"there is one for: minilm\): leave blocks= out"):
        Denoiser.from_pretrained(minilm_folder, head=PRETRAINED / "minilm", blocks=True, dtype="float32")
    denoiser.save(tmp_path / "saved")
    with pytest.raises(InputError, match="leave head= and blocks= out"):
        Denoiser.from_pretrained(tmp_path / "saved", blocks=True)


def test_a_block_head_for_other_states_is_refused(minilm: Backbone, denoiser: Denoiser) -> None:
    narrow = BlockGraphHead(BlockGraphConfig(state_size=8, hidden_size=8))
    with pytest.raises(BundleError, match="block head was made for states of width 8, 'minilm' gives 384"):
        Denoiser(minilm, denoiser.head, block_head=narrow)
    high = BlockGraphHead(BlockGraphConfig(state_size=minilm.state_size, hidden_size=8, layer=9))
    with pytest.raises(BundleError, match="the block head does not fit the backbone"):
        Denoiser(minilm, denoiser.head, block_head=high)
