"""`Denoiser.fit` over shards equals `Denoiser.fit` over all documents, and so does what is kept then."""

import numpy as np
import pytest

from glot_rag import Denoiser, GlotEncoder
from glot_rag.denoise.recurrence import Recurrence
from glot_rag.documents.groups import groups_of
from glot_rag.shards import embed_corpus, parts
from glot_rag.shards.fitting import merge_all
from glot_rag.shards.format import CHUNKS, DOCUMENTS, manifests, read_columns, read_documents_of
from glot_rag.shards.parts import document_shards, part_records

MENU = "Home | Products | Pricing\nLog in or register here\nSearch this site\n"
FOOTER = "\nImprint and privacy\nCopyright 2024 Example Ltd\nContact us by mail\n"


@pytest.fixture
def site(tmp_path, prose):
    """56 pages of two sites, each with its menu and footer, and 6 texts without lines."""
    for number, (_, text) in enumerate(prose[:56]):
        folder = tmp_path / "site" / ("one" if number % 2 else "two")
        folder.mkdir(parents=True, exist_ok=True)
        half = len(text) // 2
        page = f"{MENU.replace('Home', folder.name)}{text[:half]}\n{text[half:]}{FOOTER}"
        (folder / f"{number:02d}.txt").write_text(page)
    for number, (_, text) in enumerate(prose[56:62]):
        (tmp_path / "site" / f"flat{number}.txt").write_text(text)
    return tmp_path / "site"


def test_fitting_over_shards_equals_fitting_at_once(site, out, monkeypatch, minilm_folder):
    monkeypatch.setattr(parts, "SHARD_DOCUMENTS", 9)
    report = embed_corpus([site], out, "minilm")
    shards = sorted((s for part in part_records(out) for s in document_shards(part)), key=lambda each: each.name)
    assert len(shards) > 4
    documents = [document for shard in shards for _, document in read_documents_of(out, shard)]
    texts = [document.text for document in documents]
    groups = groups_of([document.metadata for document in documents])
    at_once = Denoiser.from_pretrained().fit(texts, groups)
    over_shards = Denoiser.from_pretrained(out / "denoiser")
    assert over_shards.fingerprint == at_once.fingerprint
    assert over_shards.recurrence.fingerprint == at_once.recurrence.fingerprint
    assert not (out / "counts").exists()
    # What is stored is what this denoiser keeps, embedded by the encoder that was saved.
    kept = {document.id: each.text for document, each in zip(documents, at_once.denoise(texts, groups), strict=True)}
    encoder = GlotEncoder.from_pretrained(out / "encoder")
    assert (encoder.fingerprint, len(manifests(out, DOCUMENTS))) == (
        manifests(out, CHUNKS)[0].made_from["encoder"],
        len(part_records(out)),
    )
    chunks = 0
    for record in manifests(out, CHUNKS):
        for columns in read_columns(out, record):
            chunks += len(columns["id"])
            np.testing.assert_allclose(columns["vector"], encoder.encode_documents(columns["text"]), atol=2e-6)
            for document, text in zip(columns["document"], columns["text"], strict=True):
                assert text in kept[document]
                assert "Log in or register" not in text
    assert chunks == report.chunks >= 40


def test_counts_of_parts_merge_to_the_whole(prose):
    texts = [f"{MENU}{text}{FOOTER}" for _, text in prose[:40]]
    groups = [f"group {number % 3}" for number in range(40)]
    whole = Recurrence.count(texts, groups)
    for size in (1, 3, 7, 40):
        found = merge_all(Recurrence.count(texts[at : at + size], groups[at : at + size]) for at in range(0, 40, size))
        assert found is not None
        assert found.fingerprint == whole.fingerprint
    assert merge_all([]) is None


def test_parts_in_which_everything_recurs_are_merged_too(tmp_path, prose):
    """Pages that stand twice in a part: all of its counts are two, as of counts that hold only what recurs."""
    halves = [[f"{MENU}{text}{FOOTER}" for _, text in some for _ in range(2)] for some in (prose[:3], prose[3:6])]
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for path, texts in zip(paths, halves, strict=True):
        counted = Recurrence.count(texts)
        assert (counted.counts > 1).all()
        counted.save(path)
    found = merge_all(Recurrence.load(path, pruned=False) for path in paths)
    assert found.fingerprint == Recurrence.count([*halves[0], *halves[1]]).fingerprint
