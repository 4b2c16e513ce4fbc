"""What is read of a real file of each format: a table, and the beginning of each text to look at.

    python benchmarks/formats.py FOLDER… [--show 600]

Of each family of formats the largest file of at most 4 MB that has text is read; any packages will do:

    apt-get download debian-policy developers-reference    # unpacked with dpkg -x: HTML, PDF, EPUB, text
    pip download --no-deps --no-binary :all: python-docx python-pptx nbformat talon    # Word, slides, notebooks, mail
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from glot_rag.documents import find_files, read_documents, split_blocks

FAMILIES = {
    "text": (".txt",),
    "Markdown": (".md",),
    "reStructuredText": (".rst",),
    "HTML": (".html", ".htm", ".xhtml"),
    "PDF": (".pdf",),
    "Word": (".docx",),
    "PowerPoint": (".pptx",),
    "EPUB": (".epub",),
    "mail": (".eml",),
    "mail folder": (".mbox",),
    "table": (".csv", ".tsv"),
    "JSON": (".json",),
    "JSON Lines": (".jsonl", ".ndjson"),
    "notebook": (".ipynb",),
    "source code": (".py", ".c", ".js"),
}
LARGEST = 4 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument(
        "--show", type=int, default=0, help="print so many characters of each file's first document, too"
    )
    parser.add_argument("--html", default="main")
    options = parser.parse_args()
    files = [Path(file) for file in find_files(options.folders)]
    shown = []
    print("| format | file | bytes | documents | characters | lines and sentences | known kinds | title | notes | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for family, suffixes in FAMILIES.items():
        found = [file for file in files if file.suffix.lower() in suffixes and file.stat().st_size <= LARGEST]
        found.sort(key=lambda each: each.stat().st_size, reverse=True)
        if not found:
            print(f"| {family} | none |")
            continue
        for file in found[:20]:  # the largest of images have no text
            start = time.process_time()
            reader = read_documents(file, html=options.html)
            documents = list(reader)
            seconds = time.process_time() - start
            if documents:
                break
        kinds = Counter(block.kind for document in documents for block in document.blocks)
        report = reader.report
        notes = [reason for _, reason in (*report.set_aside, *report.notes)]
        notes += [f"{len(report.empty)} without text"] * bool(report.empty)
        cells = (
            family,
            file.name,
            f"{file.stat().st_size:,}",
            len(documents),
            f"{sum(len(document.text) for document in documents):,}",
            f"{sum(len(split_blocks(document.text, document.blocks)) for document in documents):,}",
            ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()),
            documents[0].title if documents else "",
            "; ".join(notes[:3]),
            f"{seconds:.1f}",
        )
        print("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
        shown += [(file, document) for document in documents[:1]]
    for file, document in shown if options.show else ():
        print(f"\n=== {file.name}: {dict(document.metadata)}")
        print(document.text[: options.show])


if __name__ == "__main__":
    main()
