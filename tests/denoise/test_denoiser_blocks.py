"""TorchDenoiser with a block head: whole lines go first, and the word head reads what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glot_rag import TorchDenoiser, TorchEncoder
from glot_rag.denoise import block_noise
from glot_rag.denoise.block_noise import SKIM, find_noise, find_noisy_blocks
from glot_rag.denoise.block_states import early_states
from glot_rag.denoise.block_threshold import best_threshold
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import BundleError, InputError
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PRETRAINED

MENU = ["Home", "News", "Sport", "Log in", "Subscribe", "Search"]
ARTICLE = [
    "The city council voted on Tuesday to rebuild the old stone bridge across the river after a long debate.",
    "Engineers had warned that the arches, which were built in 1871, could no longer carry heavy lorries.",
    "Work is to begin in spring and will take about two years, during which a ferry will run every ten minutes.",
]
FOOTER = ["Share this", "Related articles", "Privacy policy", "Terms of use", "© 2024 Example Media", "Contact us"]
PAGE = "\n".join([*MENU, *ARTICLE, *FOOTER])
GENERATED = "9f3aa81c kq2 00x7 zz81 a81cff0 id=77fa01bb The kettle switches itself off. status=0x3fa1 retry=3 e81f00a9c"


@pytest.fixture(scope="module")
def denoiser(minilm: Backbone) -> TorchDenoiser:
    shipped = TorchDenoiser.from_pretrained("minilm", dtype="float32")
    assert shipped.block_head is not None
    return shipped


def words_alone(denoiser: TorchDenoiser) -> TorchDenoiser:
    return TorchDenoiser(denoiser.backbone, denoiser.head, denoiser.classifier)


def test_the_menu_goes_and_the_prose_stays(denoiser: TorchDenoiser) -> None:
    (denoised,) = denoiser.denoise([PAGE])
    assert denoised.text == "\n".join(ARTICLE)
    assert [PAGE[start:end] for start, end in denoised.spans] == ["\n".join(ARTICLE)]
    assert denoised.kept == pytest.approx(len(denoised.text.split()) / len(PAGE.split()))


def test_blocks_and_what_is_kept_are_those_of_the_block_head(denoiser: TorchDenoiser) -> None:
    head = denoiser.block_head
    assert head is not None
    (found,) = find_noise(head, [PAGE], early_states(denoiser.backbone, [PAGE], head.config.layer, skim=SKIM))
    (denoised,) = denoiser.denoise([PAGE])
    assert [(block.start, block.end) for block in denoised.blocks] == [block[:2] for block in found.blocks]
    np.testing.assert_allclose([block.noise for block in denoised.blocks], found.block_noise, atol=1e-5)
    own = best_threshold(found.block_noise, np.bincount(found.word_block, minlength=len(found.blocks)))
    assert own > head.config.noise_threshold
    # With this margin no word departs from its block.
    kept = found.kept_words(own, margin=0.5)
    assert denoised.text == found.text(PAGE, kept)


def test_texts_without_lines_are_the_word_heads(denoiser: TorchDenoiser) -> None:
    texts = [" ".join(PAGE.split()), GENERATED, "Title\n" + GENERATED, "", " \n", "\ud83d\ude00 hi", "\ud800"]
    expected = words_alone(denoiser).denoise(texts)
    assert denoiser.denoise(texts) == expected
    assert expected[1].kept < 1
    blocks = TorchDenoiser(denoiser.backbone, None, block_head=denoiser.block_head)
    assert [each.text for each in blocks.denoise([*texts[:2], PAGE])] == [*texts[:2], "\n".join(ARTICLE)]


def test_the_threshold_is_the_users(denoiser: TorchDenoiser) -> None:
    both = [PAGE, GENERATED]
    found = [block.noise for block in denoiser.denoise([PAGE])[0].blocks]
    shares = []
    for threshold in (0.01, 0.5, 0.99):
        other = TorchDenoiser.from_pretrained("minilm", threshold=threshold, dtype="float32")
        assert other.fingerprint != denoiser.fingerprint
        page, words = other.denoise(both)
        assert len(page.text.splitlines()) == max(1, sum(noise <= threshold for noise in found))
        shares.append((page.kept, words.kept))
    assert shares[0] < shares[1] < shares[2]
    for wrong in (0, 1.0, -0.1, "0.5", True):
        with pytest.raises(InputError, match="threshold must be a probability, above 0 and below 1, or None; got"):
            TorchDenoiser.from_pretrained("minilm", threshold=wrong)  # type: ignore[arg-type]


def test_the_least_noisy_block_stays_where_all_are_above_the_threshold() -> None:
    denoiser = TorchDenoiser.from_pretrained("minilm", threshold=0.5, dtype="float32")
    (denoised,) = denoiser.denoise(["\n".join([*MENU, *FOOTER])])
    assert denoised.text == min(denoised.blocks, key=lambda block: block.noise).text


def test_fitted_the_block_head_sees_what_recurs_in_a_group(denoiser: TorchDenoiser) -> None:
    notice = "We are open on weekdays from nine to five and closed on every public holiday of the year."
    articles = [[f"{line} It was day {number}." for line in ARTICLE] for number in range(6)]
    texts = ["\n".join([notice, *article]) for article in articles]
    fitted = denoiser.fit([*texts, *["\n".join([*MENU, "Prose."])] * 3], ["site"] * 6 + ["other"] * 3)
    assert (denoiser.fitted, fitted.fitted) == (False, True)
    later = "\n".join([notice, *ARTICLE])

    def noise(of: TorchDenoiser, groups: list[str] | None) -> list[float]:
        (denoised,) = of.denoise([later], groups)
        return [block.noise for block in denoised.blocks]

    head, recurrence = denoiser.block_head, fitted.recurrence
    assert head is not None
    assert recurrence is not None
    counts = recurrence.look_up(later, split_blocks(later), "site").features
    np.testing.assert_allclose(counts[:, 1], [1, 1 / 7, 1 / 7, 1 / 7], rtol=1e-6)
    (expected,) = find_noise(head, [later], early_states(denoiser.backbone, [later], head.layer, skim=SKIM), [counts])
    before = noise(denoiser, None)
    known = noise(fitted, ["site"])
    assert known == pytest.approx(expected.block_noise, abs=1e-5)
    assert known[0] > before[0]
    # A group that was not counted says nothing.
    assert noise(fitted, ["elsewhere"]) == pytest.approx(before, abs=1e-5)
    with pytest.raises(InputError, match="cannot be told from 2 documents: expected at least 3"):
        denoiser.fit(texts[:2])


def test_the_word_head_is_fitted_to_the_texts_that_it_reads(denoiser: TorchDenoiser, pages: list[str]) -> None:
    paged = [PAGE] * 3
    assert denoiser.fit([*pages[:20], *paged]).head.adjustment is None  # type: ignore[union-attr]
    (flat,) = denoiser.fit([*pages, *paged]).denoise(pages[:1])
    (alone,) = words_alone(denoiser).fit(pages).denoise(pages[:1])
    assert flat == alone
    assert alone.kept < 1


def test_a_long_text_is_read_in_sections_between_blocks(
    denoiser: TorchDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = denoiser.block_head
    assert head is not None
    monkeypatch.setattr(block_noise, "MOST_BLOCKS", len(MENU))
    monkeypatch.setattr(block_noise, "MOST_CHARACTERS", 400)
    (alone, found, nothing) = find_noisy_blocks(denoiser.backbone, head, ["One short line.", PAGE, ""])
    assert found.spans == [block[:2] for block in split_blocks(PAGE)]
    start = found.spans[len(MENU)][0]
    menu_text = PAGE[:start].rstrip()
    (menu,) = find_noise(head, [menu_text], early_states(denoiser.backbone, [menu_text], head.config.layer, skim=SKIM))
    np.testing.assert_allclose(found.noise[: len(MENU)], menu.block_noise, atol=1e-4)
    assert (len(alone.noise), len(nothing.noise), nothing.spans) == (1, 0, [])


def test_save_and_load(denoiser: TorchDenoiser, tmp_path: Path) -> None:
    fitted = TorchDenoiser(denoiser.backbone, denoiser.head, block_head=denoiser.block_head, threshold=0.6).fit(
        [PAGE] * 4
    )
    fitted.save(tmp_path / "saved")
    again = TorchDenoiser.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == fitted.fingerprint
    assert (again.threshold, again.fitted) == (0.6, True)
    assert again.denoise([PAGE]) == fitted.denoise([PAGE])
    assert TorchDenoiser.from_pretrained(tmp_path / "saved", threshold=0.2, dtype="float32").threshold == 0.2
    words_alone(denoiser).save(tmp_path / "saved")
    assert TorchDenoiser.from_pretrained(tmp_path / "saved", dtype="float32").block_head is None
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["denoiser.json", "words"]


def test_counts_that_were_not_saved_with_it_are_refused(denoiser: TorchDenoiser, tmp_path: Path) -> None:
    for name, texts in (("one", [PAGE] * 3), ("other", [PAGE] * 4)):
        denoiser.fit(texts).save(tmp_path / name)
    (tmp_path / "other" / "recurrence.safetensors").replace(tmp_path / "one" / "recurrence.safetensors")
    with pytest.raises(BundleError, match=r"was not saved with denoiser\.json beside it"):
        TorchDenoiser.from_pretrained(tmp_path / "one")


def test_an_encoder_saves_the_block_head_of_its_denoiser(denoiser: TorchDenoiser, tmp_path: Path) -> None:
    encoder = TorchEncoder.from_pretrained("minilm", dtype="float32")
    denoising = encoder.with_pooling(
        "glot", denoise=TorchDenoiser(encoder.backbone, denoiser.head, None, denoiser.block_head)
    )
    words = encoder.with_pooling("glot", denoise=TorchDenoiser(encoder.backbone, denoiser.head))
    assert denoising.fingerprint != words.fingerprint
    denoising.save(tmp_path / "saved")
    again = TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == denoising.fingerprint
    assert again.denoise([PAGE])[0].text == "\n".join(ARTICLE)


def test_the_fingerprint_covers_the_block_head_where_text_is_denoised(
    minilm: Backbone, denoiser: TorchDenoiser
) -> None:
    torch.manual_seed(0)
    config = BlockGraphConfig(state_size=minilm.state_size, hidden_size=8)
    one, other = BlockGraphHead(config), BlockGraphHead(config)
    higher = BlockGraphHead(replace(config, noise_threshold=0.9))
    higher.load_state_dict(one.state_dict())
    heads = [None, one, other, higher]
    prints = [TorchDenoiser(minilm, denoiser.head, block_head=head).fingerprint for head in heads]
    assert len(set(prints)) == 4
    assert prints[1] == TorchDenoiser(minilm, denoiser.head, block_head=one).fingerprint


def test_a_backbone_without_a_block_head_of_its_own_has_words_alone(minilm_folder: Path) -> None:
    assert TorchDenoiser.from_pretrained(minilm_folder, head=PRETRAINED / "minilm", dtype="float32").block_head is None


def test_a_denoiser_needs_a_head(minilm: Backbone) -> None:
    with pytest.raises(InputError, match="a head for words, a block head, or both; got neither"):
        TorchDenoiser(minilm, None)


def test_a_block_head_for_other_states_is_refused(minilm: Backbone, denoiser: TorchDenoiser) -> None:
    narrow = BlockGraphHead(BlockGraphConfig(state_size=8, hidden_size=8))
    with pytest.raises(BundleError, match="block head was made for states of width 8, 'minilm' gives 384"):
        TorchDenoiser(minilm, denoiser.head, block_head=narrow)
    high = BlockGraphHead(BlockGraphConfig(state_size=minilm.state_size, hidden_size=8, layer=9))
    with pytest.raises(BundleError, match="the block head does not fit the backbone"):
        TorchDenoiser(minilm, denoiser.head, block_head=high)
