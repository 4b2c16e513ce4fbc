"""Gather documents whose noise is known by structure, for training the block noise head.

    python benchmarks/gather_blocks.py --pages pages.jsonl.gz --out documents.jsonl.gz --packages DIR

needs Debian's apt-get, dpkg-deb and man, pip, and selectolax (`pip install glot-rag[dev]`). Writes one JSON record a
document: "text", "noise" (character spans that should be dropped), "kind", "source", "group" (documents of one site
or package share it) and "part": "train", "validation" or "report". Parts are drawn by host, package or file, never by
page, so nothing in the report part shares a template with what a head is trained or chosen on.
"""

# ruff: noqa: E501 (lists of packages)
from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import html
import io
import json
import random
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from glot_rag.evaluation.block_measures import WEB
from glot_rag.training.block_labels import noise_of_page, spans_of_words

# HTML documentation: package -> part. Not debian-handbook, which languages.py measures on.
DOCUMENTATION = {
    "debian-policy": "train", "debian-faq": "train", "developers-reference": "train", "sqlite3-doc": "train",
    "apache2-doc": "train", "bind9-doc": "train", "git-doc": "train", "octave-doc": "train", "exim4-doc-html": "train",
    "aptitude-doc-en": "train", "debian-reference-en": "validation", "python-sqlalchemy-doc": "validation",
    "python-django-doc": "report", "postgresql-doc-15": "report",
}  # fmt: skip
OTHER_PACKAGES = ["fortunes", "bible-kjv-text", "manpages", "manpages-dev", "fail2ban"]
PYPI = ["email_reply_parser", "talon"]
PARTS = {0: "validation", 1: "report"}
_MAIN = "[role=main], main, article, div.body, div#content, div#page-content, div.chapter, div.section, div.refentry, div.fancy"
_CHROME = "nav, header, footer, aside, script, style, [class*=nav], [class*=menu], [class*=footer], [class*=sidebar], [class*=related], [class*=toc], [class*=breadcrumb], [id*=nav], [id*=menu], [id*=footer], [id*=toc], a.headerlink, [class*=langlist], [class*=lang], [class*=searchbox], form"
_WORDS = 700  # of a document that is not a page, at most
_SKIPPED = re.compile(
    r"/(de|es|fr|it|ja|ko|pt-br|ru|tr|da|zh|zh-cn|nl|pl|pt|sv|ca)/|\.(de|es|fr|ja|ko|pt-br|tr|zh-cn|da)\b"
)

Record = dict[str, Any]


def part_of(unit: str) -> str:
    """The part of a host, package or file."""
    return PARTS.get(zlib.crc32(unit.encode()) % 5, "train")


def fetch(folder: Path) -> None:
    """Download and unpack every package once."""
    for package in [*DOCUMENTATION, *OTHER_PACKAGES]:
        target = folder / package
        if not target.is_dir():
            subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
            archive = next(folder.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive.name, package], cwd=folder, check=True)
            archive.unlink()
    for package in PYPI:
        target = folder / package
        if not target.is_dir():
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--no-binary",
                ":all:",
                "--no-build-isolation",
                package,
            ]
            subprocess.run(command, cwd=folder, check=True)
            archive = next(folder.glob(f"{package}-*.tar.gz"))
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
            archive.unlink()


def record(
    text: str, noise: list[tuple[int, int]], kind: str, source: str, part: str, group: str | None = None
) -> Record:
    return {"text": text, "noise": noise, "kind": kind, "source": source, "part": part, "group": group or source}


def of_lines(lines: list[tuple[str, bool]]) -> tuple[str, list[tuple[int, int]]]:
    """(line, is it noise) -> text and its noise spans."""
    noise, at = [], 0
    for line, is_noise in lines:
        if is_noise and line.strip():
            noise.append((at, at + len(line)))
        at += len(line) + 1
    return "\n".join(line for line, _ in lines), noise


# ---- pages and documentation


