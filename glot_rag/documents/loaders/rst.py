"""reStructuredText by docutils, without what reads other files. Roles and directives of Sphinx give their text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from glot_rag.documents.blocks import Kind, TextBuilder
from glot_rag.documents.loaders.base import FileContext, Loaded, library
from glot_rag.documents.loaders.values import plain_metadata
from glot_rag.errors import DatasetError

_SETTINGS = {
    "report_level": 5,  # nothing on stderr
    "halt_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "embed_stylesheet": False,
}
# :ref:`shown <target>` or :ref:`shown`, and the option lines of a directive
_ROLE = re.compile(r":[a-z]{1,20}(?::[a-z]{1,20}){0,3}:`[~!]?([^`<]*)(?:<[^`>]*>)?`")
_OPTION = re.compile(r"\s*:[\w-]+:")


def load_rst(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A reStructuredText file."""
    core = library("docutils.core", "docutils")
    text = _ROLE.sub(lambda match: match[1].strip() or match[0], file.decode(file.read(stream)))
    try:
        tree = core.publish_doctree(text, settings_overrides=_SETTINGS)
    except RecursionError:
        raise DatasetError("nested too deeply") from None
    walk = _Walk()
    for child in tree.children:
        walk.add(child, 1)
    yield Loaded.built(walk.builder, tree.get("title", ""), plain_metadata(walk.metadata))


class _Walk:
    """Collects the blocks of a docutils tree."""

    def __init__(self) -> None:
        self.nodes = library("docutils.nodes", "docutils")
        self.builder = TextBuilder()
        self.metadata: dict[str, str] = {}

    def add(self, node: Any, level: int, kind: Kind = "paragraph") -> None:
        """Add a node; `level` is that of a title which stands in it."""
        nodes = self.nodes
        if isinstance(node, (nodes.title, nodes.subtitle, nodes.rubric)):
            self.builder.add(" ".join(node.astext().split()), "heading", min(level, 6))
        elif isinstance(node, nodes.system_message):
            self._unknown_directive(node, kind)
        elif isinstance(node, (nodes.literal_block, nodes.doctest_block)):
            self.builder.add(node.astext(), "code")
        elif isinstance(node, nodes.docinfo):
            for field in node.children:
                if len(field.children) == 2 and isinstance(field, nodes.field):
                    self.metadata[field[0].astext()] = field[1].astext()
                else:
                    self.metadata[field.tagname] = field.astext()
        elif isinstance(node, nodes.row):
            self.builder.add(" ".join(" ".join(cell.astext().split()) for cell in node.children), "table")
        elif isinstance(node, nodes.field):
            self.builder.add(" ".join(": ".join(child.astext() for child in node.children).split()), kind)
        elif isinstance(node, nodes.image):
            self.builder.add(node.get("alt", ""), kind)
        elif isinstance(node, (nodes.Invisible, nodes.decoration)):
            return
        elif isinstance(node, (nodes.TextElement, nodes.Text)):
            self.builder.add(" ".join(node.astext().split()), kind)
        else:
            if isinstance(node, (nodes.list_item, nodes.definition_list_item)):
                kind = "list"
            elif isinstance(node, nodes.block_quote):
                kind = "quoted"
            for child in node.children:
                self.add(child, level + isinstance(node, nodes.section), kind)

    def _unknown_directive(self, node: Any, kind: Kind) -> None:
        """Docutils gives a directive that it does not know (Sphinx's, say) as source within a message."""
        if "Unknown directive type" not in node.astext():
            return
        for source in node.findall(self.nodes.literal_block):
            first, _, body = source.astext().partition("\n")
            argument = first.partition("::")[2]
            lines = [line for line in body.split("\n") if not _OPTION.match(line)]
            self.builder.add(argument, kind)
            for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
                self.builder.add(" ".join(paragraph.split()), kind)
