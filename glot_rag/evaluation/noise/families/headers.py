"""Running headers and footers: the same two lines again and again, only the page number changes."""

from __future__ import annotations

import random
from collections.abc import Iterator

_BODIES = (
    "Ministry of Regional Planning",
    "Nordhaven University Press",
    "Wexcombe Borough Council",
    "Institute of Applied Metrology",
    "Tallis & Rowe Solicitors",
    "Union of Harbour Pilots",
    "Aurelia Pharmaceuticals plc",
    "Board of Examiners",
)
_WORKS = (
    "Annual Statement",
    "Operator's Handbook",
    "Minutes of the Ordinary Meeting",
    "Technical Memorandum",
    "Tender Dossier",
    "Lecture Notes",
    "Consultation Response",
    "Safety Data Sheet",
    "Interim Findings",
)
_MARKS = (
    "RESTRICTED",
    "Uncontrolled when printed",
    "For internal circulation",
    "Preprint",
    "Second edition",
    "Rev. C",
    "DRAFT 3",
)
_HEADS = ("{body} {work} {mark}", "{work} — {body}", "{mark} {work} No. {number}", "{body} | {number}/{year}", "{WORK}")
_FEET = (
    "{page}",
    "— {page} —",
    "{page} of {last}",
    "p. {page} {body}",
    "{work} {year} {page}",
    "{mark} {page}/{last}",
    "Folio {page} verso",
)


def header_lines(rng: random.Random) -> Iterator[str]:
    """Header, footer, header, footer: of one work."""
    work = rng.choice(_WORKS)
    fixed: dict[str, object] = {
        **{"body": rng.choice(_BODIES), "work": work, "WORK": work.upper(), "mark": rng.choice(_MARKS)},
        **{"number": rng.randint(10, 9999), "year": rng.randint(1971, 2024)},
    }
    head, foot, page = rng.choice(_HEADS), rng.choice(_FEET), rng.randint(1, 200)
    last = page + rng.randint(40, 300)
    while True:
        yield head.format(**fixed)
        yield foot.format(**fixed, page=page, last=last)
        page += 1
