from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.asking.generation import continue_greedily
from factcensus.eval.asking.token_record import score_answers
from factcensus.eval.evaluator import MEASURED, StandardEvaluator
from factcensus.indexer import InputError
from factcensus.unlearn.errors import ExampleError
from factcensus.unlearn.evaluation import get_evaluator
from factcensus.unlearn.training.examples import encode


def facts() -> pa.Table:
    cities = [("ada", "rome"), ("bo", "new york"), ("cy", "oslo")]
    return pa.Table.from_pylist(
        [
            {
                "fact_id": f"f{number}",
                "subject": subject,
                "object": city,
                "relation": "city",
                "role": "forget",
                "question": f"where was {subject} born",
                "cloze": f"{subject} was born in",
                "paraphrases": [f"{subject} born in"],
                "subject_aliases": [],
                "object_aliases": ["it"],
                "cooccurrence_documents": 2**number,
                "stratum": number,
                "note": "kept",
                "used": "forget",
            }
            for number, (subject, city) in enumerate(cities)
        ]
    )


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, table: pa.Table) -> tuple[pa.Table, pa.Table]:
    return StandardEvaluator().evaluate(model, tokenizer, table, template="plain", point="before", seed=3)


def test_rows_have_the_questions_and_the_measures(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    rows, tokens = evaluate(model, tokenizer, facts())
    assert rows.num_rows == 3 * 3
    by_key: dict[Any, dict[str, Any]] = {(row["fact_id"], row["form"]): row for row in rows.to_pylist()}
    row = by_key["f1", "question"]
    example = encode(tokenizer, "where was bo born", "new york")
    [scores] = score_answers(model, [example])
    [said] = continue_greedily(model, tokenizer, [example.prompt_ids], [2 * 2 + 4])
    assert row["prompt"] == "where was bo born"
    assert row["answer"] == "new york"
    assert row["answer_tokens"] == 2
    assert row["log_probability"] == pytest.approx(scores.total_log_probability, abs=1e-5)
    assert row["log_probability_mean"] == pytest.approx(scores.total_log_probability / 2, abs=1e-5)
    assert row["rank_worst"] == scores.rank.max()
    assert row["generation"] == said.text
    assert row["match"] == any(answer in said.text for answer in ("new york", "it"))
    assert row["extraction_strength"] is None
    assert row["point"] == "before"
    assert (row["note"], row["stratum"], row["used"]) == ("kept", 1, "forget"), "the columns of the fact table are kept"
    assert "paraphrases" not in rows.column_names
    assert "object_aliases" not in rows.column_names
    of_row = [each for each in tokens.to_pylist() if (each["fact_id"], each["form"]) == ("f1", "question")]
    wrong = [each for each in of_row if each["probe"] == "distractor"]
    assert [(each["candidate"], each["token_id"]) for each in wrong] == [(1, 9), (2, 12)]
    assert row["choices"] == 3
    assert (row["samples"], 0 <= row["sample_matches"] <= 8) == (8, True)
    assert row["neighbour_distance"] == 0
    of_row = [each for each in of_row if each["probe"] == "answer"]
    assert [each["position"] for each in of_row] == [0, 1]
    assert [each["token_id"] for each in of_row] == list(example.answer_ids)
    assert sum(each["log_probability"] for each in of_row) == pytest.approx(row["log_probability"], abs=1e-5)


def test_numbers_do_not_depend_on_other_questions(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    together, _ = evaluate(model, tokenizer, facts())
    alone, _ = evaluate(model, tokenizer, facts().slice(1, 1))
    wanted = [row for row in together.to_pylist() if row["fact_id"] == "f1"]
    for found, expected in zip(alone.to_pylist(), wanted, strict=True):
        assert found["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-4)
        assert found["generation"] == expected["generation"]


def test_probabilities_of_a_collapsed_model_are_null(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(math.nan)
    rows, _ = evaluate(model, tokenizer, facts())
    assert rows["log_probability"].null_count == rows.num_rows
    assert rows["margin_least"].null_count == rows.num_rows


def test_missing_ids_are_those_of_training_and_repeated_ids_are_refused(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """`eval run RUN` finds the use of a fact in the run by its id."""
    rows, _ = evaluate(model, tokenizer, facts().drop_columns(["fact_id"]))
    ids = dict.fromkeys(rows["fact_id"].to_pylist())
    assert list(ids) == ["fact-000000", "fact-000001", "fact-000002"]
    twice = facts().set_column(0, "fact_id", pa.array([7, 8, 7]))
    with pytest.raises(InputError, match=r"rows 1 and 3 .* the same fact_id '7'"):
        evaluate(model, tokenizer, twice)


def test_unencodable_fact_is_named(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    table = facts().set_column(2, "object", pa.array(["rome", "atlantis", "oslo"]))
    with pytest.raises(ExampleError, match="row 2"):
        evaluate(model, tokenizer, table)


def test_worker_finds_the_evaluator_by_name() -> None:
    assert isinstance(get_evaluator("standard"), StandardEvaluator)


@pytest.mark.parametrize("name", ["prompt", "Match", "choices", "seed", "method", "point", "probability"])
def test_column_that_evaluation_adds_is_refused_and_not_replaced(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    table = facts().append_column(name, pa.array(["mine"] * 3))
    with pytest.raises(InputError, match=f"already has a column '{name}', and evaluation adds a column with this name"):
        StandardEvaluator().check(tokenizer, table, template="plain")


def test_every_column_that_evaluation_adds_is_known_before(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows, _ = evaluate(model, tokenizer, facts())
    assert {*rows.column_names} - {*facts().column_names} - {"answer"} == {*MEASURED}