def pages(path: Path) -> Iterator[Record]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            page = json.loads(line)
            noise = noise_of_page(page["text"], page["gold"])
            found = record(page["text"], noise, page["kind"], f"page:{page['id']}", part_of(page["host"]), page["host"])
            yield {**found, **{k: page[k] for k in ("title", "description", "gold", "trafilatura")}}


def documentation(folder: Path) -> Iterator[Record]:
    for package, part in DOCUMENTATION.items():
        files = sorted(
            p for p in (folder / package).rglob("*.htm*") if p.is_file() and not _SKIPPED.search(str(p).lower())
        )
        rng = random.Random(package)
        rng.shuffle(files)
        found = 0
        for path in files:
            lines = html_lines(path.read_bytes()[:400_000].decode("utf-8", "replace"))
            signal = sum(len(line.split()) for line, noise in lines if not noise)
            noisy = sum(len(line.split()) for line, noise in lines if noise)
            if signal < 40 or noisy < 3 or signal + noisy > 4000:
                continue
            text, noise = of_lines(lines)
            yield record(text, noise, "site", f"debian:{package}:{path.name}", part, f"debian:{package}")
            found += 1
            if found == (30 if part == "train" else 40):
                break


def html_lines(content: str) -> list[tuple[str, bool]]:
    """Every text node of a page, and whether it is outside the main content or in what surrounds it."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(content)
    tree.strip_tags(["script", "style", "noscript", "svg", "head", "template"])
    main = tree.css_first(_MAIN)
    if main is None or tree.body is None:
        return []
    mains = {node.mem_id for node in tree.css(_MAIN)}
    chrome = {node.mem_id for node in tree.css(_CHROME)}
    lines: list[tuple[str, bool]] = []

    def walk(node: Any, inside: bool, noise: bool) -> None:
        child = node.child
        while child is not None:
            if child.tag == "-text":
                for line in (child.text(deep=True) or "").split("\n"):
                    if line.strip():
                        lines.append((line.strip(), noise or not inside))
            elif child.tag and not child.tag.startswith("-"):
                is_main, is_chrome = child.mem_id in mains, child.mem_id in chrome
                walk(child, inside or is_main, (noise and not is_main) or (is_chrome and not is_main))
            child = child.next

    walk(tree.body, False, False)
    return lines


# ---- plain documents that must be kept


def clean(folder: Path, texts: Path) -> Iterator[Record]:
    """(text, kind, source): documents of many kinds without noise."""

    def give(kind: str, unit: str, text: str) -> Iterator[Record]:
        text = shorten(text)
        if len(text.split()) >= 15:
            yield record(text, [], f"clean-{kind}", f"{kind}:{unit}", part_of(f"{kind}:{unit}"))

    rng = random.Random(1)
    for kind, name in (("news", "ag_news"), ("description", "debian_packages")):
        with gzip.open(texts / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        for number in rng.sample(range(len(rows)), 260):
            yield from give(kind, str(number), rows[number].get("title", "") + "\n" + rows[number]["text"])
    # Articles: several news items or descriptions would not be one; the Bible's chapters and fortunes are verse and prose.
    bible = next(iter(sorted((folder / "bible-kjv-text").rglob("*.txt*"))), None) or next(
        iter(sorted((folder / "bible-kjv-text").rglob("*bible*"))), None
    )
    if bible and bible.is_file():
        raw = bible.read_bytes()
        verses = (gzip.decompress(raw) if bible.suffix == ".gz" else raw).decode("utf-8", "replace").splitlines()
        for start in range(0, len(verses) - 40, max(41, len(verses) // 70)):
            yield from give(
                "verse", f"bible{start}", "\n".join(v.strip() for v in verses[start : start + rng.randint(8, 40)])
            )
    for path in sorted((folder / "fortunes").rglob("games/fortunes/*")):
        if path.suffix in ("",) and not path.is_symlink():
            pieces = [p.strip("\n") for p in re.split(r"^%\s*$", path.read_text("utf-8", "replace"), flags=re.M)]
            pieces = [p for p in pieces if len(p.split()) > 25]
            for number, piece in enumerate(rng.sample(pieces, min(len(pieces), 14))):
                yield from give("poem", f"{path.name}{number}", piece.replace("\t", "    "))
    licences = [p for p in Path("/usr/share/common-licenses").glob("*") if p.is_file() and not p.is_symlink()]
    copyrights = sorted(Path("/usr/share/doc").glob("*/copyright"))
    for path in [*sorted(licences), *rng.sample(copyrights, min(60, len(copyrights)))]:
        words = path.read_text("utf-8", "replace")
        yield from give(
            "licence",
            str(path),
            words[rng.randrange(max(1, len(words) - 6000)) :].partition("\n")[2] if len(words) > 8000 else words,
        )
    for path in rng.sample(sorted(p for p in Path("/usr/share/doc").glob("*/changelog*.gz")), 80):
        text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        yield from give("list", str(path), text[: rng.randint(600, 5000)].rpartition("\n")[0])
    library = Path(json.__file__).parents[1]
    sources = [
        p
        for p in sorted(library.glob("*.py")) + sorted(library.glob("*/*.py"))
        if p.stat().st_size > 3000 and "test" not in str(p)
    ]
    for path in rng.sample(sources, 110):
        text = path.read_text("utf-8", "replace")
        code = text.splitlines()
        start = rng.randrange(max(1, len(code) - 60))
        yield from give("code", path.name, "\n".join(code[start : start + rng.randint(20, 80)]))
        docs = re.findall(r'"""(.+?)"""', text, flags=re.S)
        if docs:
            yield from give("docstrings", path.name, "\n\n".join(docs)[:4000])
    for number, path in enumerate(
        rng.sample(sorted((folder / "manpages-dev").rglob("*.gz")) + sorted((folder / "manpages").rglob("*.gz")), 110)
    ):
        lines = manual(path)
        if len(lines) > 12:
            yield from give("manual", path.name, "\n".join(line for line, noise in lines if not noise))
            if number % 2:
                text, noise = of_lines(lines[: rng.randint(60, 200)])
                yield record(text, noise, "manual", f"man:{path.name}", part_of(f"manual:{path.name}"))
    yield from tables(rng, give)


def tables(rng: random.Random, give: Any) -> Iterator[Record]:
    """Tables that are what a document is about, as CSV, aligned and with bars."""
    names = [
        "Name",
        "Year",
        "Population",
        "Area",
        "Price",
        "Country",
        "Type",
        "Weight",
        "Length",
        "Score",
        "Colour",
        "Unit",
        "Rate",
        "Class",
        "Material",
        "Speed",
    ]
    words = [p.name.partition("-")[0] for p in Path("/usr/share/doc").iterdir()] + [
        "north",
        "silver",
        "river",
        "oak",
        "stone",
        "delta",
    ]
    for number in range(70):
        columns = rng.sample(names, rng.randint(3, 7))
        rows = [
            [
                str(rng.randrange(10 ** rng.randint(1, 6))) if rng.random() < 0.6 else rng.choice(words).title()
                for _ in columns
            ]
            for _ in range(rng.randint(6, 40))
        ]
        style = rng.choice(["csv", "bar", "space", "tab"])
        if style == "csv":
            out = io.StringIO()
            csv.writer(out).writerows([columns, *rows])
            text = out.getvalue().replace("\r", "")
        else:
            joint = {"bar": " | ", "space": "   ", "tab": "\t"}[style]
            text = "\n".join(
                joint.join(f"{cell:12}" if style == "space" else cell for cell in row) for row in [columns, *rows]
            )
        yield from give("table", str(number), text)


def manual(path: Path) -> list[tuple[str, bool]]:
    """A manual page as man shows it: the running header and footer are noise."""
    done = subprocess.run(
        ["man", "-l", str(path)],
        capture_output=True,
        env={"MANWIDTH": "78", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    lines = [line for line in re.sub(".\b", "", done.stdout.decode("utf-8", "replace")).splitlines() if line.strip()]
    return [(line, number in (0, len(lines) - 1)) for number, line in enumerate(lines)]


def shorten(text: str) -> str:
    """At most so many words, cut at a line's end where there is one."""
    words = [m.end() for m in re.finditer(r"\S+", text)]
    if len(words) <= _WORDS:
        return text.strip("\n")
    cut = text[: words[_WORDS - 1]]
    return (cut.rpartition("\n")[0] if cut.count("\n") > 5 else cut).strip("\n")


