from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from glot_rag.denoise import recurrence as module
from glot_rag.denoise.recurrence import RECURRENCE_FEATURES, Recurrence, recurrence_features
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import BundleError, InputError


def features(texts: list[str], groups: list[str] | None = None) -> list[np.ndarray]:
    return recurrence_features(texts, [split_blocks(text) for text in texts], groups)


def test_hand_worked_example() -> None:
    texts = ["Home | Search now\nCats eat fish here", "home search NOW\nDogs eat bones", "Cats eat fish often\nnothing"]
    first = features(texts)[0]
    # The line stands in two of three documents, and so does its only run.
    np.testing.assert_allclose(first[0], [np.log(3), 2 / 3, 2 / 3, 1], rtol=1e-6)
    # The line stands here alone; one of its two runs ("cats eat fish") in two documents.
    np.testing.assert_allclose(first[1], [np.log(2), 1 / 3, (2 / 3 + 1 / 3) / 2, 0.5], rtol=1e-6)


def test_numbers_count_as_alike() -> None:
    found = features(["Page 1 of 9\na b c", "Page 2 of 9\nd e f", "Page 3 of 9\ng h i"])
    assert [each[0, 1] for each in found] == [1.0, 1.0, 1.0]


def test_only_the_own_group_is_counted() -> None:
    texts = ["menu\nx"] * 3 + ["menu\ny"] * 4 + ["menu\nz"] * 2
    found = features(texts, ["a"] * 3 + ["b"] * 4 + ["c"] * 2)
    assert np.exp(found[0][0, 0]) - 1 == pytest.approx(3)
    assert np.exp(found[3][0, 0]) - 1 == pytest.approx(4)
    assert not found[8].any(), "two documents are too few"
    assert found[8].shape == (2, len(RECURRENCE_FEATURES))


def test_a_line_twice_in_one_document_is_in_one_document() -> None:
    found = features(["menu\nmenu", "b", "c"])
    assert found[0][0, 1] == pytest.approx(1 / 3)


def template(texts: list[str], row: int, counted: list[str] | None = None) -> list[bool]:
    recurrence = Recurrence.count(texts if counted is None else counted).recurring()
    found: list[bool] = recurrence.look_up(texts[row], split_blocks(texts[row])).template.tolist()
    return found


PAGES = [f"Home\nShop\nHelp\n{number} tells of {name} alone\nHome\nso it is" for number, name in enumerate("abcdef")]


def test_lines_in_a_row_that_most_documents_have_are_their_template() -> None:
    assert template(PAGES, 0) == [True, True, True, False, False, False]
    # Two of the five others are too few; "so it is" and "Home" recur by themselves.
    assert not any(template([*PAGES[:3], "x", "y", "z"], 0))
    assert template([*PAGES[:4], "x", "y"], 0)[:3] == [True] * 3


def test_no_template_of_few_documents() -> None:
    assert not any(template(PAGES[:4], 0))
    assert any(template(PAGES[:5], 0))
    assert any(template(PAGES, 5, counted=PAGES[:5])), "a document that was not counted has a template, too"
    assert not any(template(PAGES, 4, counted=PAGES[:4]) and template(PAGES[:3], 0))


def test_documents_that_repeat_each_other_have_no_template() -> None:
    contract = "\n".join(f"clause {'abcdefghijklmnop'[i]} says what each side owes" for i in range(16))
    assert not any(template([f"{contract}\nversion {name}" for name in "abcdef"], 0))


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="got 2 texts and 1 lists of blocks: expected one for each text"):
        recurrence_features(["a", "b"], [[]])


def corpus(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Pages of three sites, each with a menu of its own, some words at random, and now and then the same page twice."""
    rng = random.Random(seed)
    texts, groups = [], []
    for number in range(count):
        site = rng.choice(["a", "b", "c"])
        lines = [f"Menu of {site} and more", *(" ".join(rng.choices("xyzuvw", k=5)) for _ in range(4))]
        texts.append(texts[-1] if number % 7 == 6 else "\n".join(lines))
        groups.append(groups[-1] if number % 7 == 6 else site)
    return texts, groups


def same(one: Recurrence, other: Recurrence) -> bool:
    return one.fingerprint == other.fingerprint


@pytest.mark.parametrize("most", [1 << 24, 100])
def test_merged_counts_are_those_of_one_count(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", most)
    monkeypatch.setattr(module, "_PENDING", 50)
    texts, groups = corpus(60)
    whole = Recurrence.count(texts, groups)
    order = random.Random(1).sample(range(60), 60)
    parts = [Recurrence.count([texts[i] for i in some], [groups[i] for i in some]) for some in (order[:9], order[9:])]
    assert same(parts[0].merge(parts[1]), whole)
    assert same(parts[1].merge(parts[0]), whole)
    assert (whole.halvings > 0) == (most == 100)
    assert len(whole.keys) <= most
    assert (whole.recurring().counts > 1).all()
    with pytest.raises(InputError, match="only what recurs cannot be merged"):
        whole.recurring().merge(whole)


def test_a_later_document_is_one_more_of_its_group() -> None:
    menu = "One two three four"
    counted = Recurrence.count([f"{menu}\nText {word} here" for word in ("red", "green", "blue")]).recurring()
    later = f"{menu}\nSomething else altogether"
    got = counted.look_up(later, split_blocks(later)).features
    # As if it had been counted with the others.
    with_others = features([f"{menu}\nText {word} here" for word in ("red", "green", "blue")] + [later])[-1]
    np.testing.assert_allclose(got, with_others)
    np.testing.assert_allclose(got[0], [np.log(5), 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(got[1], [np.log(2), 1 / 4, 1 / 4, 0], rtol=1e-6)


def test_a_counted_document_does_not_count_itself() -> None:
    texts = ["a b c\nown line of it", "a b c\nother", "a b c\nthird"]
    counted = Recurrence.count(texts)
    np.testing.assert_allclose(
        counted.look_up(texts[0], split_blocks(texts[0])).features[:, 0],
        np.log1p([3, 1]),
        rtol=1e-6,
        err_msg="not 4 and 2",
    )
    assert not counted.look_up(texts[0], split_blocks(texts[0]), "a site that was not counted").features.any()


def test_runs_that_are_left_out_of_the_sample_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = corpus(40)
    exact = Recurrence.count(texts).look_up(texts[0], split_blocks(texts[0])).features
    monkeypatch.setattr(module, "MOST_KEPT", 350)
    sampled = Recurrence.count(texts)
    assert sampled.halvings > 0
    got = sampled.look_up(texts[0], split_blocks(texts[0])).features
    np.testing.assert_array_equal(got[:, :2], exact[:, :2])  # blocks are not sampled yet
    assert np.abs(got[:, 2] - exact[:, 2]).max() < 0.3


def test_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "recurrence.safetensors"
    counted = Recurrence.count(*corpus(20)).recurring()
    counted.save(path)
    assert same(Recurrence.load(path), counted)
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    with pytest.raises(BundleError, match="is damaged"):
        Recurrence.load(path)
    Recurrence(counted.documents, counted.groups, counted.members[:-1], counted.keys, counted.counts).save(path)
    with pytest.raises(BundleError, match="holds counts that contradict each other: fit the denoiser again"):
        Recurrence.load(path)
    with pytest.raises(BundleError, match="cannot be read"):
        Recurrence.load(tmp_path / "none")
