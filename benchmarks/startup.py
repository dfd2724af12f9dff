"""How long `labctl --help` takes against `python -c "import click"`: the aim is at most 1.5 times.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def seconds(command: list[str], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    bare = seconds([sys.executable, "-c", ""], rounds)
    click = seconds([sys.executable, "-c", "import click"], rounds)
    shown = seconds([sys.executable, "-m", "labctl", "--help"], rounds)
    print(f"python {bare * 1e3:.0f} ms, import click {click * 1e3:.0f} ms, labctl --help {shown * 1e3:.0f} ms")
    print(f"labctl --help / import click = {shown / click:.2f} (aim <= 1.5)")


if __name__ == "__main__":
    main()