# ---- structured noise around clean text


def mails(folder: Path, bodies: list[Record]) -> Iterator[Record]:
    """Mail with headers, quotes and signatures: fixtures of reply parsers, and their parts around other texts."""
    replies = [
        p
        for p in sorted((folder / "talon").rglob("*")) + sorted((folder / "email_reply_parser").rglob("*"))
        if p.suffix in (".eml", ".txt") and "emails" in str(p) + "emails" and p.stat().st_size < 40_000
    ]
    tails: list[tuple[str, list[str]]] = []
    for path in replies:
        text = path.read_text("utf-8", "replace")
        if "\n\n" not in text or path.name in ("requires.txt", "top_level.txt", "SOURCES.txt", "dependency_links.txt"):
            continue
        _, _, reply = text.partition("\n\n") if re.match(r"[\w-]+:", text) else ("", "", text)
        tails.append((path.name, reply.splitlines()))
    sign = [
        "-- ",
        "Best regards,",
        "Kind regards",
        "Cheers,",
        "Sent from my iPhone",
        "Thanks,",
        "--",
        "Mit freundlichen Grüßen",
        "Sent from my Android device",
        "Best,",
    ]
    names = ["Anna Keller", "Tom Reed", "M. Okafor", "Li Wei", "Jean Dupont", "Sara", "P. Novak", "Ivan"]
    firms = [
        "Acme Ltd",
        "Northwind GmbH",
        "Example Corp.",
        "Dept. of Physics",
        "City Library",
        "Open Source Initiative",
    ]
    disclaimers = [
        "This e-mail and any attachments are confidential and may be legally privileged. If you are not the intended recipient, please notify the sender and delete it.",
        "The information contained in this message is intended only for the addressee. Any unauthorised copying or distribution is prohibited.",
        "Please consider the environment before printing this email.",
        "IMPORTANT NOTICE: The contents of this email are confidential to the ordinary user of the address to which it was sent.",
        "This message has been scanned for viruses and dangerous content and is believed to be clean.",
    ]
    rng = random.Random(2)
    for number, body in enumerate(bodies):
        lines: list[tuple[str, bool]] = []
        who, other = rng.sample(names, 2)
        date = f"{rng.choice(['Mon', 'Tue', 'Wed', 'Thu', 'Fri'])}, {rng.randint(1, 28)} {rng.choice(['Jan', 'Mar', 'Jun', 'Sep', 'Nov'])} {rng.randint(1998, 2025)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        if rng.random() < 0.6:
            heads = [
                f"From: {who} <{who.split()[0].lower()}@example.{rng.choice(['org', 'com', 'net'])}>",
                f"To: {other.lower().replace(' ', '.')}@lists.example.org",
                f"Date: {date}:00 +0{rng.randint(0, 9)}00",
                f"Message-ID: <{rng.randbytes(8).hex()}@mail.example.com>",
                "Content-Type: text/plain; charset=utf-8",
                "X-Mailer: Mutt 1.10.1",
                f"Received: from mx{rng.randint(1, 9)}.example.net by mail.example.org with ESMTP; {date}",
                "MIME-Version: 1.0",
            ]
            rng.shuffle(heads)
            lines += [(h, True) for h in heads[: rng.randint(2, 8)]] + [("", True)]
        if rng.random() < 0.5:
            lines += [(rng.choice([f"Hi {other.split()[0]},", f"Dear {other},", "Hello all,"]), False), ("", False)]
        own = [x for row in body["text"].splitlines() for x in wrap(row, 72)][: rng.randint(4, 60)]
        quote = [x for line in bodies[(number * 7 + 3) % len(bodies)]["text"].splitlines() for x in wrap(line, 70)][
            : rng.randint(2, 25)
        ]
        intro = rng.choice(
            [
                f"On {date}, {other} wrote:",
                f"{other} <{other.split()[0].lower()}@example.com> writes:",
                "-----Original Message-----",
                f"Am {date} schrieb {other}:",
            ]
        )
        quoted = [(intro, True)] + [
            (("" if "Original" in intro else rng.choice(["> ", "> ", ">> ", "| "])[:2]) + q, True) for q in quote
        ]
        quoted_first = rng.random() < 0.3
        if quoted_first:
            lines += [*quoted, ("", True)]
        lines += [(line, False) for line in own]
        signature = [
            (s, True)
            for s in [
                "",
                rng.choice(sign),
                who,
                rng.choice(firms),
                f"Tel. +{rng.randint(10, 99)} {rng.randint(100, 999)} {rng.randint(10000, 99999)}",
                f"https://www.{who.split()[-1].lower()}.example",
            ][: rng.randint(2, 6)]
        ]
        lines += signature
        if rng.random() < 0.4:
            lines += [("", True)] + [(x, True) for x in wrap(rng.choice(disclaimers), rng.choice([72, 500]))]
        if not quoted_first and rng.random() < 0.6:
            lines += [("", True), *quoted]
        elif tails and rng.random() < 0.5:
            lines += [
                (x, True)
                for x in rng.choice(tails)[1][-rng.randint(3, 25) :]
                if x.startswith((">", "On ", "--", "_", "From", "Sent"))
            ]
        if rng.random() < 0.25:
            lines += [
                (x, True)
                for x in (
                    "_______________________________________________",
                    f"{rng.choice(firms).split()[0].lower()}-devel mailing list",
                    "https://lists.example.org/mailman/listinfo/devel",
                )
            ]
        text, noise = of_lines(lines)
        yield record(text, noise, "mail", f"mail:{body['source']}", body["part"])


