"""The house as a whole: sizes that must not grow, words that must not return, documentation that must not go stale."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import house  # noqa: E402

CARDS = sorted(ROOT.glob("glot_rag/pretrained/*/MODEL_CARD.md"))
PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), *CARDS]
_FENCE = re.compile(r"(?P<runs><!-- runs -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
MOST_OPTIONS = 69  # over all commands, without --help and completion: 6 of serve, 2 of explain, 61 of the others
# Words of earlier versions: glossary.md has the ones in use.
RETIRED = [
    r"\bopinions?\b",
    r"layer[ _-]?taps?\b",
    r"kept[ _-]rows?\b",
    r"matched[ _-]keys?\b",
    r"\btally\b",
    r"\btrials?\b",
    r"\bone_pass\b",
    r"\bas it was told\b",
    r"\blikewise\b",
    r"commit[ _-]marks?\b",
    r"vector[ _-]tables?\b",
    r"\bmirror(s|ed)?\b",
    r"\bmade whole\b",
    r"\badapt(s|ed|ing|ation)?\b",
    r"collection statistics",
    r"\bgate\b",
]
# Word lists and templates of noise: what a page says, not what the code calls things.
NOISE_TEMPLATES = {"glot_rag/evaluation/noise/boilerplate.py", "glot_rag/denoise/line_grammars.py"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def snippets(language: str, *, runs: bool = False) -> list[Any]:
    """(page, code) of the fenced blocks in a language; with `runs`, only those that are marked to be run."""
    found = []
    for page in PAGES:
        for number, fence in enumerate(_FENCE.finditer(page.read_text(encoding="utf-8"))):
            if fence["language"] == language and (fence["runs"] or not runs):
                found.append(pytest.param(fence["code"], id=f"{relative(page)}-{number}"))
    return found


def test_few_modules_in_the_root() -> None:
    assert len(house.root_modules(ROOT)) <= 10


def test_few_options_on_the_command_line() -> None:
    counts = house.options(ROOT)
    assert {"index", "search", "evaluate", "train", "export"} <= set(counts)
    assert sum(counts.values()) <= MOST_OPTIONS, counts


def test_what_the_tests_are_shared_out_by_is_still_there() -> None:
    path = ROOT / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tests_conftest", path)  # by its path: folders have one each
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    named = [*module.SLOWEST, *module.TOGETHER, *module.SMOLLM2]
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
    assert module.part("exports/test_openvino.py") == "exports"
    assert module.part("head/test_shipped_smollm2.py") == module.part("models/test_backbone.py") in module.SLOWEST
    assert module.part("test_house.py") == "test_house.py"


def test_files_of_tests_have_names_of_their_own() -> None:
    """Pytest imports them by their names alone; of two that are alike it refuses the second."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_import_graph_in_the_documentation_is_up_to_date() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert "errors" in page.split("<!-- import graph -->")[1]
    assert house.with_graph(page, ROOT) == page, "run python benchmarks/house.py --update"


def test_the_import_graph_shows_a_cycle(tmp_path: Path) -> None:
    package = tmp_path / "glot_rag"
    (package / "first").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "first" / "__init__.py").touch()
    (package / "first" / "inner.py").write_text("def f():\n    from glot_rag import second\n", encoding="utf-8")
    (package / "second.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from glot_rag import third\n"
        "from glot_rag.first.inner import f\n",
        encoding="utf-8",
    )
    (package / "third.py").write_text("import glot_rag.first.inner\nimport glot_rag.second\n", encoding="utf-8")
    assert house.graph_text(house.import_graph(tmp_path)).splitlines() == [
        "first  → second!",
        "second → first",
        "third  → first, second",
    ]


def test_the_version_has_a_dated_section_in_the_changelog() -> None:
    import glot_rag

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(glot_rag.__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)


