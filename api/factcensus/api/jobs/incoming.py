"""Making jobs of decoded tables: every piece is checked and stored before the next one is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from factcensus.api.decoding.decoders import Decoded
from factcensus.api.decoding.rows import counted_from, moved
from factcensus.api.http.problems import Problem
from factcensus.api.jobs.records import Job, NewJob
from factcensus.api.jobs.remote import Jobs
from factcensus.api.limits import check_entities
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex
from factcensus.indexer.tables.counts import check_names


def submit_decoded(
    jobs: Jobs,
    index: CountIndex,
    table: Decoded,
    windows: Sequence[int],
    limits: Limits,
    *,
    media_type: str,
    owner: str,
    name: str = "",
) -> Job:
    """Make a job of a decoded table.

    Raises:
        InputError: A row cannot be counted; the message names it.
        Problem: The table is too large, or there is no room for it.
    """
    pieces = checked_pieces(table, index, limits)
    return jobs.submit_pieces(index, pieces, NewJob(windows, table.facts, table.size, media_type, owner, name))


def checked_pieces(table: Decoded, index: CountIndex, limits: Limits) -> Iterator[pa.Table]:
    """Yield the pieces of a table after checking that the index can count their names."""
    before = 0
    for piece in table.pieces:
        try:
            with counted_from(before):
                check_entities(piece, limits)
                check_names(index, piece)
        except Problem as problem:
            raise Problem(problem.kind, moved(problem.detail, before)) from problem
        yield piece
        before += piece.num_rows
