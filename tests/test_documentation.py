"""The documentation tells the truth: links lead somewhere, names exist, and every snippet runs."""

from __future__ import annotations

import ast
import contextlib
import gzip
import importlib
import io
import json
import re
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import house  # noqa: E402

PAGES = house.documentation(ROOT)
# Commands on pages of results take hours and data; model cards and CONTRIBUTING are about the making of things.
RUNNING = [
    page for page in PAGES if page.parent.name != "results" and page.name not in ("CONTRIBUTING.md", "MODEL_CARD.md")
]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
MADE = {ROOT / "docs" / "reference" / "command-line.md"}  # by docs/hooks.py
ADDRESS = "127.0.0.1:8000"  # where the documentation has a server
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
EXTRAS = set(re.findall(r"^([\w-]+) = \[", _PROJECT.partition("\n[")[0], re.MULTILINE))
_FENCE = re.compile(
    r"(?P<mark><!-- (?P<what>output|slow|not run: [^>]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page.

    Attributes:
        name: page and number, for messages.
        language: python; empty for a shell's lines; text and others are not run.
        code: what is in it.
        what: "output" of the snippet before it, "not run: why", "slow" (run by `make test-long` alone), or nothing.
    """

    name: str
    language: str
    code: str
    what: str


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def snippets(page: Path) -> list[Snippet]:
    found = enumerate(_FENCE.finditer(page.read_text(encoding="utf-8")))
    return [Snippet(f"{relative(page)}-{n}", f["language"], f["code"], f["what"] or "") for n, f in found]


def runs(snippet: Snippet, slow: bool = False) -> bool:
    return snippet.language in ("python", "") and snippet.what in (("", "slow") if slow else ("",))


# -- links, names and options, on every page


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target, _, anchor = link["target"].partition("#")
        if ":" in target:  # another site
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists() or path in MADE, f"{relative(page)}: {link['target']}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{relative(page)}: {link['target']}"


@pytest.mark.parametrize(
    "code", [pytest.param(s.code, id=s.name) for page in PAGES for s in snippets(page) if s.language == "python"]
)
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


def commands() -> Iterator[Any]:
    """Every `glot-rag …` line in the documentation."""
    for page in PAGES:
        for snippet in snippets(page):
            for line in snippet.code.splitlines():
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


# -- everything that can run, runs: in a folder and with names that a reader has


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The reader's folder, and the names that snippets use without making them."""
    monkeypatch.chdir(tmp_path)
    things = ["kettle", "ladder", "lamp", "drill", "tent", "heater", "toaster", "speaker", "scarf", "mug"]
    says = [
        f"The {thing} number {n} was made by hand in a workshop near a town. It took {n + 2} days, and was sold to "
        f"a family that had waited for a {thing} since spring."
        for n in range(6)
        for thing in things
    ]
    texts = [f"Home | Shop | Log in\nMy account\n{text}\nCookie settings\nPrivacy policy" for text in says]
    for folder, suffix in (("docs", "md"), ("pages", "txt"), ("my-documents", "txt")):
        (tmp_path / folder).mkdir()
        for number, text in enumerate(says[:12]):
            title = f"# Renew a passport, part {number}" if suffix == "md" else f"About {things[number % 10]} {number}"
            page = f"{title}\n\n{text}\nHome | Shop | Log in\nMy account\nPrivacy policy\n"
            (tmp_path / folder / f"page-{number}.{suffix}").write_text(page, encoding="utf-8")
    (tmp_path / "page.html").write_text(f"<p>{says[1]}</p>", encoding="utf-8")
    with gzip.open(tmp_path / "texts.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in says)
    write_collection(tmp_path / "BEIR_DIR", texts)
    return {
        "texts": texts,
        "labels": ["odd" if number % 2 else "even" for number in range(len(texts))],
        "urls": [f"https://site{number % 3}.example/{number}" for number in range(len(texts))],
    }


def write_collection(folder: Path, texts: list[str]) -> None:
    (folder / "qrels").mkdir(parents=True)
    documents = [json.dumps({"_id": f"d{n}", "title": "", "text": text}) for n, text in enumerate(texts[:52])]
    queries = [json.dumps({"_id": f"q{n}", "text": f"Who made number {n}?"}) for n in range(4)]
    (folder / "corpus.jsonl").write_text("\n".join(documents), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    lines = "".join(f"q{n}\td{n}\t1\n" for n in range(4))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}", encoding="utf-8")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """`glot-rag serve` on a free port of loopback; gives host and port."""
    uvicorn = pytest.importorskip("uvicorn")
    from glot_rag import GlotEncoder
    from glot_rag.serving import create_app

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(create_app(GlotEncoder.from_pretrained()), log_level="warning"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(30)


def running(slow: bool) -> list[Any]:
    """Pages with a snippet to run; with `slow`, those with a slow one."""
    found = [page for page in RUNNING if any(s.what == "slow" if slow else runs(s) for s in snippets(page))]
    return [pytest.param(page, slow, id=relative(page), marks=[pytest.mark.long] if slow else []) for page in found]


@pytest.mark.parametrize(("page", "slow"), running(False) + running(True))
def test_snippets_run(
    page: Path,
    slow: bool,
    given: dict[str, Any],
    minilm_folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """In order and with one set of names, as a reader would run them; what they print is what the page says."""
    for name in needed(page):
        pytest.importorskip(name, reason=f"{relative(page)} is about it")
    # MiniLM's files stand for models of the hub.
    stand_ins = dict.fromkeys(
        (
            "BAAI/bge-small-en-v1.5",
            "sentence-transformers/all-MiniLM-L6-v2",
            "cross-encoder/ms-marco-MiniLM-L6-v2",
        ),
        str(minilm_folder),
    )
    found = snippets(page)
    names = {"__name__": "snippet", **given}
    with contextlib.ExitStack() as stack:
        if any(ADDRESS in snippet.code and snippet.language == "python" for snippet in found):
            stand_ins[ADDRESS] = stack.enter_context(server())
        printed = ""
        for snippet in found:
            if snippet.what == "output":
                assert printed.splitlines() == snippet.code.splitlines(), snippet.name
            if not runs(snippet, slow):
                continue
            code = snippet.code
            for name, other in stand_ins.items():
                code = code.replace(name, other)
            if snippet.language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    exec(compile(code, snippet.name, "exec"), names)
                printed = output.getvalue()
            else:
                run_lines(code)
    record_property("snippets", sum(runs(snippet, slow) for snippet in found))


def needed(page: Path) -> list[str]:
    """Other libraries that a page's snippets import."""
    modules = re.findall(r"^(?:from|import) (\w+)", "".join(s.code for s in snippets(page)), re.MULTILINE)
    return [name for name in dict.fromkeys(modules) if names_of(name) is None and name != "llama_index"]


def run_lines(code: str) -> None:
    """The lines of a shell: our commands are run, those that install, build or measure are looked at."""
    from glot_rag.cli.app import app

    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        match words[:1]:
            case ["glot-rag"]:
                done = CliRunner().invoke(app, words[1:])
                assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
            case ["pip"]:
                extras = set(re.findall(r"[\w-]+", (re.search(r"\[(.*)\]", line) or ["", ""])[1]))
                assert extras <= EXTRAS, f"{line}: no extra {extras - EXTRAS}"
            case ["make"]:
                assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE), line
            case ["python"]:
                assert (ROOT / words[1]).is_file(), line
            case []:
                pass
            case _:
                pytest.fail(f"neither run nor looked at: {line}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_prints(path: Path) -> None:
    """Outputs are kept, none is an error, and none names a place on somebody's machine."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert sum(bool(cell["outputs"]) for cell in code) >= len(code) - 2
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run make notebooks"
    shown = json.dumps([cell["outputs"] for cell in code])
    assert '"output_type": "error"' not in shown
    assert not re.search(r"/(home|root|work|tmp)/", shown)


def test_the_notebook_that_explains_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short one, cell by cell; the other takes a minute, and `make notebooks` runs both."""
    monkeypatch.chdir(ROOT / "examples" / "notebooks")
    cells = json.loads(Path("see_why.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec("".join(cell["source"]), names)
            kept = "".join("".join(each.get("text", "")) for each in cell["outputs"])
            assert re.sub(r"\d", "0", output.getvalue()) == re.sub(r"\d", "0", kept), "run make notebooks"
