"""How long do the demo and the miniature of a whole competition take, and how well do they score?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import parse_arguments, report

from dawnchorus.pipelines.demo import DemoSettings, run_demo
from dawnchorus.report.measurements import PATH, Measurement

SEED = 42


def main() -> None:
    """Run both, the second one unless the run is to be short, and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = run_demo(DemoSettings(out=folder / "demo", seed=SEED), announce=print).measurements
        rows = [row for row in measured if row.unit != PATH]
        if not arguments.quick:
            rows += sample_rows(folder / "sample")
    report("The demo", rows, arguments, seeds=(SEED,))


def sample_rows(folder: Path) -> list[Measurement]:
    """Return the time and the score of ``rock_that_bird.sh --sample``."""
    program = [sys.executable, "-m", "dawnchorus"]
    started = time.perf_counter()
    subprocess.run([*program, "rock-that-bird", "--sample", "--out", str(folder)], check=True)
    seconds = time.perf_counter() - started
    tables = [str(folder / "submission.csv"), str(folder / "data" / "solution.csv")]
    scored = subprocess.run([*program, "score", *tables, "--json"], check=True, capture_output=True)
    return [
        Measurement("rock_that_bird.sh --sample", seconds, "s"),
        Measurement("rock_that_bird.sh --sample, macro ROC-AUC", json.loads(scored.stdout)["macro_roc_auc"]),
    ]


if __name__ == "__main__":
    main()