def logs(folder: Path, bodies: list[Record]) -> Iterator[Record]:
    """Reports with real log lines of many programs between their paragraphs (fail2ban's test logs)."""
    files = sorted(
        p for p in (folder / "fail2ban").rglob("tests/files/logs/*") if p.is_file() and p.stat().st_size > 400
    )
    by_part: dict[str, list[list[str]]] = {}
    for path in files:
        rows = [row for row in path.read_text("utf-8", "replace").splitlines() if row and not row.startswith("#")]
        by_part.setdefault(part_of(f"log:{path.name}"), []).append(rows)
    rng = random.Random(3)
    for body in bodies:
        rows = rng.choice(by_part[body["part"]])
        run = [rows[(i + rng.randrange(len(rows))) % len(rows)] for i in range(rng.randint(3, 40))]
        paragraphs = body["text"].split("\n")
        at = rng.randint(0, len(paragraphs))
        lines = (
            [(p, False) for p in paragraphs[:at]]
            + [(row[:300], True) for row in run]
            + [(p, False) for p in paragraphs[at:]]
        )
        text, noise = of_lines(lines)
        yield record(text, noise, "log", f"log:{body['source']}", body["part"])


def printed(bodies: list[Record]) -> Iterator[Record]:
    """PDF and OCR text: short lines, hyphens, running headers and page numbers."""
    rng = random.Random(4)
    for body in bodies:
        title = " ".join(body["text"].split()[: rng.randint(2, 6)]).title()
        header = rng.choice(
            [
                f"{title}",
                f"Chapter {rng.randint(1, 20)}. {title}",
                f"Proceedings of the {rng.randint(2, 40)}th {title} Conference",
                f"{title} - Draft {rng.randint(1, 9)}.{rng.randint(0, 9)}",
            ]
        )
        wrapped = [
            x for line in body["text"].splitlines() for x in wrap(line, rng.choice([38, 60, 80]), rng.random() < 0.5)
        ]
        every, page, lines = rng.randint(12, 45), rng.randint(1, 300), []
        for number, line in enumerate(wrapped):
            if number % every == 0:
                foot = [
                    f"{page}",
                    f"- {page} -",
                    f"Page {page} of {page + 40}",
                    f"{page} | {header}",
                    f"© {rng.randint(1990, 2025)} {title.split()[0]} Press. All rights reserved.",
                ]
                lines += [(x, True) for x in [rng.choice(foot), header][: rng.randint(1, 2)]]
                page += 1
            lines.append((line, False))
        text, noise = of_lines(lines)
        yield record(text, noise, "printed", f"printed:{body['source']}", body["part"])


