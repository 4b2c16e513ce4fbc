"""GlotEncoder.fit: the shipped head with a corpus of noisy documents, from counting to a saved encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from glot_rag import TorchDenoiser, TorchEncoder
from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.corpus_statistics import FEATURES
from glot_rag.denoise.storage import load_fitted_head
from glot_rag.encoder.together import encode_documents_together, fit_together
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.head import GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PRETRAINED

BAR = "Home Products Pricing Log in We use cookies to improve your experience Accept all cookies Manage preferences"


@pytest.fixture(scope="module")
def shipped() -> TorchEncoder:
    return TorchEncoder.from_pretrained("minilm", dtype="float32")


@pytest.fixture(scope="module")
def fitted(shipped: TorchEncoder, pages: list[str]) -> TorchEncoder:
    return shipped.fit(pages)


@pytest.fixture(scope="module")
def classifier() -> NoiseClassifier:
    found = NoiseClassifier.load(PRETRAINED / "minilm")
    assert found is not None
    return found


def noise_of_bar(encoder: TorchEncoder, page: str) -> tuple[float, float]:
    """The mean probability of noise within the first navigation bar, and in the text after it."""
    tokens = [token for token in encoder.explain(page).tokens if token.span[1] > token.span[0]]
    end = len(BAR)
    bar = [token.noise for token in tokens if token.span[1] <= end]
    rest = [token.noise for token in tokens if end < token.span[0] < page.index(BAR, end)]
    return float(np.mean(bar)), float(np.mean(rest))


def test_what_recurs_is_noise(shipped: TorchEncoder, fitted: TorchEncoder, pages: list[str]) -> None:
    page = pages[3]
    bar, rest = noise_of_bar(fitted, page)
    assert bar > 0.7
    assert rest < 0.5
    assert bar - rest > np.subtract(*noise_of_bar(shipped, page))


def test_vectors_come_near_those_of_the_clean_texts(
    shipped: TorchEncoder, fitted: TorchEncoder, pages: list[str], prose: list[tuple[str, str]]
) -> None:
    mean = shipped.with_pooling("mean")
    clean = mean.encode_documents([text for _, text in prose[:60]])
    near = {
        name: float((clean * encoder.encode_documents(pages)).sum(1).mean())
        for name, encoder in (("mean", mean), ("shipped", shipped), ("fitted", fitted))
    }
    assert near["fitted"] > near["shipped"]
    assert near["fitted"] > near["mean"] + 0.1


def test_queries_and_the_encoder_that_was_fitted_stay_as_they_were(
    shipped: TorchEncoder, fitted: TorchEncoder, pages: list[str]
) -> None:
    assert isinstance(shipped.pooling, GlotHead)
    assert shipped.pooling.adjustment is None
    assert not shipped.fitted
    assert fitted.fitted
    assert shipped.pooling.mix_weight == 0.2
    assert fitted.pooling.mix_weight == 1.0
    assert fitted.fingerprint != shipped.fingerprint
    np.testing.assert_array_equal(fitted.encode_queries(pages[:3]), shipped.encode_queries(pages[:3]))


def test_the_vector_does_not_depend_on_the_batch(fitted: TorchEncoder, pages: list[str]) -> None:
    texts = [*pages[:9], "one", ""]
    alone = np.concatenate([fitted.encode_documents([text]) for text in texts])
    assert (alone * fitted.encode_documents(texts)).sum(1).min() > 0.99999
    beside = encode_documents_together({"mean": fitted.with_pooling("mean"), "glot": fitted}, texts)["glot"]
    assert (alone * beside).sum(1).min() > 0.99999


def test_denoising_and_chunks_see_the_corpus_too(shipped: TorchEncoder, fitted: TorchEncoder, pages: list[str]) -> None:
    page = pages[3]
    assert "cookies" in page
    assert "cookies" not in fitted.denoise([page])[0].text
    half = len(page) // 2
    spans = [(0, half), (half, len(page))]
    assert np.abs(fitted.encode_chunks(page, spans) - shipped.encode_chunks(page, spans)).max() > 1e-3


def test_fitting_gives_the_same_encoder_in_bfloat16_and_float32(fitted: TorchEncoder, pages: list[str]) -> None:
    """Which of the two embeds may be decided by a stopwatch; what is fitted may not."""
    half = TorchEncoder.from_pretrained("minilm", dtype="bfloat16", device="cpu").fit(pages)
    assert half.backbone.dtype == torch.bfloat16
    assert half.fingerprint == fitted.fingerprint
    ours, theirs = half.pooling.adjustment.statistics, fitted.pooling.adjustment.statistics  # type: ignore[union-attr]
    np.testing.assert_array_equal(ours.token_prior, theirs.token_prior)


def test_saved_and_loaded(fitted: TorchEncoder, pages: list[str], tmp_path: Path) -> None:
    fitted.save(tmp_path / "saved")
    again = TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == fitted.fingerprint
    np.testing.assert_allclose(again.encode_documents(pages[:5]), fitted.encode_documents(pages[:5]), atol=1e-6)
    other = fitted.fit(pages[:55])  # fitted anew
    other.save(tmp_path / "other")
    # The head's folder is fitted, too, wherever a head's directory is named.
    head = TorchEncoder.from_pretrained("minilm", head=tmp_path / "saved" / "head", dtype="float32")
    assert head.fingerprint == fitted.fingerprint
    counts = tmp_path / "saved" / "head" / "corpus_statistics.safetensors"
    counts.write_bytes((tmp_path / "other" / "head" / "corpus_statistics.safetensors").read_bytes())
    with pytest.raises(BundleError, match="were not saved with its head: fit and save it again"):
        TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    (tmp_path / "other" / "head" / "noise_classifier.safetensors").unlink()
    with pytest.raises(BundleError, match="a fitted head without its noise classifier"):
        TorchEncoder.from_pretrained(tmp_path / "other", dtype="float32")
    shutil.copytree(PRETRAINED / "minilm", tmp_path / "saved" / "head", dirs_exist_ok=True)  # a head that is not fitted
    with pytest.raises(BundleError, match="is not the head, or not the corpus statistics, that the encoder was saved"):
        TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")


def test_an_encoder_saved_over_a_fitted_one_leaves_nothing_of_it(
    shipped: TorchEncoder, fitted: TorchEncoder, minilm: Backbone, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    shipped.save(tmp_path)
    assert TorchEncoder.from_pretrained(tmp_path, dtype="float32").fingerprint == shipped.fingerprint
    assert not (tmp_path / "head" / "corpus_statistics.safetensors").exists()
    TorchEncoder(minilm, shipped.pooling, query_pooling=shipped.query_pooling).save(tmp_path)
    assert "fit" not in TorchEncoder.from_pretrained(tmp_path, dtype="float32").capabilities


def test_another_pooling_of_ones_own_name_keeps_head_and_fitting(fitted: TorchEncoder, pages: list[str]) -> None:
    same = fitted.with_pooling("glot")
    assert same.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(same.encode_documents(pages[:3]), fitted.encode_documents(pages[:3]))
    denoised = fitted.with_pooling("glot", denoise=True)
    assert denoised.denoiser is not None
    assert denoised.denoiser.fitted
    assert fitted.with_pooling("adapool").pooling.name == "adapool"


def test_encoders_of_one_head_are_fitted_together(
    shipped: TorchEncoder, fitted: TorchEncoder, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from glot_rag.encoder import torch_encoder

    denoising = shipped.with_pooling("glot", denoise=True)
    asked: list[object] = []
    own = torch_encoder.fit_head

    def fit_head(*given: object, **options: object) -> GlotHead:
        asked.append(given)
        return own(*given, **options)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(torch_encoder, "fit_head", fit_head)
    found = fit_together({"glot": shipped, "denoising": denoising}, pages)
    assert len(asked) == 1
    assert found["glot"].fingerprint == fitted.fingerprint
    assert found["denoising"].fingerprint == denoising.fit(pages).fingerprint != fitted.fingerprint
    assert found["denoising"].denoiser is not None
    assert found["denoising"].denoiser.fitted


def test_what_cannot_be_fitted(shipped: TorchEncoder, pages: list[str]) -> None:
    mean = shipped.with_pooling("mean")
    assert mean.capabilities == {"chunks", "explain"}
    assert shipped.capabilities == {"chunks", "denoise", "explain", "fit"}
    with pytest.raises(UnsupportedError, match=r"has no fit\(\): its capabilities are chunks, explain\. Use a trained"):
        mean.fit(pages)
    with pytest.raises(InputError, match="cannot be told from 3 documents"):
        shipped.fit(pages[:3])
    with pytest.raises(InputError, match="expected a list of strings"):
        shipped.fit("a text")
    with pytest.raises(InputError, match=r"groups must name one group .* for each of the 60 texts; got"):
        shipped.fit(pages, ["a"])


def test_scores_without_ids_are_refused(fitted: TorchEncoder) -> None:
    with pytest.raises(InputError, match="needs the token ids"):
        fitted.pooling(torch.zeros(1, 4, 384), torch.ones(1, 4, dtype=torch.bool))


def test_small_groups_say_what_recurs_in_them(prose: list[tuple[str, str]]) -> None:
    """Seven pages of one site among 350 texts: a notice that is rare in the corpus stands in every page of the site."""
    notice = "The information on these pages is provided by the harbour office without any warranty"
    texts = [" ".join(text.split()[:40]) for _, text in prose[:350]]
    documents = [f"{text[: len(text) // 2]}\n{notice}\n{text[len(text) // 2 :]}" for text in texts[:7]] + texts[7:]
    groups = ["harbour.example"] * 7 + ["python.example"] * (len(texts) - 7)
    shipped = TorchDenoiser.from_pretrained("minilm", dtype="float32")
    fitted = TorchDenoiser(shipped.backbone, shipped.head, shipped.classifier).fit(documents, groups)

    def noise(names: list[str] | None) -> tuple[float, float]:
        """Of the notice, and of the other lines."""
        blocks = [block for each in fitted.denoise(documents[:7], names) for block in each.blocks]
        assert len(blocks) == 21
        notices = [block.noise for block in blocks if block.text == notice]
        return float(np.mean(notices)), float(np.mean([block.noise for block in blocks if block.text != notice]))

    without, within = noise(None), noise(groups[:7])
    assert within[0] > without[0] + 0.05
    assert within[1] < without[1]
    assert noise(["another.example"] * 7) == pytest.approx(without)


# ---- the noise classifier


def test_a_classifier_on_disk(classifier: NoiseClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
    again = NoiseClassifier.load(tmp_path)
    assert again is not None
    assert again.fingerprint == classifier.fingerprint
    scores, features = torch.randn(5, 7), torch.randn(5, 7, len(FEATURES))
    mask = torch.arange(7) < torch.arange(3, 8)[:, None]
    assert torch.equal(again(scores, features, mask), classifier(scores, features, mask))
    assert NoiseClassifier.load(tmp_path / "nowhere") is None


def test_a_classifier_stays_where_it_is(classifier: NoiseClassifier) -> None:
    """Scores on another device must not take the network away from encoders that share it."""
    scores, features = torch.randn(2, 7), torch.randn(2, 7, len(FEATURES))
    mask = torch.ones(2, 7, dtype=torch.bool)
    before = classifier(scores, features, mask)
    assert classifier(scores.to("meta"), features, mask.to("meta")).device.type == "meta"
    assert torch.equal(classifier(scores, features, mask), before)


@pytest.mark.parametrize("name", ["mixing", "background", "network.score.weight"])
def test_a_classifier_that_is_damaged(name: str, classifier: NoiseClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
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


def test_a_head_without_a_classifier_loads_alone(tmp_path: Path) -> None:
    shutil.copytree(PRETRAINED / "minilm", tmp_path / "head")
    assert load_fitted_head(tmp_path / "head").classifier is not None
    (tmp_path / "head" / "noise_classifier.safetensors").unlink()
    head, classifier, details = load_fitted_head(tmp_path / "head")
    assert (head.adjustment, classifier, details["backbone"]) == (None, None, "minilm")
