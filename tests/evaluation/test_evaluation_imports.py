from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "faiss", "ir_measures", "matplotlib", "rich")


def test_heavy_packages_are_loaded_only_where_they_are_used() -> None:
    script = f"import sys, glot_rag.evaluation; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
