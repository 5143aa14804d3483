"""An index whose slices are served by other services."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from typing import Any, Generic, NoReturn, TypeVar, cast

import pyarrow as pa

from factcensus.api.bodies import AskedScope, DocumentsBody, EntityBody
from factcensus.api.client import Client
from factcensus.api.client.replies import answer_of
from factcensus.api.cursors import Cursors
from factcensus.api.errors import RejectedError, ServiceError, SliceError, UnreachableError
from factcensus.api.slices.adding import (
    add_cooccurrences,
    add_counts,
    add_groups,
    add_infos,
    add_tables,
    counts_of,
)
from factcensus.indexer import CountIndex, Deadline, Entity
from factcensus.indexer.analyzers import Analyzer, get_analyzer
from factcensus.indexer.answers import (
    CooccurrenceAnswer,
    CountAnswer,
    DocumentsAnswer,
    Example,
    FoundDocument,
    IndexInfo,
)
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope
from factcensus.indexer.errors import DeadlineError, EmptyQueryError, FactcensusError, InputError, UnknownNameError
from factcensus.indexer.records import as_entity
from factcensus.indexer.tables.added import countable

Answer = TypeVar("Answer")
#: Seconds between two checks whether a request is still wanted, while its slices count.
_CHECK_S = 0.02
#: Seconds for a response without a deadline.
_LONGEST_S = 600.0
#: Number of slices that are asked for examples.
_EXAMPLE_SLICES = 3
#: Number of bits of a position in the start of a page of documents; the number of the slice is above them.
_POSITION_BITS = 40
#: Errors of the core by the problem type of a slice's refusal.
_REFUSALS: dict[str, type[FactcensusError]] = {
    "empty-query": EmptyQueryError,
    "unknown-name": UnknownNameError,
    "deadline-exceeded": DeadlineError,
}


@dataclass(frozen=True)
class Slice:
    """A slice that another service serves.

    Attributes:
        client: Its service.
        name: Its name there.
        info: Its properties when it was opened.
        shown: The address of the service, without credentials.
    """

    client: Client
    name: str
    info: IndexInfo
    shown: str


class SlicedIndex(CountIndex):
    """An index whose slices are queried over HTTP; queries are thread-safe.

    An answer is the sum over all slices, each in the generation in which it was opened. If a slice does not answer, or
    has changed, that is an error: an answer never covers only some of the slices.

    Args:
        name: The name of the index.
        slices: All slices of one index, in the order of their shards.
    """

    def __init__(self, name: str, slices: Sequence[Slice]) -> None:
        first = slices[0].info
        self.name, self.slices, self.manifest = name, slices, None
        self.analyzer = _analyzer_of(first.analyzer)
        self._digest = first.slice.whole if first.slice else first.digest
        self._pool = ThreadPoolExecutor(16 * len(slices), thread_name_prefix=f"slices of {name}")
        # A replaced generation is not closed by the service: the last request that uses it lets it go.
        self._closing = weakref.finalize(self, _close, self._pool, slices)

    @property
    def digest(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Digest of the whole index."""
        return self._digest

    @property
    def held_digests(self) -> frozenset[str | None]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The digest of the whole index."""
        return frozenset([self._digest])

    @property
    def generation(self) -> int | None:
        """Number of changes of the whole index before it was sliced."""
        return self.slices[0].info.generation

    @property
    def changed(self) -> bool:
        """Return False; the service follows the slices itself."""
        return False

    @property
    def lexicon(self) -> NoReturn:
        """Raise InputError."""
        self._refuse("its words")

    @property
    def shards(self) -> NoReturn:
        """Raise InputError."""
        self._refuse("its shards, as for the infini-gram API and the language model")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"index {self.name} is served from slices, so {what} are not available here; query its slices")

    def close(self) -> None:
        """Close the connections."""
        self._closing()

    def info(self) -> IndexInfo:
        """Return the properties of all slices together."""
        return add_infos(self.name, self._digest, [each.info for each in self.slices])

    def groups(self, by: str | None) -> tuple[list[str], list[Any]]:
        """Return nothing: each slice forms its own groups, and limits their number."""
        del by
        return [], []

    # --- queries ------------------------------------------------------------------------------------------------------

    def count(
        self,
        text: str,
        *,
        verbatim: bool = False,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        deadline: Deadline | None = None,
    ) -> CountAnswer:
        """Count a text in all slices; see :meth:`CountIndex.count`."""
        body = {"text": text, "verbatim": verbatim, "by": by, "filter": _filter_of(scope)}
        return add_counts(self.name, self._ask("count", body, CountAnswer.from_json, deadline))

    def cooccurrence(
        self,
        subject: Entity | str,
        object: Entity | str,
        *,
        window: int | None = None,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        deadline: Deadline | None = None,
    ) -> CooccurrenceAnswer:
        """Count two entities in all slices; see :meth:`CountIndex.cooccurrence`."""
        body = {
            "subject": _entity_of(subject).model_dump(mode="json"),
            "object": _entity_of(object).model_dump(mode="json"),
            "window": window,
            "by": by,
            "filter": _filter_of(scope),
        }
        return add_cooccurrences(self.name, self._ask("cooccurrence", body, CooccurrenceAnswer.from_json, deadline))

    def count_facts(self, facts: Any, **options: Any) -> pa.Table:
        """Count every fact of a table in all slices; see :meth:`CountIndex.count_facts`.

        Raises:
            InputError: Counts by a column, or of some documents, which a service does not take for a table.
        """
        windows, deadline = options.pop("windows", ()), options.pop("deadline", None)
        if options.pop("by", None) is not None or options.pop("scope", EVERY_DOCUMENT) != EVERY_DOCUMENT:
            raise InputError(f"index {self.name} is served from slices, which count tables in all documents only")
        table = countable(facts)

        def counted(part: Slice) -> pa.Table:
            found = part.client.count_facts(part.name, table, windows, timeout_s=_seconds(deadline))
            if found.num_rows and set(found["index_digest"].to_pylist()) != {part.info.digest}:
                raise SliceError(f"the slice at {part.shown} was replaced; try again")
            return found

        tables = self._each(self.slices, counted, deadline)
        return add_tables(tables, windows, {"index": self.name, "index_digest": self._digest})

    def find_documents(self, **query: Any) -> DocumentsAnswer:
        """Find documents in the order of the shards; see :meth:`CountIndex.find_documents`.

        The ``start`` of a page has the number of a slice and a position in it.
        """
        deadline, start, limit = query.get("deadline"), int(query.get("start", 0)), int(query.get("limit", 10))
        chosen, position = start >> _POSITION_BITS, start & (1 << _POSITION_BITS) - 1
        if chosen >= len(self.slices):
            raise InputError("the page starts after the last slice; begin again without a cursor")
        body = _documents_body(query)

        def page(number: int, begin: int, most: int) -> DocumentsAnswer | _Refused[DocumentsAnswer]:
            part = self.slices[number]
            cursor = Cursors(part.info.digest, [part.info.digest], body).cursor(begin) if begin else None
            asked = body.model_copy(update={"limit": most, "cursor": cursor}).model_dump(mode="json", exclude_none=True)
            return self._asked(part, "documents", asked, DocumentsAnswer.from_json, deadline)

        # First the totals of all slices; a page of one document is the smallest.
        places = [(n, position, limit) if n == chosen else (n, 0, 1) for n in range(len(self.slices))]
        first = _with_groups(self.slices, self._each(places, lambda place: page(*place), deadline))
        begins = {n: (position if n == chosen else 0) for n in range(chosen, len(self.slices))}
        taken = _taken(limit, {n: first[n].total - begin for n, begin in begins.items()})
        more = [(n, 0, most) for n, most in taken.items() if n != chosen and most > 1]
        others = self._each(more, lambda place: page(*place), deadline)
        pages = dict(enumerate(first))
        for (number, *_), found in zip(more, others, strict=True):
            pages[number] = found.grouped(self.slices[number]) if isinstance(found, _Refused) else found
        self._check_generation(deadline)
        documents: list[FoundDocument] = [each for n, most in taken.items() for each in pages[n].documents[:most]]
        following = next((n for n, begin in begins.items() if begin + taken.get(n, 0) < first[n].total), None)
        return replace(
            first[0],
            index=self.name,
            documents=documents,
            total=sum(answer.total for answer in first),
            next=None
            if following is None
            else following << _POSITION_BITS | begins[following] + taken.get(following, 0),
            exact=all(answer.exact for answer in first),
            verified=None if first[0].verified is None else all(answer.verified for answer in first),
            searched=None if first[0].searched is None else sum(answer.searched or 0 for answer in first),
            searched_of=None if first[0].searched_of is None else sum(answer.searched_of or 0 for answer in first),
            groups=add_groups([answer.groups for answer in first], lambda one, other: one + other),
        )

    def trace(self, *_: Any, **__: Any) -> NoReturn:
        """Raise InputError: the longest spans in a corpus cannot be computed from those in its slices."""
        self._refuse("traces")

    @property
    def no_completions(self) -> str | None:
        """The reason why names are not completed."""
        return "it is in slices, and the most frequent completions cannot be computed from those of each slice"

    def offered_examples(self, deadline: Deadline) -> list[Example]:
        """Return the examples of the first slices, as counted there."""
        parts = self.slices[:_EXAMPLE_SLICES]
        found = self._each(parts, lambda part: part.client.examples(part.name, timeout_s=_seconds(deadline)), deadline)
        return [example for answer in found for example in answer.examples]

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(
        self, route: str, body: dict[str, Any], read: Callable[[Any], Answer], deadline: Deadline | None
    ) -> list[Answer]:
        answers = self._each(self.slices, lambda part: self._asked(part, route, body, read, deadline), deadline)
        self._check_generation(deadline)
        return _with_groups(self.slices, answers)

    def _asked(
        self, part: Slice, route: str, body: dict[str, Any], read: Callable[[Any], Answer], deadline: Deadline | None
    ) -> Answer | _Refused[Answer]:
        """Ask one slice. If it does not know a field, it may still count without groups."""

        def ask(body: dict[str, Any]) -> Answer:
            return answer_of(part.client.ask(part.name, route, body, timeout_s=_seconds(deadline)), read)

        try:
            return ask(body)
        except RejectedError as error:
            if not error.type.endswith(":unknown-name"):
                raise
            refused = _Refused[Answer](error.detail, body.get("by"))
        if refused.by is not None:
            try:
                refused.ungrouped = ask(body | {"by": None})
            except RejectedError as error:
                if not error.type.endswith(":unknown-name"):
                    raise
        return refused

    def _check_generation(self, deadline: Deadline | None) -> None:
        """Check after a query that the slices are still those that were opened.

        A generation never comes back. So an answer before this check was of the opened generation.
        """

        def check(part: Slice) -> None:
            if part.client.index(part.name, timeout_s=_seconds(deadline)).digest != part.info.digest:
                raise SliceError(f"the slice at {part.shown} was replaced; try again")

        self._each(self.slices, check, deadline)

    def _each(self, parts: Sequence[Any], ask: Callable[[Any], Answer], deadline: Deadline | None) -> list[Answer]:
        """Query several slices in parallel, and stop waiting at the deadline or at the first error.

        A slice stops counting when the connection ends, at the same deadline.
        """
        waiting: list[Future[Answer]] = [self._pool.submit(_explained, ask, part) for part in parts]
        try:
            return [_result(future, deadline) for future in waiting]
        finally:
            for future in waiting:
                future.cancel()


@dataclass
class _Refused(Generic[Answer]):
    """The answer of a slice that does not know a field.

    Attributes:
        detail: Its error.
        by: The column by which the query forms groups.
        ungrouped: Its answer without groups, if that column is the unknown field.
    """

    detail: str
    by: str | None
    ungrouped: Answer | None = None

    def grouped(self, part: Slice) -> Answer:
        """Return the answer with all documents in the group of those without a value, as in the whole index.

        Raises:
            InputError: There is no answer.
        """
        if self.ungrouped is None:
            raise InputError(
                f"the slice at {part.shown} has no document with a field of the filter ({self.detail}), so the counts "
                "of the slices cannot be added; leave the field out"
            )
        answer: Any = self.ungrouped
        return cast(Answer, replace(answer, by=self.by, groups={"": counts_of(answer)}))


def _with_groups(parts: Sequence[Slice], answers: Sequence[Answer | _Refused[Answer]]) -> list[Answer]:
    """Return the answers of slices, some of which may have no document with a field.

    Raises:
        UnknownNameError: None of them has.
        InputError: Some have not, and the field is in the filter.
    """
    refused = [answer for answer in answers if isinstance(answer, _Refused)]
    if refused and len(refused) == len(answers):
        raise UnknownNameError(refused[0].detail)
    found: list[Answer] = []
    for part, answer in zip(parts, answers, strict=True):
        found.append(cast("_Refused[Answer]", answer).grouped(part) if isinstance(answer, _Refused) else answer)
    return found


def _close(pool: ThreadPoolExecutor, slices: Sequence[Slice]) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    for each in slices:
        each.client.close()


def _result(future: Future[Answer], deadline: Deadline | None) -> Answer:
    while True:
        try:
            return future.result(_CHECK_S)
        except NotYet:
            if deadline is not None:
                deadline.check()


def _explained(ask: Callable[[Any], Answer], part: Any) -> Answer:
    """Query a slice, retrying once after a lost connection, and explain failures."""
    try:
        try:
            return ask(part)
        except UnreachableError as error:
            if type(error.__cause__).__name__.endswith("Timeout"):
                raise
            return ask(part)
    except RejectedError as error:
        kind = error.type.rpartition(":")[2]
        raise _REFUSALS.get(kind, InputError)(error.detail) from error
    except ServiceError as error:
        if error.type.endswith(":deadline-exceeded"):
            raise DeadlineError(error.detail) from error
        raise SliceError(f"a slice of the index does not answer, so nothing was added: {error.detail}") from error


def _taken(limit: int, left: dict[int, int]) -> dict[int, int]:
    """Return how many documents of each slice are on a page, in the order of the slices."""
    taken = {}
    for number, documents in left.items():
        taken[number] = max(0, min(limit, documents))
        limit -= taken[number]
    return taken


def _seconds(deadline: Deadline | None) -> float:
    """Return the time left for a response."""
    left = None if deadline is None else deadline.remaining_s
    return _LONGEST_S if left is None else max(0.001, left)


def _filter_of(scope: Scope) -> Any:
    """Return the filter of a request, to pass it on.

    Raises:
        InputError: The scope is not a filter; a service takes no other.
    """
    if isinstance(scope, AskedScope):
        return scope.asked()
    if scope != EVERY_DOCUMENT and scope != Scope(where=None):
        raise InputError("slices of an index can be restricted by a filter only")
    return {}


def _documents_body(query: Mapping[str, Any]) -> DocumentsBody:
    """Return the body of a request for the documents of :meth:`CountIndex.find_documents` with these arguments."""
    return DocumentsBody(
        text=query.get("text"),
        subject=None if query.get("subject") is None else _entity_of(query["subject"]),
        object=None if query.get("object") is None else _entity_of(query["object"]),
        window=query.get("window"),
        verbatim=query.get("verbatim", False),
        normalise=query.get("normalise"),
        region=query.get("region"),
        pattern=query.get("pattern"),
        by=query.get("by"),
        filter=_filter_of(query.get("scope", EVERY_DOCUMENT)),
    )


def _entity_of(entity: Entity | str) -> EntityBody:
    entity = as_entity(entity)
    return EntityBody(name=entity.name, aliases=list(entity.aliases))


def _analyzer_of(label: str) -> Analyzer:
    """Return the analyzer with this label; if it is not available here, one that has only its label."""
    try:
        found = get_analyzer(label.partition("/")[0])
        if found.label == label:
            return found
    except FactcensusError:
        pass
    return _NamedAnalyzer(label)


class _NamedAnalyzer:
    """An analyzer with only a known label, such as a tokenizer."""

    has_vocabulary = False
    token_dtype = "u32"

    def __init__(self, label: str) -> None:
        self.name, self.label = label.partition("@")[0], label

    def tokens(self, text: str) -> NoReturn:
        """Raise InputError."""
        del text
        raise InputError(f"the analyzer {self.label} is not available here; query a slice")

    def spans(self, text: str, wanted: Sequence[int]) -> NoReturn:
        """Raise InputError."""
        del wanted
        self.tokens(text)

    def encoder(self) -> NoReturn:
        """Raise InputError."""
        self.tokens("")
