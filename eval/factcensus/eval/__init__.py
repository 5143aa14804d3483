"""Evaluation: questions, attacks, statistics and the report."""

import factcensus.indexer  # noqa: F401  (gives the namespace its __version__)
