"""Limits on a table, independent of the size of its body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: The kind of a JSON body: for counting facts, or for replicating a notebook.
Form = Literal["facts", "replication"]
Ending = Literal["json", "jsonl", "csv", "arrow", "parquet"]
FORMAT_NAMES: dict[Ending, str] = {
    "json": "JSON",
    "jsonl": "JSON Lines",
    "csv": "CSV",
    "arrow": "an Arrow stream",
    "parquet": "Parquet",
}
#: Maximum columns of a table, including nested ones.
MOST_COLUMNS = 1000
#: Maximum nesting of lists and objects in one cell.
MOST_NESTING = 32
#: Maximum characters of a column name; responses repeat it in every row.
MOST_NAME_CHARS = 1000
#: Maximum bytes of a row in JSON Lines.
MOST_LINE_BYTES = 8 * 2**20
#: Maximum ratio of the decoded bytes of a table to the limit on its body.
UNFOLDED = 4
#: Decoded bytes that every table may have, and additional decoded bytes per byte of its body.
FREE_BYTES, MOST_RATIO = 64 * 2**20, 100


class Refused(Exception):
    """A refused body: the kind of problem, its detail, and the first errors of a validator."""

    def __init__(
        self, kind: str, detail: str, findings: list[dict[str, Any]] | None = None, number_of_findings: int = 0
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail
        self.findings, self.number_of_findings = findings or [], number_of_findings


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on one table.

    Attributes:
        facts: Maximum rows.
        sent_bytes: Maximum bytes of the body; the decoded table may have :data:`UNFOLDED` times as many.
        sent_variable: The variable that sets ``sent_bytes``.
        json_bytes: Maximum bytes of a JSON body, which must be read as a whole.
        seconds: Timeout for reading the table.
    """

    facts: int
    sent_bytes: int
    sent_variable: str
    json_bytes: int
    seconds: float

    def check_facts(self, facts: int) -> None:
        """Refuse more rows than a job may have."""
        if facts > self.facts:
            raise Refused(
                "limit-exceeded",
                f"the table has {facts} facts, more than {self.facts} (FACTCENSUS_MAX_JOB_FACTS); split it",
            )

    def check_bytes(self, size: int, sent: int) -> None:
        """Refuse a table that decodes to too many bytes, absolutely or compared with its body."""
        if size > FREE_BYTES + MOST_RATIO * sent:
            raise Refused(
                "limit-exceeded",
                f"the table has at least {size} bytes uncompressed, more than {MOST_RATIO} times the {sent} bytes "
                "of the body; split it, or compress it less",
            )
        if size > UNFOLDED * self.sent_bytes:
            raise Refused(
                "limit-exceeded",
                f"the table has at least {size} bytes uncompressed, more than four times {self.sent_bytes} "
                f"({self.sent_variable}); split it, or leave out columns that counting does not need",
            )

    def check_columns(self, columns: int) -> None:
        """Refuse more columns than a table may have."""
        if columns > MOST_COLUMNS:
            raise Refused(
                "limit-exceeded",
                f"the table has more than {MOST_COLUMNS} columns, including fields of objects; leave out columns that "
                "counting does not need",
            )

    def check_nesting(self, nesting: int, column: str) -> None:
        """Refuse a column with too deeply nested lists or objects."""
        if nesting > MOST_NESTING:
            raise Refused(
                "limit-exceeded",
                f"column {column[:100]!r} is nested more than {MOST_NESTING} levels deep; send it as text, or leave it "
                "out",
            )

    def check_name(self, name: str) -> None:
        """Refuse a column name that is too long to repeat in every row of a response."""
        if len(name) > MOST_NAME_CHARS:
            raise Refused(
                "limit-exceeded",
                f"the column name {name[:60]!r}… has {len(name)} characters, more than {MOST_NAME_CHARS}; rename it",
            )
