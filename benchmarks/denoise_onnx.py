"""An exported denoiser against torch over web pages, in one run: pages a second, and whether they keep the same parts.

    python benchmarks/denoise_onnx.py pages.jsonl.gz [--pages 30] [--json FILE]

A line of the file is a page: `text` (all its visible text, line breaks kept) and `host`. One thread each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
import zlib
from pathlib import Path

import torch
from glot_onnx import export_denoiser

from glot_rag import Denoiser, OnnxDenoiser


def main() -> None:
    """Export the shipped denoiser, then let each runtime denoise the same pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with gzip.open(options.path, "rt", encoding="utf-8") as lines:
        pages = [json.loads(line) for line in lines]
    held_out = [page["text"] for page in pages if zlib.crc32(page["host"].encode()) % 5 == 0][: options.pages]
    denoiser = Denoiser.from_pretrained("minilm", device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        report = export_denoiser(denoiser, Path(folder) / "bundle")
        ways: dict[str, Denoiser] = {"torch": denoiser}
        for runtime in ("onnxruntime", "openvino"):
            ways[runtime] = OnnxDenoiser(Path(folder) / "bundle", runtime=runtime, threads=1)
        rows, expected = [], [found.spans for found in denoiser.denoise(held_out)]
        for name, way in ways.items():
            way.denoise(held_out[:2])  # the first one prepares
            begun, wall = time.process_time(), time.perf_counter()
            found = way.denoise(held_out)
            seconds = time.process_time() - begun
            rows.append(
                {
                    "runtime": name,
                    "pages": len(held_out),
                    "cpu_seconds": round(seconds, 2),
                    "wall_seconds": round(time.perf_counter() - wall, 2),
                    "pages_a_cpu_second": round(len(held_out) / seconds, 2),
                    "pages_kept_otherwise": sum(
                        ours.spans != theirs for ours, theirs in zip(found, expected, strict=True)
                    ),
                }
            )
            print(rows[-1])
    if options.json:
        result = {"max_difference": report.max_difference, "parts": report.parts, "results": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
