"""Remains of markup: random trees written as HTML, records as JSON, rules as CSS, and cut into lines."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

# fmt: off
_TAGS = ("section", "ul", "header", "article", "nav", "table", "form", "figure", "aside", "main")
_LEAVES = ("img", "input", "svg", "button", "label", "source", "path", "i")
_STEMS = ("col", "btn", "hero", "js", "card", "grid", "nav", "mt", "is", "footer", "icon", "wp", "modal", "row", "u")
_ENDS = ("md-6", "primary", "wrap", "toggle", "lg", "active", "item", "inner", "4", "hidden", "fluid", "left", "2x")
_ATTRIBUTES = ("aria-hidden", "data-id", "role", "tabindex", "loading", "data-track", "viewBox", "srcset", "target")
_KEYS = (
    "createdAt", "isActive", "items", "meta", "total", "slug", "lang", "uuid", "thumbnailUrl", "offset", "perms",
    "payload", "schemaVersion", "tags", "nextCursor", "etag", "locale",
)
_PROPERTIES = ("display", "z-index", "font-size", "border-radius", "line-height", "transition", "max-width", "flex")
_VALUES = ("block", "none", "auto", "1.5rem", "100%", "inherit", "0 0 4px", "var(--gap)", ".2s ease-in", "999")
_ENTITIES = ("&#8217;", "&hellip;", "&copy;", "&lt;/", "&#160;", "&mdash;", "&times;", "]]>", "<!-- /wp:group -->")
# fmt: on


def _name(rng: random.Random) -> str:
    return f"{rng.choice(_STEMS)}-{rng.choice(_ENDS)}"


def _attributes(rng: random.Random) -> str:
    classes = " ".join(_name(rng) for _ in range(rng.randint(1, 4)))
    rest = "".join(f' {rng.choice(_ATTRIBUTES)}="{rng.randint(0, 4096)}"' for _ in range(rng.randint(0, 2)))
    return f' class="{classes}"{rest}'


def _html(rng: random.Random, depth: int = 0) -> str:
    if depth > 2 or rng.random() < 0.3:
        leaf = f"<{rng.choice(_LEAVES)}{_attributes(rng)}/>"
        return f"{leaf} {rng.choice(_ENTITIES)}" if rng.random() < 0.2 else leaf
    tag = rng.choice(_TAGS)
    inside = " ".join(_html(rng, depth + 1) for _ in range(rng.randint(1, 2)))
    return f"<{tag}{_attributes(rng)}> {inside} </{tag}>"


def _value(rng: random.Random, depth: int) -> object:
    style = rng.randrange(6 if depth < 2 else 4)
    if style == 0:
        return rng.randint(0, 10**6)
    if style == 1:
        return rng.choice((True, False, None))
    if style == 2:
        return _name(rng)
    if style == 3:
        return round(rng.uniform(-180, 180), 5)
    if style == 4:
        return [_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(_KEYS): _value(rng, depth + 1) for _ in range(rng.randint(1, 3))}


def _json(rng: random.Random) -> str:
    return json.dumps({rng.choice(_KEYS): _value(rng, 0) for _ in range(rng.randint(2, 4))})


def _css(rng: random.Random) -> str:
    body = "; ".join(f"{rng.choice(_PROPERTIES)}: {rng.choice(_VALUES)}" for _ in range(rng.randint(1, 4)))
    return f"{rng.choice(('.', '#', '@media print { .'))}{_name(rng)} {{ {body} }}"


_STYLES: tuple[Callable[[random.Random], str], ...] = (_html, _html, _json, _css)


def markup_lines(rng: random.Random) -> Iterator[str]:
    """Mostly one of HTML, JSON and CSS a document."""
    usual = rng.choice(_STYLES)
    while True:
        yield usual(rng) if rng.random() < 0.8 else rng.choice(_STYLES)(rng)
