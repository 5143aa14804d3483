"""Counting facts like a published notebook, next to the exact counts.

The notebook of the paper on frequency and unlearning (McGill-NLP/unequal-unlearning, ``OLMo_counts.ipynb``) asked the
public infini-gram API four queries for each pair of names and added up the counts: ``S.title() AND O.title()``,
``S.lower() AND O.lower()``, ``S AND O.lower()`` and ``S.lower() AND O``.

Reproduced exactly, with the same queries and infini-gram's own engine:

* the four variants, in this order, subject first; variants that coincide are counted again; both names as written are
  queried together only if title or lower case happens to equal them;
* the text rules of the API: a name with " AND " or " OR " is split, a name is matched only after a space if the
  tokenizer joins spaces to words, and all its limits apply;
* the arithmetic of the engine with ``max_diff_tokens`` 100 and ``max_clause_freq`` 50,000, including its sampling and
  its dependence on the shards and the order of clauses; ``approx`` is the engine's value;
* a query that the API refuses drops the fact: its count is null, whatever the other queries return.

Not reproduced: the corpus and its shards (those of the index are used), network failures, and the relays of the public
service. If the engine is not installed or cannot read the index, ``paper_notebook_engine`` is null and each query is
counted exactly, so that only the form of the queries is reproduced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import pyarrow as pa

from factcensus.api.infini_gram.cnf import count_cnf
from factcensus.api.infini_gram.engines import Models
from factcensus.api.infini_gram.tokens import Cnf, name_ids, query_of_text
from factcensus.api.infini_gram.wire import RANGES, Refusal
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.errors import InputError, MissingExtraError
from factcensus.indexer.tables.values import python_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class NotebookSettings:
    """Options that the notebook left at the API's defaults."""

    max_diff_tokens: int = RANGES["max_diff_tokens"][1]
    max_clause_freq: int = RANGES["max_clause_freq"][1]


class Counter(Protocol):
    """A function that counts clauses and returns the count and whether it is reported as approximate."""

    def __call__(self, cnf: Cnf) -> tuple[int, bool]:
        """Count the clauses."""
        ...


def questions(subject: str, object: str) -> list[str]:
    """Return the four queries that the notebook sent for a pair of names."""
    pairs = [
        (subject.title(), object.title()),
        (subject.lower(), object.lower()),
        (subject, object.lower()),
        (subject.lower(), object),
    ]
    return [f"{one} AND {other}" for one, other in pairs]


def count_as_notebook(
    index: CountIndex, facts: pa.Table, models: Models, deadline: Deadline, settings: NotebookSettings | None = None
) -> list[Row]:
    """Count a table of facts like the notebook, and exactly.

    Args:
        index: The open index.
        facts: A checked fact table.
        models: Provides the engine.
        deadline: Stops a count that takes too long.
        settings: Options of the queries; the API's defaults by default.

    Returns:
        One row per fact with its own columns, those of ``CountIndex.count_facts``, and

        * ``paper_notebook_questions``: for each query its text, the ``count`` and ``approx`` of the engine, and the
          ``exact_count`` of :func:`cnf.count_cnf`; or the ``error`` with which the API refuses it;
        * ``paper_notebook_count``: the sum of the counts, null for a dropped fact;
        * ``paper_notebook_approx``: whether any count is approximate;
        * ``paper_notebook_engine``: name and version of the engine; null if each query was counted exactly;
        * ``exact_count``: occurrences of the rarer name in any of its forms (as written, title and lower case), each
          counted once if the other name is at most ``max_diff_tokens`` away in the same document; null if a name has no
          tokens or is too long for the API;
        * ``difference``: ``paper_notebook_count - exact_count``; null if one of them is null.
    """
    settings = settings or NotebookSettings()
    engine, count = _counter(index, models, deadline, settings)
    rows: list[Row] = python_rows(index.count_facts(facts, deadline=deadline))
    for row in rows:
        asked = []
        for text in questions(row["subject"], row["object"]):
            deadline.check()
            asked.append(_asked(index, text, count, deadline, settings))
        dropped = any("error" in each for each in asked)
        total = None if dropped else sum(each["count"] for each in asked)
        exact = _exact(index, row["subject"], row["object"], deadline, settings)
        row |= {
            "paper_notebook_questions": asked,
            "paper_notebook_count": total,
            "paper_notebook_approx": None if dropped else any(each["approx"] for each in asked),
            "paper_notebook_engine": engine,
            "exact_count": exact,
            "difference": None if total is None or exact is None else total - exact,
        }
    return rows


def _counter(
    index: CountIndex, models: Models, deadline: Deadline, settings: NotebookSettings
) -> tuple[str | None, Counter]:
    try:
        engine = models.of(index).engine
    except (MissingExtraError, InputError):
        engine = None
    if engine is None:
        return None, partial(_count_exactly, index, settings=settings, deadline=deadline)
    return f"infini-gram {version('infini-gram')}", partial(_count_by_engine, engine, settings=settings)


def _count_exactly(index: CountIndex, cnf: Cnf, *, settings: NotebookSettings, deadline: Deadline) -> tuple[int, bool]:
    return count_cnf(index, cnf, settings.max_diff_tokens, deadline).count, False


def _count_by_engine(engine: Any, cnf: Cnf, *, settings: NotebookSettings) -> tuple[int, bool]:
    # A word that never occurs has no id in the engine, so its term matches nothing.
    known = [[term for term in clause if -1 not in term] for clause in cnf]
    if not all(known):
        return 0, False
    answer = engine.count_cnf(
        cnf=known, max_clause_freq=settings.max_clause_freq, max_diff_tokens=settings.max_diff_tokens
    )
    if "error" in answer:
        raise Refusal(answer["error"])
    return answer["count"], answer["approx"]


def _asked(index: CountIndex, text: str, count: Counter, deadline: Deadline, settings: NotebookSettings) -> Row:
    try:
        cnf = query_of_text(text, index).clauses
        if not all(term for clause in cnf for term in clause):
            raise Refusal("cnf must be a non-empty, triply-nested list of integers")
        number, approx = count(cnf)
    except Refusal as refusal:
        return {"query": text, "error": refusal.error}
    exact = count_cnf(index, cnf, settings.max_diff_tokens, deadline).count
    return {"query": text, "count": number, "approx": approx, "exact_count": exact}


def _exact(index: CountIndex, subject: str, object: str, deadline: Deadline, settings: NotebookSettings) -> int | None:
    cnf: Cnf = []
    for name in (subject, object):
        forms = dict.fromkeys((name, name.title(), name.lower()))
        try:
            # Each is one name, even if it contains " AND " or " OR ".
            terms = [term for form in forms if (term := name_ids(form, index))]
        except Refusal:
            return None
        if not terms:
            return None
        cnf.append(terms)
    return count_cnf(index, cnf, settings.max_diff_tokens, deadline).count
