"""From process start to the first picture on disk, and the peak memory of the whole command.

    python benchmarks/first_picture.py --repeats 3

Runs the real command in a fresh directory and watches the folder of pictures. Aims: under 10 s, under 2 GB.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PROMPT = "a photo of a red star left of a blue heart"


def measure(images: int) -> tuple[float, float, float]:
    """Return seconds to the first picture, seconds in all, and peak resident memory in GB."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "reflectionflow", "generate", PROMPT, "--images", str(images)]
        begun = time.perf_counter()
        process = subprocess.Popen([*command, "--out", str(out), "--quiet"])
        watched, first, peak = psutil.Process(process.pid), 0.0, 0
        while process.poll() is None:
            if not first and any(out.glob("images/*/*.png")):
                first = time.perf_counter() - begun
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.02)
        if process.wait():
            raise SystemExit("the command failed")
        return first, time.perf_counter() - begun, peak / 1e9


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=16)
    asked = parser.parse_args()
    rows = [measure(asked.images) for _ in range(asked.repeats)]
    for name, unit, values in zip(
        ("first picture", "whole command", "peak memory"), ("s", "s", "GB"), zip(*rows, strict=True), strict=True
    ):
        print(
            f"{name:14} median {statistics.median(values):.2f} {unit} of {sorted(round(value, 2) for value in values)}"
        )


if __name__ == "__main__":
    main()
