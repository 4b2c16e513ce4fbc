"""A full and a failing disk: system calls that write are intercepted below SQLite and Python.

Every call of one addition fails, and 20 spread over a longer history; GLOT_FAULTS=1000 lets every one of those fail.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.skipif(sys.platform != "linux" or COMPILER is None, reason="needs Linux and a C compiler")
def test_no_failing_write_loses_or_halves_an_acknowledged_operation(tmp_path, figures):
    library = tmp_path / "faults.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parents[1])}
    command = [
        sys.executable,
        str(HERE / "fault_child.py"),
        str(tmp_path),
        str(library),
        os.environ.get("GLOT_FAULTS", "20"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    counts = json.loads(ended.stdout)
    # A few calls may fail unnoticed: SQLite tries some again, and does without others (a truncation of its log).
    assert counts["noticed"] > counts["faults"] / 2
    assert counts["doubtful"], "no failed addition was found by a later opening: the next write was not tested"
    figures(
        f"ENOSPC and EIO: {counts['faults']} faults over {counts['calls']} calls, {counts['noticed']} noticed, 0 lost; "
        f"{counts['doubtful']} failed additions that an opening would have shown, none after the next write"
    )