def subtitles(bodies: list[Record]) -> Iterator[Record]:
    """Numbered and timed lines: the numbers and times are noise."""
    rng = random.Random(5)
    for body in bodies:
        at, lines = 0, []
        for number, line in enumerate([x for row in body["text"].splitlines() for x in wrap(row, 36)], 1):
            end = at + rng.randint(900, 4000)
            stamp = [f"{t // 3600000:02}:{t // 60000 % 60:02}:{t // 1000 % 60:02},{t % 1000:03}" for t in (at, end)]
            lines += [(str(number), True), (f"{stamp[0]} --> {stamp[1]}", True), (line, False), ("", False)]
            at = end + rng.randint(0, 500)
        text, noise = of_lines(lines)
        yield record(text, noise, "subtitles", f"subtitles:{body['source']}", body["part"])


_BADGE = re.compile(
    r"^\s*(\[?!\[|\.\. image::|:target:|:alt:|<img|<a href|\.\. \|.*\| image|</?p|</?a|</?div|<br|\|[\w -]+\|(\s*\|[\w -]+\|)*\s*$|:(height|width|align|scale):)",
    re.I,
)


def readmes() -> Iterator[Record]:
    """READMEs of the installed Python packages: badge and image lines are noise, the rest must be kept."""
    for package in sorted(distributions(), key=lambda d: str(d.metadata["Name"])):
        body = package.metadata.get_payload()  # type: ignore[attr-defined]
        body = body if isinstance(body, str) and body.strip() else str(package.metadata["Description"] or "")
        text = shorten(html.unescape(body))
        if len(text.split()) < 30:
            continue
        text, noise = of_lines([(line, bool(_BADGE.match(line))) for line in text.splitlines()])
        name = str(package.metadata["Name"]).lower()
        yield record(text, noise, "readme" if noise else "clean-readme", f"pypi:{name}", part_of(f"readme:{name}"))


