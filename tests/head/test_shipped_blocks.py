"""The block graph head that ships finds the navigation around an article."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import glot_rag
from glot_rag.denoise.block_noise import find_noise
from glot_rag.denoise.block_states import early_states
from glot_rag.denoise.block_threshold import best_threshold
from glot_rag.head.block_storage import load_block_head
from glot_rag.models.backbone import Backbone

FOLDER = Path(glot_rag.__file__).parent / "pretrained" / "minilm-blocks"
MENU = ["Home", "News", "Sport", "Log in", "Subscribe", "Search"]
ARTICLE = [
    "The city council voted on Tuesday to rebuild the old stone bridge across the river after a long debate.",
    "Engineers had warned that the arches, which were built in 1871, could no longer carry heavy lorries.",
    "Work is to begin in spring and will take about two years, during which a ferry will run every ten minutes.",
    "Shopkeepers on both banks fear for their trade, but most of those who spoke said that it could not wait.",
]
FOOTER = ["Share this", "Related articles", "Privacy policy", "Terms of use", "© 2024 Example Media", "Contact us"]


def test_navigation_is_more_likely_noise_than_every_line_of_the_article(minilm: Backbone) -> None:
    head, details = load_block_head(FOLDER)
    assert details["backbone_fingerprint"] == minilm.fingerprint
    text = "\n".join([*MENU, *ARTICLE, *FOOTER])
    (found,) = find_noise(head, [text], early_states(minilm, [text], head.config.layer))
    article = found.block_noise[len(MENU) : len(MENU) + len(ARTICLE)]
    around = np.concatenate([found.block_noise[: len(MENU)], found.block_noise[len(MENU) + len(ARTICLE) :]])
    assert article.max() < around.min()
    own = best_threshold(found.block_noise, np.bincount(found.word_block, minlength=len(found.blocks)))
    kept = found.kept_words(own, margin=0.5)
    assert set(ARTICLE) <= set(found.text(text, kept).split("\n"))


def test_a_clean_text_stays_as_it_is(minilm: Backbone) -> None:
    head, _ = load_block_head(FOLDER)
    text = "\n".join(ARTICLE)
    (found,) = find_noise(head, [text], early_states(minilm, [text], head.config.layer))
    assert found.kept_words(head.config.noise_threshold).all()
