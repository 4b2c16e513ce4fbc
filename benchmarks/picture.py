"""Draw the README's picture from the JSON of `glot-rag evaluate`: what noise takes, and what GLOT wins back.

python benchmarks/picture.py                 # docs/noise.svg from benchmarks/results/cranfield-0.json
python benchmarks/picture.py --out noise.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from glot_rag.evaluation.report.results import method_label

ROOT = Path(__file__).resolve().parents[1]
METRIC = "ndcg@10"
NAMES = {
    "none": "no noise",
    "words": "random words",
    "boilerplate": "page boilerplate",
    "gibberish": "random strings",
    "ocr": "OCR errors",
    "offtopic": "another document's passage",
}
MEAN, FITTED, ORACLE = "#8a8f98", "#1f6feb", "#1b1f24"


def read(path: Path, fitted: str) -> list[tuple[str, float, float, float]]:
    """(noise, mean pooling, GLOT fitted, oracle) of every setting; nDCG@10 in points."""
    found: dict[tuple[str, float], dict[str, float]] = {}
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    for each in results:
        setting = found.setdefault((each["noise"], each["ratio"]), {})
        label = method_label(each["pooling"], fitted=each["fitted"], denoised=each["denoised"])
        setting[label] = 100 * each["metrics"][METRIC]
        setting["oracle"] = 100 * each["ceiling"][METRIC]
    return [
        (NAMES[noise] + (f", {ratio:.0%}" if ratio else ""), values["mean"], values[fitted], values["oracle"])
        for (noise, ratio), values in found.items()
    ]


def draw(rows: list[tuple[str, float, float, float]], out: Path, title: str) -> None:
    """One line for each noise setting: three dots, and an arrow from mean pooling to GLOT."""
    # Text as paths: it looks the same wherever the picture is shown. A fixed salt gives the same file every time.
    pyplot.rcParams.update({"font.size": 11, "svg.fonttype": "path", "svg.hashsalt": "glot-rag"})
    figure, axes = pyplot.subplots(figsize=(8.4, 0.36 * len(rows) + 1.5))
    figure.patch.set_facecolor("white")
    for place, (_, mean, fitted, oracle) in enumerate(reversed(rows)):
        axes.plot([mean, oracle], [place, place], color="#d5d9df", linewidth=2, zorder=1)
        axes.plot([mean, fitted], [place, place], color=FITTED, linewidth=4, alpha=0.45, zorder=2)
        axes.scatter(oracle, place, s=80, facecolor="white", edgecolor=ORACLE, linewidth=1.6, zorder=3)
        axes.scatter(mean, place, s=64, color=MEAN, zorder=4)
        axes.scatter(fitted, place, s=44, color=FITTED, zorder=5)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 5 * (max(oracle for *_, oracle in rows) // 5 + 1))
    axes.set_xlabel("nDCG@10 × 100")
    axes.set_title(title, fontsize=11, loc="left", pad=30)
    axes.grid(axis="x", color="#eceef1")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    labels = {
        "mean pooling": (MEAN, MEAN),
        "GLOT, fitted": (FITTED, FITTED),
        "oracle: mean of the document's own words": ("white", ORACLE),
    }
    handles = [
        axes.scatter([], [], s=64, facecolor=face, edgecolor=edge, linewidth=1.6, label=label)
        for label, (face, edge) in labels.items()
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False, handletextpad=0.2
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, bbox_inches="tight", dpi=110, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "cranfield-0.json")
    parser.add_argument("--fitted", default="GLOT, fitted", help="label of the method beside mean pooling")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "noise.svg")
    arguments = parser.parse_args()
    draw(
        read(arguments.results, arguments.fitted),
        arguments.out,
        "Cranfield with generated noise, all-MiniLM-L6-v2, documents of 170 words",
    )


if __name__ == "__main__":
    main()
