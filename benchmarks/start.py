"""How long `hpo --help` takes.

python -m benchmarks.start
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.tables import conditions, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    command = [sys.executable, "-m", "hpo", "--help"]
    _seconds(command)  # writes the byte code and fills the disk cache
    print(conditions("typer"))
    print(f"hpo --help: {spread([_seconds(command) for _ in range(rounds)], 3)} s, median (min-max) of {rounds}")


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
