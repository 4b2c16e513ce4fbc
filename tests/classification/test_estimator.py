"""`GlotClassifier` as scikit-learn expects an estimator, and on disk."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_state import global_random_state_unchanged
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from glot_rag import GlotClassifier
from glot_rag.classification.classifier import build_pooling
from glot_rag.errors import BundleError, InputError
from glot_rag.models.tokenizer import pack

SETTINGS: dict[str, Any] = {
    "hidden_size": 16,
    "num_layers": 1,
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 5e-3,
    "validation": 0.2,
    "max_tokens": 32,
    "device": "cpu",
    "dtype": "float32",
}
Labelled = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def fitted(animals_and_tools: Labelled, minilm_folder: Path) -> GlotClassifier:
    return GlotClassifier(**SETTINGS).fit(*animals_and_tools)


@pytest.fixture(scope="module")
def saved(fitted: GlotClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    fitted.save(path)
    return path


def test_it_learns_and_gives_the_classes_back_as_they_were(fitted: GlotClassifier, animals_and_tools: Labelled) -> None:
    assert fitted.classes_.tolist() == ["animal", "tool"]
    assert fitted.predict(["where is the goose", "a rusty hammer"]).tolist() == ["animal", "tool"]
    predicted = fitted.predict(animals_and_tools[0])
    assert fitted.score(*animals_and_tools) == np.mean(predicted == np.array(animals_and_tools[1])) > 0.9
    assert fitted.n_iter_ == len(fitted.history_) <= 4


@torch.no_grad()
def test_probabilities_are_the_networks_softmax(fitted: GlotClassifier, texts: list[str], minilm: Any) -> None:
    rows = [5, 0, 33]
    found = fitted.predict_proba([texts[row] for row in rows])
    for row, probabilities in zip(rows, found, strict=True):
        [batch] = pack(minilm.tokenizer([texts[row]]), minilm.tokenizer.pad_id)
        [states], mask = minilm.hidden_states(batch)
        vector = fitted.net_.pooling(states, mask).vector
        logits = vector @ fitted.net_.output.weight.T + fitted.net_.output.bias
        np.testing.assert_allclose(probabilities, torch.softmax(logits, -1)[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_mixin_order,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
    ],
)
def test_scikit_learns_own_checks(check: Callable[[str, GlotClassifier], None]) -> None:
    """Those that feed no numbers: X is texts, so `check_estimator` leaves out all but the first of these."""
    check("GlotClassifier", GlotClassifier(**SETTINGS))


def test_fit_gives_itself_back_and_alters_no_parameter(animals_and_tools: Labelled) -> None:
    estimator = GlotClassifier(**{**SETTINGS, "pooling": "mean"})
    before = estimator.get_params()
    assert estimator.fit(*animals_and_tools) is estimator
    assert estimator.get_params() == before
    state = dict(vars(estimator))
    first = estimator.predict_proba(animals_and_tools[0])
    assert vars(estimator) == state
    np.testing.assert_array_equal(estimator.fit(*animals_and_tools).predict_proba(animals_and_tools[0]), first)


def test_parameters_go_in_and_come_out() -> None:
    estimator = GlotClassifier(**SETTINGS)
    assert estimator.get_params().items() >= SETTINGS.items()
    copied = clone(estimator.set_params(pooling="mean"))
    assert copied is not estimator
    assert copied.get_params() == estimator.get_params()
    assert copied.pooling == "mean"
    named = inspect.signature(GlotClassifier).parameters
    assert set(estimator.get_params()) == set(named)


def test_in_a_pipeline_and_a_grid_search(animals_and_tools: Labelled) -> None:
    pipeline = make_pipeline(
        FunctionTransformer(lambda texts: [text.upper() for text in texts]),
        GlotClassifier(**{**SETTINGS, "pooling": "mean"}),
    )
    search = GridSearchCV(pipeline, {"glotclassifier__learning_rate": [1e-9, 1e-2]}, cv=2, refit=True)
    search.fit(*animals_and_tools)
    assert search.best_params_ == {"glotclassifier__learning_rate": 1e-2}
    assert search.predict(["the hen"]).tolist() == ["animal"]


def test_numbers_of_numpy_as_a_search_over_a_grid_sets_them(animals_and_tools: Labelled, tmp_path: Path) -> None:
    grid = {"num_layers": np.array([1]), "hidden_size": np.array([8]), "max_tokens": np.array([32])}
    more = {"epochs": np.array([1]), "weight_decay": np.array([0.1], np.float32), "layers": [np.array([-1, -2])]}
    best = GridSearchCV(GlotClassifier(), grid | more, cv=2).fit(*animals_and_tools).best_estimator_
    best.save(tmp_path)
    loaded = GlotClassifier.load(tmp_path)
    assert (loaded.num_layers, loaded.hidden_size, loaded.max_tokens, loaded.layers) == (1, 8, 32, (-1, -2))
    assert loaded.predict_proba(["a cat"]).tolist() == best.predict_proba(["a cat"]).tolist()


def test_the_random_state_decides(animals_and_tools: Labelled) -> None:
    def probabilities(state: object) -> Any:
        one = GlotClassifier(**{**SETTINGS, "pooling": "adapool", "epochs": 1}, random_state=state)
        return one.fit(*animals_and_tools).predict_proba(animals_and_tools[0][:5])

    with global_random_state_unchanged():
        np.testing.assert_array_equal(probabilities(3), probabilities(3))
    np.testing.assert_array_equal(probabilities(np.random.RandomState(5)), probabilities(np.random.RandomState(5)))
    assert not np.allclose(probabilities(3), probabilities(4))


def test_noisy_views_are_trained_on_and_held_out_with_their_text(
    animals_and_tools: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def spy(net: Any, states: Any, train: Any, validation: Any, config: Any) -> list[Any]:
        seen.update(count=len(states.lengths), train=train, validation=validation, longest=states.lengths.max())
        return []

    monkeypatch.setattr("glot_rag.classification.estimator.fit_classifier", spy)
    GlotClassifier(**SETTINGS, noisy_views=2).fit(*animals_and_tools)
    count = len(animals_and_tools[0])
    assert seen["count"] == 3 * count
    parts = [{int(row) % count for row in seen[part].rows[:, 0]} for part in ("train", "validation")]
    assert not parts[0] & parts[1]
    assert len(seen["train"]) == 3 * len(parts[0])
    expected = [int(animals_and_tools[1][int(row) % count] == "tool") for row in seen["train"].rows[:, 0]]
    assert seen["train"].labels.tolist() == expected
    assert seen["longest"] == 32  # noise fills a text up to its longest


def test_classes_may_be_numbers(animals_and_tools: Labelled, tmp_path: Path) -> None:
    texts, names = animals_and_tools
    numbers = np.where(np.array(names) == "tool", 7, -2)
    one = GlotClassifier(**{**SETTINGS, "pooling": "mean"}).fit(np.array(texts), numbers)
    assert one.predict(np.array(texts[:2])).tolist() == [-2, -2]
    one.save(tmp_path)
    again = GlotClassifier.load(tmp_path)
    assert again.classes_.dtype == one.classes_.dtype
    np.testing.assert_array_equal(again.predict(texts), one.predict(texts))


@pytest.mark.parametrize(
    ("settings", "texts", "classes", "message"),
    [
        ({}, "one text", ["a"], "got one str: put it in a list"),
        ({}, ["a", "b", 3], [0, 1, 1], "expected strings, got int at position 2"),
        ({}, ["a", "b"], [0, 1, 1], "2 texts, but 3 classes"),
        ({}, ["a", "b"], None, "requires y to be passed"),
        ({}, ["a", "b"], ["x", "x"], "at least 2 classes; got 1 class"),
        ({}, ["a", "b"], ["x", "y"], "2 examples are too few"),
        ({}, ["a", "b"], [0.5, 0.7], "Unknown label type"),
        ({"noisy_views": -1}, ["a"] * 4, [0, 1, 0, 1], "noisy_views must be a whole number from 0; got -1"),
        ({"pooling": "median"}, ["a"] * 4, [0, 1, 0, 1], "pooling must be one of"),
        ({"epochs": 0}, ["a"] * 4, [0, 1, 0, 1], "epochs must be at least 1"),
        ({"validation": 0.0}, ["a"] * 4, [0, 1, 0, 1], "held out must be between 0 and 1"),
        ({"max_tokens": 10_000}, ["a"] * 4, [0, 1, 0, 1], "max_tokens must be from 1 to 256"),
    ],
)
def test_what_cannot_be_fitted(settings: dict[str, Any], texts: Any, classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlotClassifier(**{**SETTINGS, **settings}).fit(texts, classes)


def test_before_fit_there_is_nothing_to_predict_or_save(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GlotClassifier().predict(["a"])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GlotClassifier().save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_saved_and_loaded_it_predicts_the_same(fitted: GlotClassifier, saved: Path, texts: list[str]) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["classifier.json", "classifier.safetensors"]
    loaded = GlotClassifier.load(saved)
    assert loaded.get_params() == fitted.get_params()
    np.testing.assert_array_equal(loaded.predict_proba(texts), fitted.predict_proba(texts))
    assert GlotClassifier.load(saved, dtype="bfloat16").dtype == "bfloat16"


def test_what_is_damaged_is_refused(saved: Path, tmp_path: Path) -> None:
    record = json.loads((saved / "classifier.json").read_text())
    weights = (saved / "classifier.safetensors").read_bytes()

    def broken(name: str, record: object, weights: bytes | None = weights) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "classifier.json").write_text(json.dumps(record))
        if weights is not None:
            (folder / "classifier.safetensors").write_bytes(weights)
        return folder

    with pytest.raises(BundleError, match="it is damaged"):
        GlotClassifier.load(broken("flipped", record, weights[:-1] + bytes([weights[-1] ^ 1])))
    with pytest.raises(BundleError, match="cannot be read"):
        GlotClassifier.load(broken("missing", record, None))
    with pytest.raises(BundleError, match="expected 'glot-rag/classifier'"):
        GlotClassifier.load(broken("other", {**record, "format": "glot-rag/head"}))
    with pytest.raises(BundleError, match="reads 1 to 1"):
        GlotClassifier.load(broken("newer", {**record, "format_version": 2}))
    with pytest.raises(BundleError, match="do not fit the settings"):
        GlotClassifier.load(broken("wider", {**record, "params": {**record["params"], "hidden_size": 20}}))
    with pytest.raises(BundleError, match="do not fit the settings"):
        GlotClassifier.load(broken("unknown", {**record, "params": {**record["params"], "colour": "red"}}))
    with pytest.raises(BundleError, match="do not fit the settings"):
        GlotClassifier.load(broken("classes", {**record, "classes": {"dtype": "|O", "values": [[1], [2]]}}))


def test_another_backbone_is_refused(saved: Path, tmp_path: Path) -> None:
    record = json.loads((saved / "classifier.json").read_text())
    tensors = load_file(saved / "classifier.safetensors")
    save_file(tensors, tmp_path / "classifier.safetensors")
    data = (tmp_path / "classifier.safetensors").read_bytes()
    record |= {"backbone_fingerprint": "0" * 64, "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "classifier.json").write_text(json.dumps(record))
    loaded = GlotClassifier.load(tmp_path)
    with pytest.raises(BundleError, match="trained over a backbone with fingerprint 0000"):
        loaded.predict(["a"])


def test_a_random_state_that_json_cannot_hold(fitted: GlotClassifier, tmp_path: Path) -> None:
    other = GlotClassifier(**SETTINGS, random_state=np.random.RandomState(0))
    other.__dict__ |= {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    with pytest.raises(InputError, match="cannot be saved as JSON: Object of type RandomState"):
        other.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import glot_rag\n"
        "try:\n    glot_rag.GlotClassifier\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == (
        "MissingExtraError This needs the package 'scikit-learn'. Install it with: pip install 'glot-rag[classify]'"
    )


def test_a_fixed_pooling_ignores_the_layers_that_others_read() -> None:
    assert GlotClassifier(pooling="mean", layers=(2, -1))._layers() == (-1,)
    assert build_pooling("mean", 384).layers == (-1,)
