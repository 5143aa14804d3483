"""Reading the table of a training order from a file."""

from __future__ import annotations

from factcensus.indexer.counting.order import Order
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import Place
from factcensus.indexer.tables.files import Location, read_table


def read_order(source: Location) -> Order:
    """Read the table of a training order: .csv, .jsonl or .parquet.

    Raises:
        InputError: It cannot be read; see also :class:`Order`.
    """
    try:
        return Order(read_table(source))
    except InputError as error:
        raise InputError(f"{Place.of(source)}: {error}") from error
