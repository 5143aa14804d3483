"""Column names of fact, counts and strata tables, and how the names in a user's table are matched to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import nearest, suggestion

REQUIRED = ("subject", "object")
#: Text columns, which stay as written.
TEXT_COLUMNS = ("fact_id", "subject", "object", "relation", "question", "answer", "paraphrase")
#: Columns with lists of texts.
LIST_COLUMNS = ("subject_aliases", "object_aliases", "paraphrases")
#: Other text and list columns for training and evaluation; counting copies them unchanged.
ASKED_TEXT_COLUMNS = ("cloze", "reversed", "document", "role")
ASKED_LIST_COLUMNS = ("distractors", "alternatives")
FACT_COLUMNS = (*TEXT_COLUMNS, *LIST_COLUMNS)

STRATUM_COLUMNS = ("stratum", "stratum_label", "stratum_low", "stratum_high")
#: Columns that counting adds in addition to the counts, with the index and the analyzer.
LABEL_COLUMNS = ("index", "index_digest", "analyzer", "exact")
#: The column that a scan adds to them.
CORPUS_DIGEST = "corpus_digest"
#: The counts in every counts table; each window adds ``cooccurrence_documents_w…`` and ``cooccurrence_pairs_w…``.
BASE_COUNTS = (
    "subject_mentions",
    "object_mentions",
    "subject_documents",
    "object_documents",
    "cooccurrence_documents",
    "cooccurrence_pairs",
)
_COUNT = re.compile(r"(subject|object)_(mentions|documents)|cooccurrence_(documents|pairs)(_w\d+)?")
#: Minimum similarity (difflib's ratio, 0 to 1) of an unknown column that is reported as misspelt: ``subjct`` has 0.92
#: with ``subject``, but the valid names ``subject_id`` and ``object_type`` have 0.82 and 0.71.
_MISSPELT = 0.85


def is_count(name: str) -> bool:
    """Return whether a column with this name has counts."""
    return _COUNT.fullmatch(name) is not None


def plain(name: str) -> str:
    """Return a name in lower case and without surrounding spaces, for comparisons."""
    return name.strip().casefold()


class ColumnNames:
    """Matches the column names of a table to the known names, ignoring case and surrounding spaces.

    Args:
        columns: A mapping from new names to names in the table, such as ``{"subject": "head"}``.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        known = {name: name for name in FACT_COLUMNS}
        columns = columns or {}
        self._wanted = {plain(source): known.get(plain(target), target.strip()) for target, source in columns.items()}
        if len(self._wanted) < len(columns):
            sources = [plain(source) for source in columns.values()]
            twice = next(source for source in sources if sources.count(source) > 1)
            raise InputError(f"two new names are given for the column {twice!r}; give only one")
        if "" in self._wanted or "" in self._wanted.values():
            raise InputError("a name in the renaming of columns is empty; write it like subject=head,object=tail")
        self._targets = known | self._wanted
        self._sources = {plain(source): source for source in columns.values()}
        self._found: set[str] = set()
        self._seen: dict[str, None] = {}
        self._of_header: dict[tuple[str, ...], tuple[str, ...]] = {}

    def preview(self, header: Sequence[str]) -> tuple[str, ...]:
        """Return the result of :meth:`of` without its check, for a header whose delimiter is uncertain."""
        return tuple(self._targets.get(plain(name), name) for name in header)

    def of(self, header: Sequence[str]) -> tuple[str, ...]:
        """Return the new names of the columns of a table, in the same order.

        Raises:
            InputError: Two columns have the same name.
        """
        key = tuple(header)
        names = self._of_header.get(key)
        if names is None:
            names = self.preview(key)
            if len(set(names)) < len(names):
                raise InputError(_same_name(key, names))
            self._found |= {plain(name) for name in key} & self._wanted.keys()
            self._seen |= dict.fromkeys(key)
            if len(self._of_header) < 1000:  # every row of JSON Lines may have different names
                self._of_header[key] = names
        return names

    def check_found(self) -> None:
        """Check that every column to be renamed exists.

        Raises:
            InputError: A column does not exist; the message suggests the most similar one.
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
    """Parse renamings of columns such as ``subject=head,object=tail``.

    Raises:
        InputError: A part does not have this form, or two columns get the same name.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",")):
        name, equals, source = (each.strip() for each in part.partition("="))
        if not (name and equals and source):
            raise InputError(f"--columns must be NAME=COLUMN, such as subject=head,object=tail, got {part.strip()!r}")
        if found.setdefault(name, source) != source:
            raise InputError(
                f"--columns gives the name {name!r} to two columns, {found[name]!r} and {source!r}; give it to only one"
            )
    return found


def missing_column(name: str, names: Sequence[str]) -> str:
    """Return the message about a missing required column, with the most similar column, the remedy and all columns."""
    if len(names) == 1 and any(mark in names[0] for mark in "|: "):
        return (
            f"the fact table has only the column {names[0]!r}; separate columns by commas, semicolons or tabs, and "
            "name two of them subject and object"
        )
    if "data" in names:
        return (
            f"the fact table has no column {name!r}, but a column 'data'; write one object per row, as pandas does "
            "with orient='records'"
        )
    near = nearest(name, [each for each in names if each not in FACT_COLUMNS])
    remedy = f"; if it is {near!r}, rename it with --columns {name}={near}"
    if near is None:
        remedy = f"; rename the column that holds it with --columns {name}=COLUMN"
    return f"the fact table has no column {name!r}{remedy}; columns: {', '.join(names)}"


def misspelt_columns(names: Sequence[str]) -> dict[str, str]:
    """Return unknown columns whose names look misspelt, each with the most similar known name."""
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
    """Ignore a notice."""
