"""Inside the room of the index, too, imports run one way."""

import ast
from pathlib import Path

import pytest

import glot_rag.index

ROOM = Path(glot_rag.index.__file__).parent
ORDER = [
    *("validation", "index_types", "filters", "keywords.analysis"),
    *("store.schema", "store.connection", "store.directory", "store.manifest", "store.snapshot", "store.cache"),
    *("store.transaction", "store.store", "store.ingest"),
    *("replica.shared_lock", "replica.files", "replica.replica"),
    *("vectors.faiss_index", "vectors.replica", "keywords.postings", "keywords.bm25", "keywords.replica", "replicas"),
    *(
        "fusion",
        "options",
        "search",
        "maintenance",
        "reading",
        "api",
        "sharded",
        "kept_denoiser",
        "transfer",
        "chunking",
        "corpus",
    ),
]


def imported(file):
    """The modules of the room that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("glot_rag.index"):
            inside = node.module.removeprefix("glot_rag.index").removeprefix(".")
            for name in [inside, *(f"{inside}.{alias.name}".lstrip(".") for alias in node.names)]:
                if name in ORDER:
                    yield name


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_those_before_it(name):
    file = ROOM / f"{name.replace('.', '/')}.py"
    later = [other for other in imported(file) if ORDER.index(other) >= ORDER.index(name)]
    assert later == []


def test_every_module_has_a_place():
    found = {
        ".".join(file.relative_to(ROOM).with_suffix("").parts)
        for file in ROOM.rglob("*.py")
        if file.name != "__init__.py"
    }
    assert found == set(ORDER)
