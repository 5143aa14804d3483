"""Our suffix array alone, in a separate process: ``python -m benchmarks.sort_tokens TOKENS TABLE``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from factcensus.indexer.building.suffix_array import byte_order_ranks, count_ranks, sort_suffixes
from factcensus.indexer.storage.layout import write_table

#: Token ids, and the separator of documents.
FOLDED = 60_000
SEPARATOR = 0xFFFF
#: Number of tokens read at once.
STEP = 1 << 20


def main(tokens: Path, table: Path) -> None:
    """Read two-byte tokens from one file and write their suffix array to another, in one thread."""
    rank_of_id = np.full(SEPARATOR + 1, FOLDED, np.uint32)
    rank_of_id[:FOLDED] = byte_order_ranks(FOLDED, np.dtype("<u2"))
    ranks = np.empty(tokens.stat().st_size // 2, np.uint32)
    for at in range(0, len(ranks), STEP):
        ranks[at : at + STEP] = rank_of_id[np.fromfile(tokens, "<u2", STEP, offset=2 * at)]
    starts = count_ranks(ranks, FOLDED + 1)
    write_table(table, sort_suffixes(ranks, starts, threads=1), 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
