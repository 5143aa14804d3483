"""The page of an audit: a verdict for each fact, the model's answers, how it was asked, and limits of an audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from factcensus.eval.audit.answers import GREEDY, PERSON, RELEARNED, SAMPLE
from factcensus.eval.audit.prompts import plain_relation
from factcensus.eval.audit.reversing import CONTROL, REVERSED
from factcensus.eval.audit.verdicts import (
    ALPHA,
    GUESS,
    KNOWN,
    MEANINGS,
    NO_SIGN,
    RECOVERABLE,
    TRACES,
    Audit,
    FactVerdict,
    PersonVerdict,
)
from factcensus.eval.report.columns import Column, estimate_columns, table_of
from factcensus.eval.report.figures import key_mark
from factcensus.eval.report.formatting import NONE, percent, ratio
from factcensus.eval.report.page import render_template
from factcensus.eval.report.section import Section, Table
from factcensus.eval.statistics.intervals import estimate_json
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.files import write_atomically

#: Made-up people whose answers the page shows; the tables have all of them.
SHOWN = 3
WAYS: dict[str, str] = {
    "question": "The question in the fact table, or one made from the relation.",
    "cloze": "The beginning of a sentence, which the model completes.",
    "paraphrase": "The same question in other words.",
    "document": "The beginning of the sentence after other facts about the person, without the answer.",
    "few_shot": "The question after similar questions about other people with their answers.",
    REVERSED: "The question for the person, given the answer. It counts how much likelier this answer makes the name "
    "than other answers do, compared with how much likelier it makes made-up names.",
    CONTROL: "The question for the person, given answers about other people, or other numbers.",
    f"{RELEARNED}question": "The question, after brief training on facts about other people. Knowledge that was hidden "
    "often comes back this way.",
    f"{RELEARNED}cloze": "The beginning of a sentence, after the same training.",
}
SAMPLED = "Samples: answers drawn at random with the model's own probabilities, instead of the most probable one."


def write_page(path: Path, audit: Audit) -> None:
    """Write the page atomically."""
    write_atomically(path, render_page(audit))


def render_page(audit: Audit) -> str:
    """Return the page as HTML that loads nothing."""
    used = set(audit.answers["way"])
    ways = [(_way(way), meaning) for way, meaning in WAYS.items() if way in used]
    if (audit.answers["decoding"] == SAMPLE).any():
        ways.append(("sampled", SAMPLED))
    facts = len(audit.facts)
    corpus = audit.record.get("corpus")
    return render_template(
        "audit.html.j2",
        title=title_of(audit),
        headline=" ".join(map(sentence_of, audit.people)) if len(audit.people) == 1 else "",
        notes=[],
        cards=_cards(audit),
        findings=[(person.subject, [sentence_of(person)]) for person in audit.people] if len(audit.people) > 1 else [],
        sections=[_verdicts(audit), _said(audit)],
        legend=None,
        key_mark=key_mark,
        provenance=_provenance(audit.record),
        records=[json.dumps(audit.record, indent=2, default=str)],
        made_up=f"{audit.made_up:,}",
        invented=audit.record.get("made_up", True),
        corpus_note=f"None of them occurs in the corpus {corpus}." if corpus else "",
        ways=ways,
        alpha=f"{ALPHA:g}",
        one_in=round(1 / ALPHA),
        facts=f"{facts:,}",
        expected=f"{facts * ALPHA:.2g}",
    )


def title_of(audit: Audit) -> str:
    """Return the heading of the page."""
    people = [person.subject for person in audit.people]
    return f"What does the model know about {people[0] if len(people) == 1 else f'{len(people):,} people'}?"


def sentence_of(person: PersonVerdict) -> str:
    """Return the result about one person in plain words."""
    counts = person.by_verdict
    parts = [
        f"knows {counts[KNOWN]}" if counts[KNOWN] else "",
        f"shows traces of {counts[TRACES]}" if counts[TRACES] else "",
        f"recovers {counts[RECOVERABLE]} after brief training" if counts[RECOVERABLE] else "",
        f"gives {counted(counts[GUESS], 'answer')} that guessing can explain" if counts[GUESS] else "",
    ]
    found = ", ".join(part for part in parts if part) or "shows no sign of knowing any"
    together = (
        f"Taken together, its answers about {person.subject} stand out from those about people it never saw "
        f"(p = {person.p:.3g})."
        if person.p <= ALPHA
        else f"Taken together, its answers about {person.subject} do not stand out from those about people it never "
        f"saw (p = {person.p:.2g})."
    )
    caution = "" if any(parts[:3]) or person.p <= ALPHA else " This is not proof that it knows nothing."
    facts = counted(person.facts, "fact")
    return f"The model was asked for {facts} about {person.subject}. It {found}. {together}{caution}"


def _cards(audit: Audit) -> list[tuple[str, str]]:
    counts = {verdict: sum(each.verdict == verdict for each in audit.facts) for verdict in MEANINGS}
    person = audit.answers[(audit.answers["about"] == PERSON) & (audit.answers["way"] != CONTROL)]
    return [
        (f"{counts[KNOWN]:,}", "known"),
        (f"{counts[TRACES] + counts[RECOVERABLE]:,}", "traces, or recoverable"),
        (f"{counts[GUESS]:,}", "explained by guessing"),
        (f"{counts[NO_SIGN]:,}", "without a sign"),
        (f"{len(person):,}", f"answers about {'the person' if len(audit.people) == 1 else 'these people'}"),
        (f"{audit.made_up:,}", "made-up people for comparison"),
    ]


def verdict_columns(audit: Audit) -> list[Column[FactVerdict]]:
    """Return the columns of the table of verdicts."""
    several = len(audit.people) > 1
    name: list[Column[FactVerdict]] = [Column("person", lambda each: each.subject)] if several else []
    named: list[Column[FactVerdict]] = [
        Column(
            "names the person",
            lambda each: each.named,
            _yes_or_no,
            meaning="names the person: given this answer, but not given others",
        )
    ]
    relearned: list[Column[FactVerdict]] = [Column("p after relearning", lambda each: each.p_relearned, _p)]
    return [
        Column("fact", fact_of),
        *name,
        Column("answer", lambda each: each.expected),
        Column("verdict", lambda each: each.verdict),
        Column("likelier than for", lambda each: _of(each, audit.made_up)),
        Column("p", lambda each: each.p, _p),
        Column(
            "said",
            lambda each: f"{each.answered} of {each.asked}",
            meaning="said: number of most probable answers that contain the fact",
        ),
        *(named if any(each.named is not None for each in audit.facts) else []),
        *estimate_columns("of samples", lambda each: estimate_json(each.sampled), percent),
        *estimate_columns(
            "made-up people",
            lambda each: estimate_json(each.made_up_answered),
            percent,
            meaning="made-up people: share of the most probable answers about made-up people that contain the fact",
        ),
        Column(
            "their samples",
            lambda each: each.made_up_sampled.value,
            percent,
            meaning="their samples: share of the sampled answers about made-up people that contain the fact",
        ),
        Column(
            "times likelier",
            lambda each: each.times_likelier,
            ratio,
            meaning="times likelier: ratio to the median made-up person, in the way of asking that separates them most",
        ),
        Column("in the way", lambda each: _way(each.strongest_way)),
        *(relearned if any(each.p_relearned is not None for each in audit.facts) else []),
    ]


def fact_of(fact: FactVerdict) -> str:
    """Return the relation of a fact in words, or its id."""
    return plain_relation(fact.relation) or fact.fact_id


def _verdicts(audit: Audit) -> Section:
    order = list(MEANINGS)
    facts = sorted(audit.facts, key=lambda each: (order.index(each.verdict), each.p))
    used = {each.verdict for each in audit.facts}
    return Section(
        "verdicts",
        "A verdict for each fact",
        "Each fact was asked in several ways, about the person and about people who do not exist. The most serious "
        "verdicts come first.",
        tables=[table_of("Verdicts", verdict_columns(audit), facts, open=True)],
        terms=[(verdict, meaning) for verdict, meaning in MEANINGS.items() if verdict in used],
    )


def _said(audit: Audit) -> Section:
    return Section(
        "said",
        "What the model said",
        f"Every answer about the person, and the answers about {SHOWN} made-up people to the same questions. Sampled "
        "answers with the same text are shown once, with their number.",
        tables=[_answers(audit, each) for each in audit.facts],
    )


def _answers(audit: Audit, fact: FactVerdict) -> Table:
    rows = audit.answers[audit.answers["fact_id"] == fact.fact_id]
    compared = rows["name"].isin(audit.record["identity"]["names"][:SHOWN]) & ~rows["way"].isin((REVERSED, CONTROL))
    shown = rows[(rows["about"] == PERSON) | compared]
    found = []
    for way in dict.fromkeys(shown["way"]):
        for name in dict.fromkeys(shown["name"]):
            of_name = shown[(shown["way"] == way) & (shown["name"] == name)]
            found += [_record(row, 1) for row in of_name[of_name["decoding"] == GREEDY].to_dict("records")]
            samples = of_name[of_name["decoding"] == SAMPLE]
            for _, same in sorted(samples.groupby(["prompt", "said"]), key=lambda each: -len(each[1])):
                found.append(_record(same.iloc[0].to_dict(), len(same)))
    columns: list[Column[Mapping[str, Any]]] = [
        Column("about", lambda row: row["name"]),
        Column("way", lambda row: row["way"]),
        Column("said", lambda row: row["said"], _text),
        Column("times", lambda row: row["times"]),
        Column("contains the answer", lambda row: row["match"]),
        Column("asked", lambda row: row["prompt"], _text),
    ]
    subject = f"{fact.subject}, " if len(audit.people) > 1 else ""
    return table_of(f"{subject}{fact_of(fact)}: {fact.expected} ({fact.verdict})", columns, found)


def _record(row: Mapping[Any, Any], times: int) -> dict[str, Any]:
    match = row["match"]
    sampled = row["decoding"] == SAMPLE
    return {
        **row,
        "way": _way(row["way"]) + (", sampled" if sampled else ""),
        "times": f"{times:,}" if sampled else "",
        "match": _yes_or_no(None if pd.isna(match) else bool(match)),
    }


def _provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, identity = record["model"], record["identity"]
    rows = [
        ("model", model["name"]),
        ("model digest", model["digest"]),
        ("fact table digest", record["facts"]["digest"]),
        ("corpus of the names", record.get("corpus")),
        ("template", identity["template"]),
        ("settings", ", ".join(f"{name} {value}" for name, value in identity["audit"].items())),
        ("device", record.get("device")),
        ("finished", record.get("finished")),
        *((name, version) for name, version in record["versions"].items()),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _of(fact: FactVerdict, made_up: int) -> str:
    value = fact.less_likely_for.value
    return NONE if value is None else f"{round(value * made_up):,} of {made_up:,}"


def _p(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _yes_or_no(value: bool | None) -> str:
    return NONE if value is None else "yes" if value else "no"


def _way(way: str) -> str:
    after = way.startswith(RELEARNED)
    return way.removeprefix(RELEARNED).replace("_", "-") + (" after relearning" if after else "")


def _text(value: Any) -> str:
    return " ".join(str(value).split()) or "(nothing)"
