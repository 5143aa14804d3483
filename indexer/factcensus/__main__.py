"""Run the command line as ``python -m factcensus``."""

import sys

from factcensus.indexer.cli import main

sys.exit(main())
