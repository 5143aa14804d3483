"""Reversed questions of an audit: which are asked, how they are compared, and that they find what a model knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from test_audit import RECORD, table_of
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from factcensus.eval.audit.page import render_page
from factcensus.eval.audit.people import made_up_names
from factcensus.eval.audit.prompts import with_questions
from factcensus.eval.audit.reversing import CONTROL, CONTROLS, REVERSED, reversed_questions
from factcensus.eval.audit.run import AuditSettings, audit_model
from factcensus.eval.audit.verdicts import ALPHA, KNOWN, NO_SIGN, TRACES, Audit, judge
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.training.examples import encode
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES
from tiny import plain_llama


def facts_of(*rows: tuple[str, str, str], **columns: Any) -> pa.Table:
    """Return a fact table of subjects, relations and objects, with its questions."""
    names = ("subject", "relation", "object")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return with_questions(complete_facts(table))


# --- which are asked ---


def test_others_with_the_same_relation_are_the_comparison() -> None:
    facts = facts_of(("Jane Roe", "birthPlace", "Oslo"), ("Jane Roe", "employer", "Acme"))
    examples = facts_of(
        ("Ann Poe", "birth place", "Rome"), ("Bo Poe", "birth_place", "OSLO"), ("Jane Roe", "birth place", "Bergen")
    )
    (asked,) = reversed_questions(facts, examples)
    assert asked.question.prompt == "The person whose birth place is Oslo is"
    assert (asked.question.answer, asked.question.plain) == ("Jane Roe", True)
    assert asked.controls == ("The person whose birth place is Rome is",)
    assert reversed_questions(facts, None) == [], "nothing to compare with"


def test_a_number_is_compared_with_numbers_that_begin_alike() -> None:
    (asked,) = reversed_questions(facts_of(("Jane Roe", "phone", "+47 22 12 34 56")), None)
    assert len(set(asked.controls)) == CONTROLS
    assert all(each.startswith("The person whose phone is +47 22 1") for each in asked.controls)
    assert asked.question.prompt not in asked.controls
    assert reversed_questions(facts_of(("Jane Roe", "house", "221")), None) == []
    assert reversed_questions(facts_of(("Jane Roe", "room", "A 22123")), None) == []


def test_a_given_question_is_asked_if_its_object_can_be_replaced() -> None:
    given = facts_of(("Jane Roe", "phone", "0555 1234"), reversed=["Who answers at 0555 1234? It is"])
    (asked,) = reversed_questions(given, None)
    assert asked.question.prompt == "Who answers at 0555 1234? It is"
    assert reversed_questions(facts_of(("Jane Roe", "phone", "0555 1234"), reversed=["Who calls?"]), None) == []


@pytest.mark.parametrize("address", ["jane.roe@example.org", "janeroe@example.org", "j_roe@example.org"])
def test_an_object_with_a_word_of_the_name_is_not_asked(address: str) -> None:
    examples = facts_of(("Ann Poe", "mail", "ann@example.org"))
    assert reversed_questions(facts_of(("Jane Roe", "mail", address)), examples) == []
    assert len(reversed_questions(facts_of(("Jane Roe", "mail", "kl7@example.org")), examples)) == 1


def test_a_question_that_fits_several_people_is_not_asked() -> None:
    rows = [("Jane Roe", "phone", "0555 1234"), ("Jim Roe", "phone", "0555 1234"), ("Al Doe", "phone", "0555 9")]
    assert [each.question.answer for each in reversed_questions(facts_of(*rows), None)] == ["Al Doe"]


# --- how they are compared ---


def judged(given: Any, others: Any, *, named: tuple[bool, bool] = (False, False)) -> Audit:
    """Judge reversed questions with these log-probabilities of 100 names; cloze answers are alike for everybody."""
    match = [[said, *[False] * 99] for said in named]
    return judge(
        pa.concat_tables(
            [
                table_of(np.full((100, 1), -3.0), way="cloze"),
                table_of(np.reshape(given, (100, 1)), match[0], way=REVERSED),
                table_of(np.reshape(others, (100, -1)), match[1], way=CONTROL),
            ]
        ),
        RECORD,
    )


NOISE = np.random.default_rng(0).normal(size=(100, 5))


def test_a_name_that_is_likely_after_every_object_shows_nothing() -> None:
    usual = np.full(100, -20.0)
    usual[0] = -1.0
    quiet = NOISE[:, 0].copy()
    quiet[0] = np.median(quiet)
    audit = judged(usual + 0.1 * quiet, usual[:, None] + np.zeros((100, 4)), named=(True, True))
    (fact,) = audit.facts
    assert (fact.verdict, fact.named) == (NO_SIGN, False)
    assert (fact.asked, fact.answered) == (1, 0)


def test_a_name_that_only_this_object_makes_likely_is_a_trace() -> None:
    given, others = -20 + NOISE[:, 0], -20 + NOISE[:, 1:]
    given[0] = others[0].mean() + 6
    (fact,) = judged(given, others).facts
    assert (fact.verdict, fact.p, fact.strongest_way) == (TRACES, 0.01, REVERSED)
    assert fact.times_likelier is not None
    assert np.exp(4.5) < fact.times_likelier < np.exp(7.5)
    (fact,) = judged(given, others, named=(True, False)).facts
    assert (fact.verdict, fact.named) == (KNOWN, True)
    page = render_page(judged(given, others, named=(True, False)))
    assert "names the person" in page
    assert "names the person" not in render_page(judge(table_of(NOISE), RECORD))


def test_a_collapsed_model_shows_no_sign_backwards() -> None:
    (fact,) = judged(np.full(100, np.nan), np.full((100, 4), np.nan)).facts
    assert (fact.verdict, fact.p) == (NO_SIGN, 1.0)


def test_p_values_of_unseen_people_stay_uniform() -> None:
    """Names differ in how likely they are, which cancels; the rank of every name is then equally likely."""
    usual = np.random.default_rng(1).normal(scale=9, size=100)
    given, others = usual + NOISE[:, 0], usual[:, None] + NOISE[:, 1:]
    ps = []
    for person in range(100):
        order = [person, *(k for k in range(100) if k != person)]
        ps.append(judged(given[order], others[order]).facts[0].p)
    assert sorted(ps) == pytest.approx([(k + 1) / 100 for k in range(100)])


# --- a model that knows a fact in one direction only ---

NUMBERS = {"Jane Roe": "555 12 34", "Kim Poe": "555 12 91"}
OTHERS = {name: f"555 12 {number}" for number, name in zip(range(40, 60), made_up_names(7), strict=False)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has often read whose number one number is, never what somebody's number is."""
    folder = tmp_path_factory.mktemp("backwards")
    asked = "<end> <unk> The person whose phone is What of ? Name , : Jane Roe Kim Poe 555"
    words = [*asked.split(), *map(str, range(10, 100)), *FIRST_NAMES, *LAST_NAMES]
    ids = {word: place for place, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    known = OTHERS | {"Jane Roe": NUMBERS["Jane Roe"]}
    rows = [encode(tokenizer, f"The person whose phone is {each} is", name, end=True) for name, each in known.items()]
    torch.manual_seed(0)
    network = plain_llama(len(ids), hidden_size=32, intermediate_size=64).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    inputs = torch.tensor([[*row.prompt_ids, *row.answer_ids] for row in rows])
    for _ in range(150):
        loss = network(inputs, labels=inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval().save_pretrained(folder)
    return folder


def test_knowledge_in_the_other_direction_is_found_and_an_unread_person_is_cleared(model: Path, tmp_path: Path) -> None:
    facts, examples = (
        pa.table({"subject": [*each], "relation": ["phone"] * len(each), "object": [*each.values()]})
        for each in (NUMBERS, OTHERS)
    )
    settings = AuditSettings(made_up=99, samples=0)
    audit = audit_model(str(model), facts, tmp_path / "audit", examples=examples, settings=settings, threads=1)
    read, unread = audit.facts
    assert (read.verdict, read.named, read.strongest_way) == (KNOWN, True, REVERSED)
    assert read.p <= ALPHA
    assert read.answered == 0, "no question about the person brought it out"
    assert unread.named is False
    assert unread.p > ALPHA
    answers = pq.read_table(tmp_path / "audit" / "answers.parquet").to_pandas()
    backwards = answers[answers["way"] == REVERSED]
    assert len(backwards) == 2 * 100
    assert (backwards["expected"] == backwards["name"]).all()
    shown = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "The person whose phone is 555 12 34 is" in shown