def transplanted(web: list[Record], bodies: list[Record]) -> Iterator[Record]:
    """Other texts in the place of a page's main content, so that what surrounds it is not learned by its topic."""
    rng = random.Random(6)
    for body in bodies:
        page = rng.choice([p for p in web if p["part"] == body["part"]])
        lines = page["text"].split("\n")
        at, kinds = 0, []
        for line in lines:
            inside = any(a < at + len(line) and at < b for a, b in page["noise"])
            kinds.append(inside or not line.strip())
            at += len(line) + 1
        if all(kinds) or not any(kinds):
            continue
        first, last = kinds.index(False), len(kinds) - 1 - kinds[::-1].index(False)
        before = [(line, True) for line in lines[max(0, first - 250) : first]]
        after = [(line, True) for line in lines[last + 1 : last + 250]]
        text, noise = of_lines([*before, *((line, False) for line in body["text"].split("\n")), *after])
        yield record(text, noise, "transplanted", f"transplanted:{body['source']}", body["part"])


def generated(texts: list[Record]) -> Iterator[Record]:
    """The views that the pooling head is trained on: noise between the words, without line breaks."""
    from glot_rag.denoise.noisy_views import NoiseGenerator

    for part in ("train", "validation", "report"):
        chosen = [t["text"] for t in texts if t["part"] == part and len(t["text"].split()) > 30]
        generator = NoiseGenerator(chosen, seed=len(part))
        for number in range(500 if part == "train" else 80):
            view = generator.view(number % len(chosen), number)
            spans = spans_of_words(view.text, [not n for n in view.is_noise])
            yield record(view.text, spans, "generated", f"generated:{number}", part)


