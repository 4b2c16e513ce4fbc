"""TorchEncoder.adapt: the shipped head with a collection of noisy documents, from counting to a saved encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from glot_rag import TorchEncoder
from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.corpus_statistics import FEATURES
from glot_rag.encoder.together import encode_documents_together, fit_together
from glot_rag.errors import BundleError, InputError
from glot_rag.head import GlotHead, load_head
from glot_rag.head.registry import PRETRAINED
from glot_rag.models.backbone import Backbone

BAR = "Home Products Pricing Log in We use cookies to improve your experience Accept all cookies Manage preferences"


@pytest.fixture(scope="module")
def shipped() -> TorchEncoder:
    return TorchEncoder.from_pretrained("minilm", dtype="float32")


@pytest.fixture(scope="module")
def adapted(shipped: TorchEncoder, pages: list[str]) -> TorchEncoder:
    return shipped.fit(pages)


def noise_of_bar(encoder: TorchEncoder, page: str) -> tuple[float, float]:
    """The mean probability of noise within the first navigation bar, and in the text after it."""
    tokens = [token for token in encoder.explain(page).tokens if token.span[1] > token.span[0]]
    end = len(BAR)
    bar = [token.noise for token in tokens if token.span[1] <= end]
    rest = [token.noise for token in tokens if end < token.span[0] < page.index(BAR, end)]
    return float(np.mean(bar)), float(np.mean(rest))


def test_what_recurs_is_noise(shipped: TorchEncoder, adapted: TorchEncoder, pages: list[str]) -> None:
    page = pages[3]
    bar, rest = noise_of_bar(adapted, page)
    assert bar > 0.7
    assert rest < 0.5
    assert bar - rest > np.subtract(*noise_of_bar(shipped, page))


def test_vectors_come_near_those_of_the_clean_texts(
    shipped: TorchEncoder, adapted: TorchEncoder, pages: list[str], prose: list[tuple[str, str]]
) -> None:
    mean = shipped.with_pooling("mean")
    clean = mean.encode_documents([text for _, text in prose[:60]])
    near = {
        name: float((clean * encoder.encode_documents(pages)).sum(1).mean())
        for name, encoder in (("mean", mean), ("shipped", shipped), ("adapted", adapted))
    }
    assert near["adapted"] > near["shipped"]
    assert near["adapted"] > near["mean"] + 0.1


def test_queries_and_the_encoder_that_was_adapted_stay_as_they_were(
    shipped: TorchEncoder, adapted: TorchEncoder, pages: list[str]
) -> None:
    assert isinstance(shipped.pooling, GlotHead)
    assert shipped.pooling.adaptation is None
    assert shipped.pooling.mix_weight == 0.2
    assert adapted.pooling.mix_weight == 1.0
    assert adapted.fingerprint != shipped.fingerprint
    np.testing.assert_array_equal(adapted.encode_queries(pages[:3]), shipped.encode_queries(pages[:3]))


def test_the_vector_does_not_depend_on_the_batch(adapted: TorchEncoder, pages: list[str]) -> None:
    texts = [*pages[:9], "one", ""]
    alone = np.concatenate([adapted.encode_documents([text]) for text in texts])
    assert (alone * adapted.encode_documents(texts)).sum(1).min() > 0.99999
    beside = encode_documents_together({"mean": adapted.with_pooling("mean"), "glot": adapted}, texts)["glot"]
    assert (alone * beside).sum(1).min() > 0.99999


def test_pruning_and_chunks_see_the_collection_too(
    shipped: TorchEncoder, adapted: TorchEncoder, pages: list[str]
) -> None:
    page = pages[3]
    assert "cookies" in page
    assert "cookies" not in adapted.denoise(page).text
    half = len(page) // 2
    spans = [(0, half), (half, len(page))]
    assert np.abs(adapted.encode_chunks(page, spans) - shipped.encode_chunks(page, spans)).max() > 1e-3


def test_saved_and_loaded(adapted: TorchEncoder, pages: list[str], tmp_path: Path) -> None:
    adapted.save(tmp_path / "saved")
    again = TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == adapted.fingerprint
    np.testing.assert_allclose(again.encode_documents(pages[:5]), adapted.encode_documents(pages[:5]), atol=1e-6)
    other = adapted.fit(pages[:55])  # adapted anew
    other.save(tmp_path / "other")
    # The head alone is adapted, too, wherever a head's directory is named.
    head = TorchEncoder.from_pretrained("minilm", head=tmp_path / "saved" / "head", dtype="float32")
    assert head.fingerprint == adapted.fingerprint
    counts = tmp_path / "saved" / "head" / "corpus_statistics.safetensors"
    counts.write_bytes((tmp_path / "other" / "head" / "corpus_statistics.safetensors").read_bytes())
    with pytest.raises(BundleError, match="is not the one that was saved here"):
        TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    (tmp_path / "other" / "head" / "noise_classifier.safetensors").unlink()
    with pytest.raises(BundleError, match="an adapted head without its calibration"):
        TorchEncoder.from_pretrained(tmp_path / "other", dtype="float32")
    shutil.copytree(PRETRAINED / "minilm", tmp_path / "saved" / "head", dirs_exist_ok=True)  # a head without counts
    with pytest.raises(BundleError, match="lacks the counts of its collection"):
        TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")


def test_encoders_of_one_head_are_adapted_together(
    shipped: TorchEncoder, adapted: TorchEncoder, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = shipped.with_pooling("glot", prune=True)
    asked: list[TorchEncoder] = []
    own = TorchEncoder.adapt

    def adapt(self: TorchEncoder, documents: list[str]) -> TorchEncoder:
        asked.append(self)
        return own(self, documents)

    monkeypatch.setattr(TorchEncoder, "adapt", adapt)
    found = fit_together({"glot": shipped, "glot+prune": pruned}, pages)
    assert asked == [shipped]
    assert found["glot"].fingerprint == adapted.fingerprint
    assert found["glot+prune"].fingerprint == pruned.fit(pages).fingerprint != adapted.fingerprint


def test_what_cannot_be_adapted(minilm: Backbone, shipped: TorchEncoder, pages: list[str]) -> None:
    with pytest.raises(InputError, match="pooling 'mean' here is none"):
        shipped.with_pooling("mean").fit(pages)
    with pytest.raises(InputError, match="cannot be told from 3 documents"):
        shipped.fit(pages[:3])
    with pytest.raises(InputError, match="expected a list of strings"):
        shipped.fit("a text")


def test_scores_without_ids_are_refused(adapted: TorchEncoder) -> None:
    with pytest.raises(InputError, match="needs the token ids"):
        adapted.pooling(torch.zeros(1, 4, 384), torch.ones(1, 4, dtype=torch.bool))


def test_a_calibration_on_disk(tmp_path: Path) -> None:
    head, _ = load_head(PRETRAINED / "minilm")
    assert head.calibration is not None
    head.calibration.save(tmp_path)
    again = NoiseClassifier.load(tmp_path)
    assert again is not None
    scores, features = torch.randn(5, 7), torch.randn(5, 7, len(FEATURES))
    mask = torch.arange(7) < torch.arange(3, 8)[:, None]
    assert torch.equal(again(scores, features, mask), head.calibration(scores, features, mask))
    assert NoiseClassifier.load(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", ["mixing", "background", "network.score.weight"])
def test_a_calibration_that_is_damaged(name: str, tmp_path: Path) -> None:
    head, _ = load_head(PRETRAINED / "minilm")
    assert head.calibration is not None
    head.calibration.save(tmp_path)
    path = tmp_path / "noise_classifier.safetensors"
    tensors = load_file(path)
    save_file({**tensors, name: tensors[name] * float("nan")}, path)
    with pytest.raises(BundleError, match="holds numbers out of range"):
        NoiseClassifier.load(tmp_path)
    save_file({key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(BundleError, match="is not a noise classifier"):
        NoiseClassifier.load(tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BundleError, match="is not a noise classifier"):
        NoiseClassifier.load(tmp_path)
