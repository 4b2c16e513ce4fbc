from __future__ import annotations

import pytest

from glot_rag.errors import InputError
from glot_rag.evaluation import load_stdlib
from glot_rag.evaluation.collections.stdlib import split_docstring


@pytest.mark.parametrize(
    ("docstring", "summary", "body"),
    [
        ("One line.\n\nThe rest.\n\nMore.", "One line.", "The rest.\n\nMore."),
        ("No full stop\n\nThe rest.", "No full stop", "The rest."),
        (
            "One sentence that\nwraps. The next one\nfollows.\n\nRest.",
            "One sentence that wraps.",
            "The next one\nfollows.\n\nRest.",
        ),
        ("f(a, b) -> list\ng(x)\n\nWhat it does. And how.", "What it does.", "And how."),
        ("Takes e.g. a list. Gives one.", "Takes e.g. a list.", "Gives one."),
        ("\n\n  Spaces.  \n", "Spaces.", ""),
        ("f(x)", "", ""),
    ],
)
def test_split_docstring(docstring: str, summary: str, body: str) -> None:
    assert split_docstring(docstring) == (summary, body)


def test_collection() -> None:
    dataset = load_stdlib()
    assert len(dataset.documents) > 1000
    assert list(dataset.documents) == list(dataset.queries) == sorted(dataset.documents)
    assert dataset.qrels == {name: {name: 1} for name in dataset.documents}
    assert len(set(dataset.queries.values())) == len(set(dataset.documents.values())) == len(dataset.documents)
    for name, body in dataset.documents.items():
        assert len(body.split()) >= 25
        assert 3 <= len(dataset.queries[name].split()) <= 40
        assert " ".join(dataset.queries[name].lower().split()) not in " ".join(body.lower().split())
    assert not any({"test", "tests", "idle_test"} & set(name.split(".")[:-1]) for name in dataset.documents)
    # One written in Python, one compiled in.
    assert dataset.queries["textwrap.dedent"] == "Remove any common leading whitespace from every line in `text`."
    assert dataset.queries["builtins.round"] == "Round a number to a given precision in decimal digits."
    assert dataset.documents["builtins.round"].startswith("The return value is an integer if ndigits")


def test_sample() -> None:
    first, again, other = load_stdlib(50, seed=0), load_stdlib(50, seed=0), load_stdlib(50, seed=1)
    assert first == again
    assert len(first.documents) == len(first.queries) == len(first.qrels) == 50
    assert first.documents.keys() != other.documents.keys()
    assert list(first.documents) == sorted(first.documents)
    whole = load_stdlib()
    assert first.documents.items() <= whole.documents.items()
    assert load_stdlib(10**9) == whole


def test_bad_limit() -> None:
    with pytest.raises(InputError, match="limit must be 1 or more, got 0"):
        load_stdlib(0)
