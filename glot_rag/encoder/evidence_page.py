"""Evidence as one HTML page that needs nothing else: heat maps over the text, what was dropped, the graph of blocks."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from glot_rag.denoise.block_evidence import BlockEvidence
from glot_rag.encoder.evidence import Evidence
from glot_rag.errors import MissingExtraError

COLOURS = 8  # clusters with a colour of their own
MOST_BLOCKS = 300  # of a graph that is drawn
_NEIGHBOURS = 3  # edges drawn from each block: the most alike
_SIZE = (720.0, 420.0)


def page(evidence: Evidence, mean: Evidence | None = None) -> str:
    """The whole page, with mean pooling's view beside where it is given."""
    return _render("evidence.html.j2", **_views(evidence, mean))


def fragment(evidence: Evidence) -> str:
    """The same without a page around it, for a notebook."""
    return _render("fragment.html.j2", **_views(evidence, None))


class Piece(NamedTuple):
    """A run of characters that are shown alike.

    Attributes:
        text: the characters.
        heat: -1 to 1, of the strongest token; 0 for none.
        dropped: whether they were dropped.
        note: what a pointer resting on them is told.
    """

    text: str
    heat: float
    dropped: bool
    note: str


def pieces(evidence: Evidence) -> list[Piece]:
    """The text, cut where what is shown changes: tokens' contributions, or their weights where there is no query."""
    length = len(evidence.text)
    token, part = np.full(length, -1), np.full(length, -1)
    values = [each.weight if each.contribution is None else each.contribution for each in evidence.tokens]
    for number, each in enumerate(evidence.tokens):
        token[slice(*each.span)] = number
    for number, dropped in enumerate(evidence.dropped):
        part[dropped.start : dropped.end] = number
    inside = [abs(value) for value, each in zip(values, evidence.tokens, strict=True) if each.span[1] > each.span[0]]
    strongest = max(inside, default=0.0) or 1.0
    changes = np.flatnonzero((np.diff(token) != 0) | (np.diff(part) != 0)) + 1
    found = []
    for first, end in zip([0, *changes.tolist()], [*changes.tolist(), length], strict=True):
        if first == end:
            continue
        text = evidence.text[first:end]
        if (number := int(part[first])) >= 0:
            reason = evidence.dropped[number]
            found.append(Piece(text, 0.0, True, f"dropped: {reason.reason} ({reason.noise:.0%} noise)"))
        elif (number := int(token[first])) >= 0:
            each = evidence.tokens[number]
            told = [f"weight {each.weight:.2%}"]
            told += [] if each.contribution is None else [f"adds {each.contribution:+.4f}"]
            told += [] if each.noise is None else [f"{each.noise:.0%} noise"]
            found.append(Piece(text, values[number] / strongest, False, " · ".join(told)))
        else:
            found.append(Piece(text, 0.0, False, ""))
    return found


def _views(evidence: Evidence, mean: Evidence | None) -> dict[str, Any]:
    named = [("GLOT" if mean is not None else "Read", evidence)]
    named += [] if mean is None else [("Mean pooling", mean)]
    dropped = [(each, evidence.text[each.start : each.end]) for each in evidence.dropped]
    return {
        "evidence": evidence,
        "views": [
            {"name": name, "evidence": each, "pieces": pieces(each), "best": each.best_spans(3), "rest": each.rest}
            for name, each in named
        ],
        "dropped": dropped,
        "graph": _graph(evidence),
        "style": re.sub(r"\s*\n\s*", "", _read("evidence.css")),
    }


def _graph(evidence: Evidence) -> dict[str, Any] | None:
    blocks = evidence.blocks
    if blocks is None or not 1 < len(blocks.spans) <= MOST_BLOCKS:
        return None
    import networkx

    clusters, edges = blocks.clusters(), _edges(blocks)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(blocks.spans)))
    graph.add_edges_from(edges)
    layout = networkx.spring_layout(graph, seed=0, iterations=80, k=2.0 / len(blocks.spans) ** 0.5)
    places = np.array([layout[number] for number in range(len(blocks.spans))])
    low, high = places.min(axis=0), places.max(axis=0)
    places = 20 + (places - low) / np.maximum(high - low, 1e-9) * (np.array(_SIZE) - 40)
    dropped = {each.start for each in evidence.dropped}
    nodes = [
        {
            "x": round(float(x), 1),
            "y": round(float(y), 1),
            "colour": min(int(cluster), COLOURS - 1),
            "dropped": span[0] in dropped,
            "note": f"{noise:.0%} noise: {' '.join(evidence.text[slice(*span)].split())[:160]}",
        }
        for span, noise, cluster, (x, y) in zip(blocks.spans, blocks.noise, clusters, places, strict=True)
    ]
    lines = [(nodes[one], nodes[other]) for one, other in edges]
    sizes = np.bincount(clusters)
    legend = []
    for number in range(min(len(sizes), COLOURS)):
        first = int(np.flatnonzero(clusters == number)[0])
        text = " ".join(evidence.text[slice(*blocks.spans[first])].split())
        legend.append({"colour": number, "size": int(sizes[number]), "text": text[:60]})
    return {"nodes": nodes, "lines": lines, "legend": legend, "width": _SIZE[0], "height": _SIZE[1]}


def _edges(blocks: BlockEvidence) -> list[tuple[int, int]]:
    """Of each block the edges to those most like it: all edges would hide the picture."""
    similarity = np.where(blocks.joined, blocks.similarity, -1.0)
    np.fill_diagonal(similarity, -1.0)
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :_NEIGHBOURS]
    found = {
        (min(one, other), max(one, other))
        for one, others in enumerate(near.tolist())
        for other in others
        if similarity[one, other] > 0
    }
    return sorted(found)


def _render(template: str, **values: Any) -> str:
    return str(_environment().get_template(template).render(**values))


@cache
def _environment() -> Any:
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError("jinja2", "serve") from None
    names = ("evidence.html.j2", "fragment.html.j2")
    return Environment(
        loader=DictLoader({name: _read(name) for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _read(name: str) -> str:
    return resources.files("glot_rag.encoder").joinpath("templates").joinpath(name).read_text(encoding="utf-8")
