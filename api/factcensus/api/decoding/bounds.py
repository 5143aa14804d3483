"""How much a table may hold, whatever the size of the body that it comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: What a JSON body may hold besides facts: that of counting, or that of replicating a notebook.
Form = Literal["facts", "replication"]
Ending = Literal["json", "jsonl", "csv", "arrow", "parquet"]
FORMAT_NAMES: dict[Ending, str] = {
    "json": "JSON", "jsonl": "JSON Lines", "csv": "CSV", "arrow": "an Arrow stream", "parquet": "Parquet",
}  # fmt: skip
#: Columns of a table, those nested in other columns included.
MOST_COLUMNS = 1000
#: Lists and objects inside each other, in one cell.
MOST_NESTING = 32
#: Characters of a column's name: answers repeat it in every row.
MOST_NAME_CHARS = 1000
#: Bytes of a row in JSON Lines.
MOST_LINE_BYTES = 8 * 2**20
#: Bytes that a table may have decoded, for each byte that it may have as sent.
UNFOLDED = 4
#: Bytes that any table may have decoded, and those that it may have besides for each byte of its own body.
FREE_BYTES, MOST_RATIO = 64 * 2**20, 100


class Refused(Exception):
    """A body that is not taken: the kind of problem, its detail, and the first of a validator's findings."""

    def __init__(
        self, kind: str, detail: str, findings: list[dict[str, Any]] | None = None, number_of_findings: int = 0
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail
        self.findings, self.number_of_findings = findings or [], number_of_findings


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that one table may have.

    Attributes:
        facts: rows.
        sent_bytes: of the body as sent; decoded, it may have :data:`UNFOLDED` times as many.
        sent_variable: the variable that sets ``sent_bytes``.
        json_bytes: of a JSON body, which has to be read as a whole.
        seconds: for reading all of it.
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
                f"{facts} facts are more than {self.facts} (FACTCENSUS_MAX_JOB_FACTS); send them in several requests",
            )

    def check_bytes(self, size: int, sent: int) -> None:
        """Refuse a table that unfolds to far more than a plain one may have, or than was sent."""
        if size > FREE_BYTES + MOST_RATIO * sent:
            raise Refused(
                "limit-exceeded",
                f"the table has at least {size} bytes uncompressed, more than {MOST_RATIO} times the {sent} bytes "
                "of the body; send it in several requests, or less compressed",
            )
        if size > UNFOLDED * self.sent_bytes:
            raise Refused(
                "limit-exceeded",
                f"the table has at least {size} bytes uncompressed, more than four times {self.sent_bytes} "
                f"({self.sent_variable}); send it in several requests, or without columns that counting does not need",
            )

    def check_columns(self, columns: int) -> None:
        """Refuse more columns than a table may have."""
        if columns > MOST_COLUMNS:
            raise Refused(
                "limit-exceeded",
                f"the table has more than {MOST_COLUMNS} columns, fields of objects included; leave out those that "
                "counting does not need",
            )

    def check_nesting(self, nesting: int, column: str) -> None:
        """Refuse a column whose cells hold lists or objects too many levels deep."""
        if nesting > MOST_NESTING:
            raise Refused(
                "limit-exceeded",
                f"column {column[:100]!r} is nested more than {MOST_NESTING} levels deep; send it as text, or leave it "
                "out",
            )

    def check_name(self, name: str) -> None:
        """Refuse a column name that no answer should repeat in every row."""
        if len(name) > MOST_NAME_CHARS:
            raise Refused(
                "limit-exceeded",
                f"the column name {name[:60]!r}… has {len(name)} characters, more than {MOST_NAME_CHARS}; rename it",
            )