def wrap(line: str, width: int, hyphens: bool = False) -> list[str]:
    """A line cut into lines of at most so many characters; long words may be parted by a hyphen."""
    import textwrap

    rows = textwrap.wrap(line, width) or [""]
    if hyphens:
        for i in range(len(rows) - 1):
            word, _, rest = rows[i + 1].partition(" ")
            if len(word) > 7 and word.isalpha() and rest:
                rows[i], rows[i + 1] = f"{rows[i]} {word[:4]}-", f"{word[4:]} {rest}"
    return rows


def variants(found: list[Record]) -> Iterator[Record]:
    """A share again without line breaks, in lower case, in upper case. Neither moves a character, so labels stay."""
    for each in found:
        draw = int(hashlib.sha256(each["source"].encode()).hexdigest()[:8], 16) % 100
        text = each["text"]
        if each["kind"] == "generated" or each["part"] == "report":
            continue
        if draw < 35:
            text = text.replace("\n", " ")
        if 25 <= draw < 42:
            text = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
        elif 42 <= draw < 46:
            text = "".join(c.upper() if len(c.upper()) == 1 else c for c in text)
        if text != each["text"]:
            yield {**each, "text": text, "source": f"{each['source']}:variant", "kind": f"{each['kind']}~"}


def used(each: Record) -> bool:
    """Whether a document is kept: of what there is plenty of, a share will do."""
    kind, train, draw = each["kind"], each["part"] == "train", zlib.crc32(each["source"].encode()) % 100
    if kind.endswith("~") and kind[:-1] in WEB:
        return bool(train and (kind != "article~" or draw >= 50))
    least = {"site": 40 * train, "site~": 75 if train else 100, "transplanted~": 50 if train else 100}
    return bool(draw >= least.get(kind, 0))


def shortened(each: Record) -> Record:
    """The beginning of a long document; pages stay whole, since what stands at their end is mostly noise."""
    words = [match.end() for match in re.finditer(r"\S+", each["text"])]
    most = (10_000 if each["part"] == "train" else 20_000) if each["kind"] in WEB else 2_500
    if len(words) <= most:
        return each
    text = each["text"][: words[most - 1]]
    noise = [(start, min(end, len(text))) for start, end in each["noise"] if start < len(text)]
    return {**each, "text": text, "noise": noise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True, help="pages with their main content (JSON lines, gzip)")
    parser.add_argument(
        "--texts", type=Path, required=True, help="folder of ag_news.jsonl.gz and debian_packages.jsonl.gz"
    )
    parser.add_argument(
        "--packages", type=Path, required=True, help="where packages are unpacked; kept for the next run"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.packages.mkdir(parents=True, exist_ok=True)
    fetch(options.packages)
    web = list(pages(options.pages))
    kept = list(clean(options.packages, options.texts))
    rng = random.Random(7)

    def some(count: int, *kinds: str) -> list[Record]:
        among = [each for each in kept if each["kind"].removeprefix("clean-") in kinds]
        return rng.sample(among, min(count, len(among)))

    prose = ("news", "description", "verse", "poem", "docstrings", "manual")
    made = [
        *documentation(options.packages),
        *readmes(),
        *mails(options.packages, some(220, *prose)),
        *logs(options.packages, some(160, *prose, "list")),
        *printed(some(200, *prose, "licence")),
        *subtitles(some(60, "poem", "verse", "news", "docstrings")),
        *transplanted(web, some(420, *prose, "list", "licence", "code", "table")),
        *generated(some(600, "news", "description")),
    ]
    found = [*web, *kept, *made]
    found = [shortened(each) for each in [*found, *variants(found)] if used(each)]
    found.sort(key=lambda each: each["kind"] not in WEB)
    with gzip.open(options.out, "wt", encoding="utf-8") as file:
        for each in found:
            file.write(json.dumps(each, ensure_ascii=False) + "\n")
    counts: dict[tuple[str, str], int] = {}
    for each in found:
        counts[each["kind"], each["part"]] = counts.get((each["kind"], each["part"]), 0) + 1
    for (kind, part), count in sorted(counts.items()):
        print(f"{kind:22} {part:12} {count:5}")


if __name__ == "__main__":
    main()
