"""Draw how reliable a block graph head's noise probabilities are, from what `benchmarks/block_noise.py --json` wrote.

    python benchmarks/reliability.py benchmarks/results/block_noise-validation.json benchmarks/results/block_noise.json

One panel a file: of the words that were given a probability, how many are noise. Right ones lie on the diagonal.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from glot_rag.evaluation.report.charts import COLOURS, GREY


def draw(reports: list[Path], out: Path) -> None:
    figure = Figure(figsize=(3.6 * len(reports), 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, path in zip(figure.subplots(1, len(reports), sharey=True, squeeze=False)[0], reports, strict=True):
        report = json.loads(path.read_text(encoding="utf-8"))
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (5, 3)))
        for number, (name, found) in enumerate(
            (n, f) for n, f in report.items() if isinstance(f, dict) and "bins" in f
        ):
            probability, share, words = zip(*found["bins"], strict=True)
            colour = COLOURS[number % len(COLOURS)]
            axes.bar(
                probability, [each / sum(words) for each in words], width=0.06, color=colour, alpha=0.2, linewidth=0
            )
            label = f"{name}: error {found['calibration_error']:.3f}"
            axes.plot(probability, share, color=colour, marker="o", markersize=4, label=label)
        axes.set(
            title=f"{report['part']}, {report['pages']} pages", xlabel="noise probability", xlim=(0, 1), ylim=(0, 1)
        )
        axes.title.set_fontsize(10)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("share that is noise (bars: share of the words)")
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/block_reliability.svg"))
    options = parser.parse_args()
    draw(options.reports, options.out)


if __name__ == "__main__":
    main()
