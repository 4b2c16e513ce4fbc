"""Draw the two-level graph of a real page: the tokens of one line, and the lines of the page.

    python benchmarks/graph_pictures.py            # docs/pictures/{token,page}-graph.png

The page is one of `examples/pages`, and the denoiser is fitted to all of them. Edges, clusters and what is dropped are
those of the block head; only the choice of lines is the picture's.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Arc
from PIL import Image

from glot_rag import TorchDenoiser, TorchEncoder
from glot_rag.denoise.block_evidence import BlockEvidence
from glot_rag.denoise.block_states import early_states
from glot_rag.documents import read_documents

ROOT = Path(__file__).resolve().parents[1]
PAGE = "max.html"
KEPT, DROPPED, EDGE = "#1f6feb", "#d9480f", "#9aa3ad"
LINES = 32  # of the page that are drawn
TOKEN_THRESHOLD = 0.3
PROSE = re.compile(r"[A-Z][\w, ]{30,110}[.:]")  # a line whose tokens are drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", default=PAGE, help="of examples/pages (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    documents = list(read_documents(ROOT / "examples" / "pages" / "cpp-algorithm.zip", html="all"))
    text = next(each.text for each in documents if each.id.endswith(f"/{options.page}"))
    denoiser = TorchDenoiser.from_pretrained().fit([each.text for each in documents])
    evidence = TorchEncoder.from_pretrained(denoise=denoiser).explain(text)
    assert evidence.blocks is not None
    dropped = {part.start for part in evidence.dropped}
    gone = np.array([span[0] in dropped for span in evidence.blocks.spans])

    pyplot.rcParams.update({"font.size": 11})
    figure, axes = pyplot.subplots(figsize=(9, 6.6))
    draw_lines(axes, evidence.blocks, text, gone)
    save(figure, options.out / "page-graph.png")

    figure, axes = pyplot.subplots(figsize=(9, 2.6))
    kept = [text[slice(*span)] for span, out in zip(evidence.blocks.spans, gone, strict=True) if not out]
    draw_tokens(axes, denoiser, max((line for line in kept if PROSE.fullmatch(line)), key=len))
    save(figure, options.out / "token-graph.png")


def draw_lines(axes: Axes, blocks: BlockEvidence, text: str, gone: np.ndarray) -> None:
    """The lines where the menu ends and the article begins, with an arc between any two that are joined."""
    runs = [number for number in range(len(gone) - LINES // 2) if not gone[number : number + LINES // 2].any()]
    window = range(max(0, runs[0] - LINES // 2), min(runs[0] + LINES // 2, len(gone)))
    for place, number in enumerate(window):
        line = " ".join(text[slice(*blocks.spans[number])].split())
        shown = line if len(line) < 78 else f"{line[:76]}…"
        axes.text(0.6, -place, shown, va="center", fontsize=10.5, color=DROPPED if gone[number] else KEPT)
        axes.plot(0.0, -place, "o", markersize=5, color=DROPPED if gone[number] else KEPT, zorder=3)
        for below, other in enumerate(window[place + 1 :], start=place + 1):
            if (cosine := float(blocks.similarity[number, other])) > blocks.threshold:
                strength = (cosine - blocks.threshold) / (1 - blocks.threshold)
                height = below - place
                colours = {(True, True): DROPPED, (False, False): KEPT}
                colour = colours.get((bool(gone[number]), bool(gone[other])), EDGE)
                centre = (0.0, -(place + below) / 2)
                axes.add_patch(arc(centre, 1.0 * height**0.75, height, 90, colour, strength))
    axes.set_xlim(-0.5 * LINES**0.75 - 0.3, 22)
    axes.set_ylim(-LINES + 0.4, 0.6)
    axes.axis("off")


def arc(centre: tuple[float, float], width: float, height: float, start: float, colour: str, strength: float) -> Arc:
    """Half an ellipse; stronger where the cosine is higher."""
    look = {"alpha": 0.1 + 0.8 * strength, "linewidth": 0.6 + 1.9 * strength}
    return Arc(centre, width, height, theta1=start, theta2=start + 180, color=colour, **look)


def draw_tokens(axes: Axes, denoiser: TorchDenoiser, line: str) -> None:
    """The tokens of a line in a row, with an arc between any two that are joined."""
    networks = denoiser.networks
    assert networks.blocks is not None
    (read,) = early_states(networks.reader, [line], networks.blocks.layer)
    states = read.states / np.linalg.norm(read.states, axis=1, keepdims=True)
    cosines = states @ states.T
    words = [line[start:end] for start, end in read.spans]
    widths = np.array([len(word) + 1.6 for word in words])
    centres = np.cumsum(widths) - widths / 2
    for first in range(len(words)):
        for second in range(first + 1, len(words)):
            if (cosine := float(cosines[first, second])) > TOKEN_THRESHOLD:
                width = centres[second] - centres[first]
                strength = (cosine - TOKEN_THRESHOLD) / (1 - TOKEN_THRESHOLD)
                centre = (float(centres[first] + centres[second]) / 2, 0.0)
                axes.add_patch(arc(centre, width, 1.6 * width / widths.sum(), 0, KEPT, strength))
    for centre, word in zip(centres, words, strict=True):
        axes.text(centre, -0.05, word, ha="center", va="top", family="monospace", fontsize=8.5)
    axes.set_xlim(0, widths.sum())
    axes.set_ylim(-0.2, 0.85)
    axes.axis("off")


def save(figure: pyplot.Figure, path: Path) -> None:
    figure.patch.set_facecolor("white")
    figure.savefig(path, bbox_inches="tight", dpi=110)
    pyplot.close(figure)
    Image.open(path).quantize(64).save(path, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
