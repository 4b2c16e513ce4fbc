"""Families of noise with generators of their own: each gives one document's endless lines, drawn from a generator.

What belongs to one document (the program that writes a log, the header that comes back) is chosen once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from glot_rag.evaluation.noise.families.chat import chat_lines
from glot_rag.evaluation.noise.families.headers import header_lines
from glot_rag.evaluation.noise.families.languages import foreign_lines
from glot_rag.evaluation.noise.families.logs import log_lines
from glot_rag.evaluation.noise.families.markup import markup_lines
from glot_rag.evaluation.noise.families.strings import string_lines

LINE_FAMILIES: dict[str, Callable[[random.Random], Iterator[str]]] = {
    "log": log_lines,
    "markup": markup_lines,
    "strings": string_lines,
    "chat": chat_lines,
    "headers": header_lines,
    "foreign": foreign_lines,
}