def test_one_statement_of_the_lowest_python() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (lowest,) = re.findall(r'^requires-python = ">=3\.(\d+)"', project, re.MULTILINE)
    assert re.findall(r'^python_version = "3\.(\d+)"', project, re.MULTILINE) == [lowest]  # mypy
    assert re.findall(r'^target-version = "py3(\d+)"', project, re.MULTILINE) == [lowest]  # ruff
    assert set(re.findall(r"Python 3\.(\d+) or newer", (ROOT / "Makefile").read_text(encoding="utf-8"))) == {lowest}
    assert re.findall(r"Python 3\.(\d+) or newer", (ROOT / "README.md").read_text(encoding="utf-8")) == [lowest]
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert re.findall(r'python: \["3\.(\d+)"', workflow) == [lowest]


@pytest.mark.parametrize("code", snippets("python"))
def test_a_snippet_imports_names_that_exist(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            exported = names_of(node.module)
            if exported is not None:
                missing = {alias.name for alias in node.names} - exported
                assert not missing, f"{node.module} has no {', '.join(sorted(missing))}"


def names_of(module: str) -> set[str] | None:
    """What a module of this repository exports, read from its source; None for a module of another library."""
    parts = module.split(".")
    for root in (ROOT, ROOT / "integrations", ROOT / "exports"):
        for path in (root.joinpath(*parts) / "__init__.py", root.joinpath(*parts).with_suffix(".py")):
            if path.is_file():
                tree = ast.parse(path.read_text(encoding="utf-8"))
                for node in tree.body:
                    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                        return set(ast.literal_eval(node.value))
                defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
                return defined | {
                    alias.asname or alias.name
                    for node in tree.body
                    if isinstance(node, ast.ImportFrom)
                    for alias in node.names
                }
    return None


def test_names_are_read_from_the_source() -> None:
    assert {"GlotEncoder", "GlotIndex", "Document"} <= (names_of("glot_rag") or set())
    assert names_of("llama_index.core") is None


def test_snippets_that_are_marked_run(minilm_folder: Path, tmp_path: Path) -> None:
    marked = snippets("python", runs=True)
    assert len(marked) >= 4
    # One process for all, as each would load torch and the model again.
    run = "import sys\nfor code in sys.argv[1:]:\n    exec(code, {'__name__': 'snippet'})\n    print('ran')"
    done = subprocess.run(
        [sys.executable, "-c", run, *(each.values[0] for each in marked)],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines().count("ran") == len(marked)


def commands() -> Iterator[Any]:
    """Every `glot-rag …` line in the documentation."""
    for page in PAGES:
        for fence in _FENCE.finditer(page.read_text(encoding="utf-8")):
            for line in fence["code"].splitlines():
                if line.startswith("glot-rag "):
                    yield pytest.param(line, id=f"{relative(page)}-{line[9:40]}")


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_exists_with_its_options(line: str) -> None:
    available: Any = vars(typer.main.get_command(importlib.import_module("glot_rag.cli.app").app))["commands"]
    words = line.split("#")[0].split()[1:]
    command = available.get(words[0])
    assert command is not None, f"no command {words[0]}; there are {', '.join(available)}"
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    unknown = [word for word in words[1:] if re.match(r"--?[a-z]", word) and word not in known]
    assert not unknown, f"{words[0]} has no {', '.join(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target, _, anchor = link["target"].partition("#")
        if ":" in target:  # another site
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{relative(page)}: {link['target']}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{relative(page)}: {link['target']}"


def retired_words(path: Path) -> list[str]:
    """Places where a file uses a word of an earlier version."""
    return [
        f"{relative(path)}:{number}: {line.strip()[:100]}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        # Comments in Markdown name the files and systems of a table.
        if not line.startswith("<!--") and any(re.search(word, line, re.IGNORECASE) for word in RETIRED)
    ]


def test_retired_words_do_not_return() -> None:
    files = [path for folder in ("glot_rag", "integrations", "exports") for path in house.python_files(ROOT / folder)]
    files = [path for path in files if relative(path) not in NOISE_TEMPLATES]
    assert len(files) > 100
    found = [place for path in [*files, *PAGES] for place in retired_words(path)]
    assert not found, "\n".join(found)
