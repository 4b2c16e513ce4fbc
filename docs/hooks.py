"""What MkDocs does beside its own: pages made from files outside of docs/, from the command line, and from notebooks.

A page may link to any file of the repository, as it does when it is read on a code host. Such a file becomes a page (or
a download) below `source/`, and the link leads there.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = ROOT / "examples" / "notebooks"
# A fence is found first, so that nothing in it counts as a link.
_LINK = re.compile(r"```.*?```|`[^`\n]*`|(?P<start>\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<end>[^)\s]*\))", re.DOTALL)
_CODE = {".py": "python", ".yaml": "yaml", ".toml": "toml", "": ""}
_DOWNLOADS = {".json", ".svg", ".png", ".tsv", ".zip"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: linked files, the command line, the notebooks."""
    waiting = [DOCS / file.src_uri for file in files if file.src_uri.endswith(".md")]
    seen = set(waiting)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path, files, config)))
    while waiting:
        page = waiting.pop()
        for link in _LINK.finditer(page.read_text(encoding="utf-8")):
            target = linked(page, link["target"])
            if target is None or target in seen or target.is_relative_to(DOCS):
                continue
            seen.add(target)
            if target.suffix == ".md":
                files.append(File.generated(config, uri(target), content=target.read_text(encoding="utf-8")))
                waiting.append(target)
            elif target.suffix in _DOWNLOADS:
                files.append(File.generated(config, uri(target), abs_src_path=str(target)))
            elif target.suffix != ".ipynb":
                files.append(File.generated(config, uri(target), content=code_page(target)))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the pages that were made."""
    source = page.file.src_uri
    origin = DOCS / source
    for made, folder in (("source/", ROOT), ("notebooks/", NOTEBOOKS)):
        if source.startswith(made):
            origin = folder / source.removeprefix(made)

    def turned(link: re.Match[str]) -> str:
        path = linked(origin, link["target"])
        if path is None:
            return link[0]
        target = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else uri(path)
        return link["start"] + os.path.relpath(target, Path(source).parent).replace(os.sep, "/") + link["end"]

    return _LINK.sub(turned, markdown)


def linked(page: Path, target: str | None) -> Path | None:
    """The file of the repository that a link leads to; None for another site, or for nothing that is there."""
    if not target or ":" in target:
        return None
    path = (page.parent / target).resolve()
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def uri(path: Path) -> str:
    """Where a file from outside of docs/ stands in the site."""
    relative = path.relative_to(ROOT)
    if path.suffix == ".ipynb":
        return f"notebooks/{path.stem}.md"
    return f"source/{relative.as_posix()}" + ("" if path.suffix in {".md", *_DOWNLOADS} else ".md")


def code_page(path: Path) -> str:
    """A source file as a page."""
    code = path.read_text(encoding="utf-8")
    return f"# {path.name}\n\n```{_CODE.get(path.suffix, '')}\n{code}```\n"


def command_line() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    import typer
    from typer.main import get_command

    from glot_rag.cli.app import app

    group: Any = get_command(app)
    lines = ["# Command line", "", "It exits with 0 on success, and with 2 and one clear line for bad input.", ""]
    for name, command in group.commands.items():
        context = typer.Context(command, info_name=f"glot-rag {name}")
        lines += [f"## {name}", "", command.help or "", "", "```", command.get_usage(context), "```", ""]
        rows = []
        for each in command.params:
            if each.name == "help":
                continue
            shown = ", ".join((*each.opts, *each.secondary_opts))
            text = " ".join((getattr(each, "help", None) or "").split())
            default = each.default
            if default is not None and default is not False and default != [] and not callable(default):
                text += f" Default: {default}."
            rows.append(f"| `{shown}` | {html.escape(text, quote=False).replace('|', '&#124;')} |")
        lines += ["| | |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def notebook_page(path: Path, files: Files, config: MkDocsConfig) -> str:
    """A notebook with its outputs as Markdown; pictures become files beside it."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for number, cell in enumerate(cells):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for place, output in enumerate(cell["outputs"]):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{number}-{place}.png"
                picture = base64.b64decode("".join(data["image/png"]))
                files.append(File.generated(config, f"notebooks/{name}", content=picture))
                parts.append(f"![output]({name})")
            elif "text/html" in data:
                # Within an element of its own, as the page's own style would change it.
                page = html.escape("<base target=_parent>" + "".join(data["text/html"]), quote=True)
                parts.append(f'<iframe class="output" srcdoc="{page}" title="output"></iframe>'.replace("\n", "&#10;"))
            else:
                shown = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"``` {{.text .no-copy .output}}\n{shown.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
