"""Counting facts as a published notebook did, beside our exact numbers.

The notebook of the paper on frequency and unlearning (McGill-NLP/unequal-unlearning, ``OLMo_counts.ipynb``) asked the
public infini-gram API four questions for each pair of names, and added up the counts: ``S.title() AND O.title()``,
``S.lower() AND O.lower()``, ``S AND O.lower()`` and ``S.lower() AND O``.

Reproduced exactly, in the notebook's form of question and by infini-gram's own engine:

* the four variants, in this order, subject first; those that coincide are added up again; the pair of names as they are
  written is asked only where title or lower case happens to be how they are written;
* the text rules of that API: a name with " AND " or " OR " in it falls apart, a name is found behind a space only where
  the tokenizer joins spaces to words, and all its limits hold;
* the engine's arithmetic at ``max_diff_tokens`` 100 and ``max_clause_freq`` 50,000, its sampling, its dependence on the
  shards and on the order of clauses included; ``approx`` is its own word;
* a question that the API refuses drops the fact: its count is null, whatever the other questions gave.

Not reproduced: the corpus and its shards (they are those of the index that is asked), failures of the network, and the
service's relays. Where the engine is not installed, or cannot read the index, ``paper_notebook_engine`` is null and
each question is counted exactly, so that only the form of the questions is reproduced.
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
from factcensus.indexer import CountIndex, Limit
from factcensus.indexer.errors import InputError, MissingExtraError
from factcensus.indexer.tables.values import python_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class NotebookSettings:
    """What the notebook left at the API's defaults."""

    max_diff_tokens: int = RANGES["max_diff_tokens"][1]
    max_clause_freq: int = RANGES["max_clause_freq"][1]


class Counter(Protocol):
    """Counts clauses: the number, and whether it is called approximate."""

    def __call__(self, cnf: Cnf) -> tuple[int, bool]:
        """Count."""
        ...


def questions(subject: str, object: str) -> list[str]:
    """The four texts that the notebook sent for a pair of names."""
    pairs = [
        (subject.title(), object.title()),
        (subject.lower(), object.lower()),
        (subject, object.lower()),
        (subject.lower(), object),
    ]
    return [f"{one} AND {other}" for one, other in pairs]


def count_as_notebook(
    index: CountIndex, facts: pa.Table, models: Models, limit: Limit, settings: NotebookSettings | None = None
) -> list[Row]:
    """Count a table of facts in the notebook's way and in ours.

    Args:
        index: opened.
        facts: a checked fact table.
        models: give the engine.
        limit: stops a count that takes too long.
        settings: the API's defaults unless said otherwise.

    Returns:
        A row a fact: its own columns and those of ``CountIndex.count_facts``, then

        * ``paper_notebook_questions``: for each question its text, the ``count`` and ``approx`` of the engine and the
          ``exact_count`` of :func:`cnf.count_cnf`, or the ``error`` with which the API refuses it;
        * ``paper_notebook_count``: the sum; null for a dropped fact; ``paper_notebook_approx``: whether any was;
        * ``paper_notebook_engine``: name and version; null where each question was counted exactly;
        * ``exact_count``: the names in any of their forms (as written, title and lower case), each occurrence of the
          rarer name counted once if the other one is at most ``max_diff_tokens`` away in the same document; null where
          a name has no token or is too long for the API;
        * ``difference``: ``paper_notebook_count - exact_count``; null without one of them.
    """
    settings = settings or NotebookSettings()
    engine, count = _counter(index, models, limit, settings)
    rows: list[Row] = python_rows(index.count_facts(facts, limit=limit))
    for row in rows:
        asked = []
        for text in questions(row["subject"], row["object"]):
            limit.check()
            asked.append(_asked(index, text, count, limit, settings))
        dropped = any("error" in each for each in asked)
        total = None if dropped else sum(each["count"] for each in asked)
        exact = _exact(index, row["subject"], row["object"], limit, settings)
        row |= {
            "paper_notebook_questions": asked,
            "paper_notebook_count": total,
            "paper_notebook_approx": None if dropped else any(each["approx"] for each in asked),
            "paper_notebook_engine": engine,
            "exact_count": exact,
            "difference": None if total is None or exact is None else total - exact,
        }
    return rows


def _counter(index: CountIndex, models: Models, limit: Limit, settings: NotebookSettings) -> tuple[str | None, Counter]:
    try:
        engine = models.of(index)._engine
    except (MissingExtraError, InputError):
        return None, partial(_count_exactly, index, settings=settings, limit=limit)
    return f"infini-gram {version('infini-gram')}", partial(_count_by_engine, engine, settings=settings)


def _count_exactly(index: CountIndex, cnf: Cnf, *, settings: NotebookSettings, limit: Limit) -> tuple[int, bool]:
    return count_cnf(index, cnf, settings.max_diff_tokens, limit).count, False


def _count_by_engine(engine: Any, cnf: Cnf, *, settings: NotebookSettings) -> tuple[int, bool]:
    # A word that stands nowhere has no id that the engine could be given; its term is one that finds nothing.
    known = [[term for term in clause if -1 not in term] for clause in cnf]
    if not all(known):
        return 0, False
    answer = engine.count_cnf(
        cnf=known, max_clause_freq=settings.max_clause_freq, max_diff_tokens=settings.max_diff_tokens
    )
    if "error" in answer:
        raise Refusal(answer["error"])
    return answer["count"], answer["approx"]


def _asked(index: CountIndex, text: str, count: Counter, limit: Limit, settings: NotebookSettings) -> Row:
    try:
        cnf = query_of_text(text, index).clauses
        if not all(term for clause in cnf for term in clause):
            raise Refusal("cnf must be a non-empty, triply-nested list of integers")
        number, approx = count(cnf)
    except Refusal as refusal:
        return {"query": text, "error": refusal.error}
    exact = count_cnf(index, cnf, settings.max_diff_tokens, limit).count
    return {"query": text, "count": number, "approx": approx, "exact_count": exact}


def _exact(index: CountIndex, subject: str, object: str, limit: Limit, settings: NotebookSettings) -> int | None:
    cnf: Cnf = []
    for name in (subject, object):
        forms = dict.fromkeys((name, name.title(), name.lower()))
        try:
            # Taken as one name each, whatever " AND " or " OR " is in it.
            terms = [term for form in forms if (term := name_ids(form, index))]
        except Refusal:
            return None
        if not terms:
            return None
        cnf.append(terms)
    return count_cnf(index, cnf, settings.max_diff_tokens, limit).count
