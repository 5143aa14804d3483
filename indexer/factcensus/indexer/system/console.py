"""Results of commands on stdout: tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from factcensus.indexer.system.display import isolated, on_one_line
from factcensus.indexer.system.text_tables import format_table


def terminal_text(text: object) -> str:
    """Return a text for a line of results, as a terminal may show it.

    A corpus may contain control characters, which could clear the screen or change the title of the window.
    """
    return isolated(on_one_line(str(text)))


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout; values without a JSON type, such as paths, become text."""
    print(json.dumps(value, ensure_ascii=False, default=str))


def print_table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Print a plain table on stdout; numbers are right-aligned, with thousands separators."""
    print(format_table(rows, header))
