"""The house as a whole: sizes that must not grow, words that must not return, documentation that must not go stale."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import house  # noqa: E402

PAGES = house.documentation(ROOT)
MOST_OPTIONS = 76  # over all commands, without --help and completion: 6 of embed, 6 of serve, 2 of explain, 1 of doctor
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
