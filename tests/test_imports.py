"""What is imported where: light at the top, one way through the layers, nothing that runs code from a data file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "glot_rag").rglob("*.py"))
OUTSIDE = sorted(path for folder in ("integrations", "exports") for path in (ROOT / folder).rglob("*.py"))
# The way of the data: a room imports from itself and from the rooms above it in this list. Every room has a place.
LAYERS = [
    ("errors",),
    ("checks", "files", "fingerprint"),
    ("progress",),
    ("embedder",),
    ("documents",),
    ("models",),
    ("head",),
    ("denoise",),
    ("encoder",),
    ("onnx",),
    ("index",),
    ("shards",),
    ("classification",),
    ("evaluation",),
    ("training",),
    ("serving",),
    ("cli",),
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module, at the top or inside a function, except what only type checkers see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.module, node.lineno
            # `from glot_rag import index` names a module in the second place
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_package_tells_type_checkers_of_its_types(path: Path) -> None:
    assert (path.parent / "py.typed").is_file()


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT / "glot_rag").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":  # the public names, loaded lazily, by name
        assert not [name for name, _ in imports(path) if name.startswith("glot_rag.") and "errors" not in name]
        return
    assert layer in RANK, f"give {layer} a place in LAYERS"
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] == "glot_rag" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[parts[1]] <= RANK[layer], f"{path}:{line}: {layer} imports {name}"
            if RANK[parts[1]] == RANK[layer]:
                assert parts[1] == layer, f"{path}:{line}: {layer} imports its neighbour {name}"


def test_the_check_sees_imports_in_functions(tmp_path: Path) -> None:
    source = tmp_path / "example.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unseen\n"
        "def f():\n    from glot_rag import index\n    import glot_rag.cli.app\n"
    )
    names = [name for name, _ in imports(source)]
    assert "glot_rag.index" in names
    assert "glot_rag.cli.app" in names
    assert "unseen" not in names


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_does_not_import_what_is_built_on_it(path: Path) -> None:
    built_on_it = {
        "langchain_glot", "llama_index", "sentence_transformers_glot", "ray_glot", "glot_onnx",
        "langchain_core", "langchain", "sentence_transformers", "ray", "onnx",
    }  # fmt: skip
    # What is compared with, not built upon.
    compared = {"evaluation/baselines/stock.py": {"sentence_transformers"}}
    allowed = compared.get(path.relative_to(ROOT / "glot_rag").as_posix(), set())
    found = {name.split(".")[0] for name, _ in imports(path)} & built_on_it
    assert found == allowed


@pytest.mark.parametrize("path", [*LIBRARY, *OUTSIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_data_can_run_code(path: Path) -> None:
    modules = {name.split(".")[0] for name, _ in imports(path)}
    assert not modules & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.save", "eval", "exec", "yaml.load"), f"{path}:{node.lineno}"
            for keyword in node.keywords:
                allowed = keyword.arg in ("allow_pickle", "trust_remote_code")
                assert not (allowed and ast.unparse(keyword.value) != "False"), f"{path}:{node.lineno}"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


HEAVY = "sorted({'torch', 'faiss', 'transformers', 'torch_geometric', 'numpy', 'sklearn'} & set(sys.modules))"


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert run(f"import sys, glot_rag; print(dir(glot_rag) != [], {HEAVY})") == "True []"


def test_importing_the_command_line_loads_no_model_library() -> None:
    loaded = run(f"import sys, glot_rag.cli.app; print({HEAVY})")
    assert not {"torch", "faiss", "transformers", "torch_geometric"} & set(ast.literal_eval(loaded))


def test_the_index_needs_no_torch() -> None:
    loaded = run(f"import sys; from glot_rag import GlotIndex, Document; print({HEAVY})")
    assert not {"torch", "transformers", "torch_geometric"} & set(ast.literal_eval(loaded))


def test_without_torch_the_encoder_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import glot_rag\n"
        "try:\n    glot_rag.GlotEncoder.from_pretrained()\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    assert run(code) == (
        "MissingExtraError This needs the package 'torch'. Install it with: pip install 'glot-rag[torch]'"
    )


def test_an_unknown_name() -> None:
    import glot_rag

    with pytest.raises(AttributeError, match="module 'glot_rag' has no attribute 'Encoder'"):
        _ = glot_rag.Encoder
    assert set(glot_rag.__all__) == {*glot_rag._HOMES, "__version__"}
