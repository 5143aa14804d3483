"""What each of two processes runs in the test of ranks: one configuration, from a file."""

from __future__ import annotations

import sys
from pathlib import Path

from factcensus.unlearn.config.files import load_config
from factcensus.unlearn.run import run_unlearning

if __name__ == "__main__":
    run_unlearning(load_config(Path(sys.argv[1])))
