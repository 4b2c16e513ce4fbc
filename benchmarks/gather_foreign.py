"""Gather documents in other languages than English whose noise is known, to train a block head that reads them.

    python benchmarks/gather_foreign.py --documents documents.jsonl.gz --packages DIR --out foreign.jsonl.gz

Takes real pages of the documents that gather_blocks.py wrote and puts every line into another language, so that the
layout stays real: a line of noise becomes WordPress's translation of a message of about its length (Debian package
wordpress-l10n, GPL-2+), a line of content becomes sentences of translated package descriptions (Debian's index), and
for Arabic, which has none, of WordPress's help. Descriptions alone are documents that must be kept. Pages keep their
part. Needs Debian's apt-get. Nothing of debian-handbook and mediawiki, which languages.py measures on.
"""

from __future__ import annotations

import argparse
import bisect
import gettext
import gzip
import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gather_blocks import Record, of_lines, part_of, record

from glot_rag.evaluation.block_measures import WEB

PACKAGE = "wordpress-l10n"
# WordPress's name of a language: Debian's.
LANGUAGES = {
    "de_DE": "de", "es_ES": "es", "fr_FR": "fr", "it_IT": "it", "pt_BR": "pt_BR", "nl_NL": "nl", "pl_PL": "pl",
    "ru_RU": "ru", "ja": "ja", "ko_KR": "ko", "zh_CN": "zh_CN", "zh_TW": "zh_TW", "ar": None,
}  # fmt: skip
PAGES, PLAIN = 50, 30  # documents a language
MOST_LINES = 300  # of a page
NEAR = 15  # messages of about the same length, of which one is drawn
_SENTENCE = re.compile(r"(?<=[.!?؟])\s+|(?<=[。！？])")
_MARKUP = re.compile(r"<[^>]*>|&#?\w+;|%[\d$]*[sd]|[\n\r\t]|\{|\}")
_PROSE = 60  # characters of English that a sentence of WordPress's help has, at least


def fetch(folder: Path) -> None:
    """WordPress's translations, and Debian's descriptions."""
    if not (folder / PACKAGE).is_dir():
        subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", next(folder.glob(f"{PACKAGE}_*.deb")).name, PACKAGE], cwd=folder, check=True)
    lists = folder / "lists"
    if not lists.is_dir():
        (lists / "partial").mkdir(parents=True)
        names = ",".join(filter(None, LANGUAGES.values()))
        places = ["-o", f"Dir::State::lists={lists.resolve()}", "-o", f"Acquire::Languages={names}"]
        subprocess.run(["apt-get", "update", "-qq", *places], check=True)


def messages(folder: Path, language: str, admin: bool = False) -> list[tuple[int, str]]:
    """(Characters of the English message, its translation) of the site, or of the administrator's pages, sorted."""
    name = f"admin-{language}.mo" if admin else f"{language}.mo"
    path = next((folder / PACKAGE).rglob(name), None)
    if path is None:
        return []
    with path.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    pairs = ((key.rpartition("\x04")[2], text) for key, text in catalogue.items() if isinstance(key, str))
    return sorted((len(key), text) for key, text in pairs if key and text and not _MARKUP.search(key + text))


def descriptions(folder: Path, language: str) -> list[str]:
    """Debian's package descriptions in a language."""
    path = next((folder / "lists").glob(f"*_main_i18n_Translation-{language.replace('_', '%5f')}*"))
    listed = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], check=True, capture_output=True, text=True)
    found = {}
    for entry in listed.stdout.split("\n\n"):
        synopsis, _, rest = entry.partition(f"\nDescription-{language}: ")[2].partition("\n")
        paragraphs = re.sub(r"\n (?=\S)", "\n", "\n" + rest).strip().split("\n.\n")
        found[synopsis] = "\n".join([synopsis, *(" ".join(each.split()) for each in paragraphs)])
    return [text for text in found.values() if len(text) > 120]


def lines_of(page: Record) -> list[tuple[str, bool]]:
    """The lines of a page, and whether each is noise."""
    lines, at = [], 0
    for line in page["text"].split("\n"):
        lines.append((line, any(start < at + len(line) and at < end for start, end in page["noise"])))
        at += len(line) + 1
    return lines[:MOST_LINES]


def in_language(
    page: Record, chrome: list[tuple[int, str]], prose: Iterator[str], ratio: float, rng: random.Random
) -> tuple[str, list[tuple[int, int]]]:
    """A page with other words in every line, and its noise. A line that comes again gets the same words."""
    said: dict[str, str] = {"": ""}
    lines = []
    for line, noise in lines_of(page):
        key = line.strip()
        if key not in said and noise:
            place = bisect.bisect(chrome, (len(key), ""))
            said[key] = rng.choice(chrome[max(0, place - NEAR) : place + NEAR] or chrome[-NEAR:])[1]
        elif key not in said:
            said[key] = next(prose)
            while len(said[key]) < len(key) * ratio:
                said[key] += " " + next(prose)
        lines.append((said[key], noise and bool(key)))
    return of_lines(lines)


def endless(sentences: list[str], rng: random.Random) -> Iterator[str]:
    """The sentences in another order, again and again."""
    while True:
        yield from rng.sample(sentences, len(sentences))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, required=True, help="what gather_blocks.py wrote")
    parser.add_argument("--packages", type=Path, required=True, help="where packages are unpacked")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.packages.mkdir(parents=True, exist_ok=True)
    fetch(options.packages)
    with gzip.open(options.documents, "rt", encoding="utf-8") as file:
        pages = [each for each in map(json.loads, file) if each["kind"] in WEB and each["part"] != "report"]
    found = []
    for language, debian in LANGUAGES.items():
        rng = random.Random(language)
        chrome = messages(options.packages, language)
        help_pages = [text for size, text in messages(options.packages, language, admin=True) if size >= _PROSE]
        plain = [] if debian is None else descriptions(options.packages, debian)
        sentences = [sentence for text in plain for line in text.split("\n")[1:] for sentence in _SENTENCE.split(line)]
        ratio = sum(len(text) for _, text in chrome) / sum(size for size, _ in chrome)
        prose = endless(list(filter(None, sentences)) or help_pages, rng)
        for page in rng.sample(pages, PAGES):
            text, noise = in_language(page, chrome, prose, ratio, rng)
            found.append(record(text, noise, "foreign", f"{language}:{page['source']}", page["part"], page["group"]))
        for text in rng.sample(plain, min(PLAIN, len(plain))):
            source = f"{language}:{text.partition(chr(10))[0]}"
            found.append(record(text, [], "clean-foreign", source, part_of(source)))
    with gzip.open(options.out, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in found)
    print(f"{len(found)} documents, {sum(each['part'] == 'train' for each in found)} to learn from")


if __name__ == "__main__":
    main()
