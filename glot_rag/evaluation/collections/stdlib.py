"""The built-in collection: the docstrings of Python's standard library. Needs no download and no network.

One document an object (module, class, function, method): its docstring without the summary. The summary, one
sentence, is the query that the document answers. How many there are depends on the Python version and on
which parts of the standard library are installed.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import random
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.collections.collection import MemoryCollection

MIN_BODY_WORDS = 25
MIN_SUMMARY_WORDS = 3
MAX_SUMMARY_WORDS = 40

_SKIPPED = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "_bundled",
    "turtledemo",
}
# "range(stop) -> range object": the signatures that docstrings of C functions begin with.
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*(-+>|:|=).*)?|[\w.]+\(.*,")
# What is left of other signatures, tables and sessions makes no query.
_PROSE = re.compile(r"[A-Z][\w'-]*,? (?!.*(->|>>>)).*", re.DOTALL)
_SENTENCE = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<=[.!?])\s+(?=\S)")


def load_stdlib(limit: int | None = None, *, seed: int = 0) -> MemoryCollection:
    """The standard library's documentation as a retrieval collection with one relevant document a query.

    Args:
        limit: how many documents, drawn at random by `seed`; None for all (also where there are not so many).
        seed: of the draw.

    Raises:
        InputError: a limit below 1.
        DatasetError: this Python came without the sources of its standard library.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be 1 or more, got {limit}.")
    pairs = _pairs()
    if not pairs:
        raise DatasetError(f"No docstrings found in {sysconfig.get_path('stdlib')}: is the standard library zipped?")
    names = list(pairs)
    if limit is not None and limit < len(names):
        names = sorted(random.Random(seed).sample(names, limit))
    return MemoryCollection(
        name="python-stdlib",
        documents={name: pairs[name][1] for name in names},
        queries={name: pairs[name][0] for name in names},
        qrels={name: {name: 1} for name in names},
        queries_made={"docstring summary line": len(names)},
    )


@cache
def _pairs() -> dict[str, tuple[str, str]]:
    """Object name -> (summary, body), sorted by name, without repeats of either."""
    docstrings = {**dict(_builtin_docstrings()), **dict(_source_docstrings())}
    pairs: dict[str, tuple[str, str]] = {}
    seen: set[str] = set()
    for name in sorted(docstrings):
        summary, body = split_docstring(docstrings[name])
        keys = {_normal(summary), _normal(body)}
        if len(body.split()) < MIN_BODY_WORDS or not keys.isdisjoint(seen) or _normal(summary) in _normal(body):
            continue
        if _PROSE.match(summary) and MIN_SUMMARY_WORDS <= len(summary.split()) <= MAX_SUMMARY_WORDS:
            seen |= keys
            pairs[name] = (summary, body)
    return pairs


def split_docstring(docstring: str) -> tuple[str, str]:
    """A cleaned docstring -> (its first sentence, the rest), without the call signatures at its head."""
    lines = docstring.strip().split("\n")
    while lines and (not lines[0].strip() or _SIGNATURE.fullmatch(lines[0].strip())):
        lines.pop(0)
    paragraph, _, rest = "\n".join(lines).partition("\n\n")
    sentences = _SENTENCE.split(paragraph, maxsplit=1)
    body = "\n\n".join(part.strip() for part in (*sentences[1:], rest) if part.strip())
    return " ".join(sentences[0].split()), body


def _normal(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _source_docstrings() -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of everything in the standard library that is written in Python."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED.isdisjoint(parts) and not parts[0].startswith(("config-", "_sysconfigdata")):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # old modules have invalid escapes in their strings
                    tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError, OSError):
                continue  # templates and Python 2 code that some distributions ship
            yield from _walk(tree, ".".join(parts).removesuffix(".__init__"))


def _walk(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[tuple[str, str]]:
    docstring = ast.get_docstring(node)
    if docstring:
        yield name, docstring
    if not isinstance(node, (ast.Module, ast.ClassDef)):
        return  # what is defined inside a function is nobody's documentation
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _walk(child, f"{name}.{child.name}")


def _builtin_docstrings() -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of everything in the modules that are compiled into the interpreter."""
    for module_name in sorted(sys.builtin_module_names):
        if module_name.startswith(("_xx", "_test")):
            continue
        module = importlib.import_module(module_name)
        yield from _members(module, module_name)


def _members(owner: ModuleType | type, name: str) -> Iterator[tuple[str, str]]:
    docstring = inspect.getdoc(owner)
    if docstring:
        yield name, docstring
    for key, member in sorted(vars(owner).items()):
        member = getattr(member, "__func__", member)  # a staticmethod's own docstring is that of `staticmethod`
        if inspect.isclass(member) and isinstance(owner, ModuleType) and member.__module__ == owner.__name__:
            yield from _members(member, f"{name}.{key}")
        elif inspect.isroutine(member) and isinstance(member.__doc__, str):
            yield f"{name}.{key}", inspect.cleandoc(member.__doc__)
