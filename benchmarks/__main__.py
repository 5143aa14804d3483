"""All benchmarks: ``make bench``, or ``python -m benchmarks CORPUS FACTS``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import counting


def main() -> None:
    """Run them over a corpus and a fact table; by default a controlled world that is made on the spot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("corpus", nargs="?", type=Path, help="a file or folder of JSON Lines or Parquet")
    parser.add_argument("facts", nargs="?", type=Path, help="a fact table")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    arguments = parser.parse_args()
    counting.main(arguments.corpus, arguments.facts, arguments.rounds)


if __name__ == "__main__":
    main()
