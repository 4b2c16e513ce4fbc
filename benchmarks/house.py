"""Sizes of the code base: files, lines, modules in the root, command-line options, HeadConfig's fields, import graph.

    python benchmarks/house.py                    # this checkout
    python benchmarks/house.py --root ../before   # another one, to compare

A room is a module or package directly in glot_rag/. An arrow A → B means that a module of room A imports one of room B,
at the top of the file or inside a function; imports that only type checkers see do not count. An arrow marked with "!"
closes a cycle. `--graph` prints the import graph alone, `--update` writes it into docs/concepts.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Counts the options of every command in the checkout's own command line: a fresh process imports that checkout.
_OPTIONS = """
import importlib, json
import click
import typer

try:
    module = importlib.import_module("glot_rag.cli.app")
except ModuleNotFoundError:
    module = importlib.import_module("glot_rag.cli")
group = typer.main.get_command(module.app)
found = {}
def count(command, name):
    for each, inner in getattr(command, "commands", {}).items():
        count(inner, f"{name} {each}".strip())
    own = ("help", "install_completion", "show_completion")  # Typer's
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in own]
    if options or not hasattr(command, "commands"):
        found[name or "(all)"] = len(options)
count(group, "")
print(json.dumps(found))
"""


_IN_CONCEPTS = re.compile(r"(?<=<!-- import graph -->\n```text\n).*?(?=```\n<!-- end of import graph -->)", re.DOTALL)


def python_files(folder: Path) -> list[Path]:
    """The Python files below a folder, without caches."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def documentation(root: Path) -> list[Path]:
    """README and its like, the pages of docs/, and the model cards."""
    found = [root / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
    return [*found, *sorted((root / "docs").rglob("*.md")), *sorted(root.glob("glot_rag/pretrained/*/MODEL_CARD.md"))]


def lines(paths: list[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def root_modules(root: Path) -> list[str]:
    """Modules that lie directly in glot_rag/, packages not counted."""
    return sorted(path.stem for path in (root / "glot_rag").glob("*.py"))


def rooms(root: Path) -> list[str]:
    """Modules and packages directly in glot_rag/, without its __init__."""
    packages = [path.parent.name for path in (root / "glot_rag").glob("*/__init__.py")]
    return sorted({*root_modules(root), *packages} - {"__init__"})


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports at run time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    type_checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in type_checking:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(root: Path) -> dict[str, list[str]]:
    """For each room the rooms that it imports. Rooms come in an order in which arrows point up, as far as that goes."""
    names = rooms(root)
    graph: dict[str, set[str]] = {}
    for name in names:
        package = root / "glot_rag" / name
        files = python_files(package) if package.is_dir() else [package.with_suffix(".py")]
        targets = {each.split(".")[1] for path in files for each in imported(path) if each.startswith("glot_rag.")}
        graph[name] = targets & set(names) - {name}
    ordered: list[str] = []
    while len(ordered) < len(names):
        left = [name for name in names if name not in ordered]
        # The next room is one whose imports are all listed; in a cycle, the one with the fewest that are not.
        ordered.append(min(left, key=lambda name: (len(graph[name] - set(ordered)), len(graph[name]), name)))
    return {name: sorted(graph[name], key=ordered.index) for name in ordered}


def graph_text(graph: dict[str, list[str]]) -> str:
    """The import graph as lines of text."""
    width = max(map(len, graph))
    order = list(graph)
    text = []
    for name, targets in graph.items():
        marked = [each + ("!" if order.index(each) > order.index(name) else "") for each in targets]
        text.append(f"{name:{width}} → {', '.join(marked)}" if marked else name)
    return "\n".join(text)


def with_graph(concepts: str, root: Path) -> str:
    """The text of docs/concepts.md with the import graph of a checkout in its place."""
    return _IN_CONCEPTS.sub(lambda _: graph_text(import_graph(root)) + "\n", concepts)


def options(root: Path) -> dict[str, int]:
    """Options of each command, without --help."""
    search = os.pathsep.join(str(root / folder) for folder in (".", "integrations", "exports"))
    done = subprocess.run(
        [sys.executable, "-c", _OPTIONS],
        env=os.environ | {"PYTHONPATH": search},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"cannot load the command line of {root}:\n{done.stderr}")
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def head_config_fields(root: Path) -> list[str]:
    """Names of HeadConfig's fields."""
    for path in python_files(root / "glot_rag"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == "HeadConfig":
                return [ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="a checkout")
    parser.add_argument("--graph", action="store_true", help="print the import graph alone")
    parser.add_argument("--update", action="store_true", help="write the import graph into docs/concepts.md")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    if not (root / "glot_rag" / "__init__.py").is_file():
        sys.exit(f"{root} is no checkout of glot-rag: there is no glot_rag/__init__.py")
    if arguments.update:
        page = root / "docs" / "concepts.md"
        page.write_text(with_graph(page.read_text(encoding="utf-8"), root), encoding="utf-8")
        return
    if arguments.graph:
        print(graph_text(import_graph(root)))
        return
    for folder in ("glot_rag", "integrations", "exports", "tests", "examples", "benchmarks"):
        files = python_files(root / folder)
        print(f"{folder:13} {len(files):4} files {lines(files):7,} lines")
    modules = root_modules(root)
    print(f"\nmodules directly in glot_rag/: {len(modules)} ({', '.join(modules)})")
    counts = options(root)
    print(f"\ncommand-line options: {sum(counts.values())}")
    print("  " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    fields = head_config_fields(root)
    print(f"\nHeadConfig fields: {len(fields)} ({', '.join(fields)})")
    print(f"\nREADME: {len((root / 'README.md').read_text(encoding='utf-8').splitlines())} lines")
    print(f"\nimport graph:\n{graph_text(import_graph(root))}")


if __name__ == "__main__":
    main()
