"""Boilerplate for the evaluation: what surrounds the text of a web page, a mail or a PDF, from templates.

Nothing here is used for training, so a detector cannot have learned these lines by heart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from importlib import resources

# fmt: off
_FIRST = (
    "Amara", "Ben", "Chloe", "Dmitri", "Elena", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kavya",
    "Liam", "Mei", "Nadia", "Oscar", "Priya", "Quentin", "Rosa",
)
_LAST = (
    "Abbott", "Brandt", "Costa", "Dubois", "Eriksen", "Ferrari", "Gupta", "Hughes", "Ito", "Jansen",
    "Keller", "Lopez", "Moreau", "Novak", "Okafor",
)
_SITES = (
    "Acme", "Borealis", "Cormorant", "Daybreak", "Evergreen", "Foxglove", "Gazette", "Harbour",
    "Insight", "Juniper", "Kestrel", "Lantern",
)
_SECTIONS = (
    "News", "Sport", "Opinion", "Business", "Travel", "Health", "Lifestyle", "Gardening", "Recipes",
    "Finance", "Fashion", "Weather", "Events", "Gallery", "Downloads", "Support", "Products",
    "Services", "Education", "Careers", "Archive", "Politics", "Music", "Films", "Motoring", "Property",
)
_CITIES = (
    "Lisbon", "Oslo", "Nairobi", "Toronto", "Melbourne", "Kyoto", "Prague", "Dublin", "Santiago",
    "Chennai", "Utrecht", "Boston",
)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)
_TLDS = ("example.org", "example.com", "example.net")
# fmt: on


def _domain(rng: random.Random) -> str:
    return f"www.{rng.choice(_SITES).lower()}.{rng.choice(_TLDS)}"


_SLOTS: dict[str, Callable[[random.Random], str]] = {
    "city": lambda rng: rng.choice(_CITIES),
    "d": lambda rng: str(rng.randint(1, 9)),
    "day": lambda rng: str(rng.randint(1, 28)),
    "domain": _domain,
    "email": lambda rng: f"{rng.choice(_FIRST).lower()}@{rng.choice(_SITES).lower()}.{rng.choice(_TLDS)}",
    "month": lambda rng: rng.choice(_MONTHS),
    "n": lambda rng: str(rng.randint(10, 999)),
    "person": lambda rng: f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
    "price": lambda rng: f"${rng.randint(1, 99)}.{rng.choice(('00', '50', '99'))}",
    "section": lambda rng: rng.choice(_SECTIONS),
    "site": lambda rng: rng.choice(_SITES),
    "time": lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
    "year": lambda rng: str(rng.randint(1998, 2026)),
}
_SLOT = re.compile(r"\{(\w+)\}")


@cache
def templates() -> tuple[str, ...]:
    """The templates of `boilerplate.txt`, with slots such as `{city}`."""
    text = resources.files("glot_rag.evaluation.noise").joinpath("boilerplate.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def boilerplate_line(rng: random.Random) -> str:
    """One random template, every slot filled at random."""
    return _SLOT.sub(lambda match: _SLOTS[match[1]](rng), rng.choice(templates()))
