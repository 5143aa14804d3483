"""Names of the columns of fact, counts and strata tables, and how a table's own names are matched to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import nearest, suggestion

REQUIRED = ("subject", "object")
#: Columns that are text and stay as written.
TEXT_COLUMNS = ("fact_id", "subject", "object", "relation", "question", "answer", "paraphrase")
#: Columns that hold lists of texts.
LIST_COLUMNS = ("subject_aliases", "object_aliases", "paraphrases")
#: Further columns of text and of lists that training and evaluation read; counting leaves them as they are.
ASKED_TEXT_COLUMNS = ("cloze", "reversed", "document", "role")
ASKED_LIST_COLUMNS = ("distractors", "alternatives")
FACT_COLUMNS = (*TEXT_COLUMNS, *LIST_COLUMNS)

STRATUM_COLUMNS = ("stratum", "stratum_label", "stratum_low", "stratum_high")
#: Columns that counting adds besides the counts: where and how the facts were counted.
LABEL_COLUMNS = ("index", "index_digest", "analyzer", "exact")
#: The counts that every counts table has; each window adds ``cooccurrence_documents_w…`` and ``cooccurrence_pairs_w…``.
BASE_COUNTS = (
    "subject_mentions", "object_mentions", "subject_documents", "object_documents",
    "cooccurrence_documents", "cooccurrence_pairs",
)  # fmt: skip
_COUNT = re.compile(r"(subject|object)_(mentions|documents)|cooccurrence_(documents|pairs)(_w\d+)?")
#: Likeness (difflib's ratio, 0 to 1) from which an unknown column is taken for a misspelt one: ``subjct`` is 0.92 like
#: ``subject``, while ``subject_id`` (0.82) and ``object_type`` (0.71) are names of their own.
_MISSPELT = 0.85


def is_count(name: str) -> bool:
    """Return whether a column of this name holds counts."""
    return _COUNT.fullmatch(name) is not None


def plain(name: str) -> str:
    """Return a name without regard to case and padding."""
    return name.strip().casefold()


class ColumnNames:
    """Matches a table's own column names to the known ones, without regard to case and padding.

    Args:
        columns: The user's own names by the name each is to have, such as ``{"subject": "head"}``.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        known = {name: name for name in FACT_COLUMNS}
        columns = columns or {}
        self._wanted = {plain(source): known.get(plain(target), target.strip()) for target, source in columns.items()}
        if len(self._wanted) < len(columns):
            sources = [plain(source) for source in columns.values()]
            twice = next(source for source in sources if sources.count(source) > 1)
            raise InputError(f"the column {twice!r} is to have two names; a column has one")
        if "" in self._wanted or "" in self._wanted.values():
            raise InputError("a column to be renamed has no name; write it like subject=head,object=tail")
        self._targets = known | self._wanted
        self._sources = {plain(source): source for source in columns.values()}
        self._found: set[str] = set()
        self._seen: dict[str, None] = {}
        self._of_header: dict[tuple[str, ...], tuple[str, ...]] = {}

    def preview(self, header: Sequence[str]) -> tuple[str, ...]:
        """Return what :meth:`of` would, without a check: for a header that may have been split wrongly."""
        return tuple(self._targets.get(plain(name), name) for name in header)

    def of(self, header: Sequence[str]) -> tuple[str, ...]:
        """Return the names that a table's columns have from here on, in the same order.

        Raises:
            InputError: two columns have the same name.
        """
        key = tuple(header)
        names = self._of_header.get(key)
        if names is None:
            names = self.preview(key)
            if len(set(names)) < len(names):
                raise InputError(_same_name(key, names))
            self._found |= {plain(name) for name in key} & self._wanted.keys()
            self._seen |= dict.fromkeys(key)
            if len(self._of_header) < 1000:  # rows of JSON Lines may each have other names
                self._of_header[key] = names
        return names

    def check_found(self) -> None:
        """Check that every column that was to be renamed exists.

        Raises:
            InputError: one does not; the message has the nearest column.
        """
        for source in self._wanted:
            if source not in self._found:
                name = self._sources[source]
                raise InputError(f"the table has no column {name!r} to rename{suggestion(name, self._seen)}")


def _same_name(header: Sequence[str], names: Sequence[str]) -> str:
    twice = next(name for name in names if names.count(name) > 1)
    own = [repr(each) for each, name in zip(header, names, strict=True) if name == twice]
    if len(set(own)) == 1:
        return f"the table has the column {twice!r} twice; rename or remove one of them"
    return (
        f"the columns {' and '.join(own)} would both be named {twice!r}; rename or remove one of them, or give it "
        f"another name with --columns {twice}_2={own[-1][1:-1].strip()}"
    )


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """Return the mapping that ``subject=head,object=tail`` stands for.

    Raises:
        InputError: a part is not of this form, or one name is given to two columns.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",")):
        name, equals, source = (each.strip() for each in part.partition("="))
        if not (name and equals and source):
            raise InputError(f"--columns {part.strip()!r} is not NAME=COLUMN, such as subject=head,object=tail")
        if found.setdefault(name, source) != source:
            raise InputError(f"--columns gives the name {name!r} to two columns, {found[name]!r} and {source!r}")
    return found


def missing_column(name: str, names: Sequence[str]) -> str:
    """Return the message about a required column that is missing: the nearest column, the remedy, and all columns."""
    if len(names) == 1 and any(mark in names[0] for mark in "|: "):
        return (
            f"the fact table has the one column {names[0]!r}; commas, semicolons or tabs have to separate the names of "
            "several, subject and object among them"
        )
    if "data" in names:
        return (
            f"the fact table has no column {name!r}, but one called 'data'; rows have to be objects of their own, such "
            "as pandas writes with orient='records'"
        )
    near = nearest(name, [each for each in names if each not in FACT_COLUMNS])
    remedy = f"; if it is {near!r}, rename it with --columns {name}={near}" if near else ""
    return f"the fact table has no column {name!r}{remedy}; columns: {', '.join(names)}"


def misspelt_columns(names: Sequence[str]) -> dict[str, str]:
    """Return unknown columns that look like misspelt known ones, each with the known name."""
    from difflib import SequenceMatcher

    absent = [name for name in FACT_COLUMNS if name not in names]
    return {
        name: known
        for name in names
        if name not in FACT_COLUMNS and len(name) < 100
        for known in absent
        if SequenceMatcher(None, plain(name).replace(" ", "_").replace("-", "_"), known).ratio() >= _MISSPELT
    }


Notice = Callable[[str], None]


def silent(_message: str) -> None:
    """Drop a notice."""
