"""Forget and retain sets from role, stratum and relation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.indexer import InputError
from factcensus.unlearn.config.run_config import SelectionConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.selection import Selection, read_fact_table, select


def strata_table(facts_per_cell: int = 4) -> pa.Table:
    """Return a table of three strata and two relations without roles, with one fact per subject."""
    rows = [
        {"subject": f"s{stratum}{relation}{number}", "object": "o", "relation": relation, "stratum": stratum}
        for stratum in range(3)
        for relation in ("capital", "author")
        for number in range(facts_per_cell)
    ]
    return pa.Table.from_pylist([{"fact_id": row["subject"], **row} for row in rows])


def chosen(table: pa.Table, seed: int = 0, **settings: Any) -> Selection:
    return select(table, SelectionConfig.model_validate(settings), seed)


def cells(selection: Selection, indices: tuple[int, ...]) -> Counter[Any]:
    return Counter((selection.rows[index]["relation"], selection.rows[index]["stratum"]) for index in indices)


def test_roles_of_a_world_are_the_default(world: Path) -> None:
    selection = chosen(read_fact_table(world / "facts.jsonl"))
    assert {selection.rows[index]["role"] for index in selection.forget} == {"forget"}
    assert {selection.rows[index]["role"] for index in selection.retain} == {"retain", "bystander"}
    used = selection.facts["used"].to_pylist()
    assert [index for index, use in enumerate(used) if use == "forget"] == list(selection.forget)
    assert [index for index, use in enumerate(used) if use == "retain"] == list(selection.retain)
    assert Counter(used)["none"] == len(used) - len(selection.forget) - len(selection.retain)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_bystanders_are_chosen_by_person(world: Path, share: float) -> None:
    table = read_fact_table(world / "facts.jsonl")
    selection = chosen(table, retain={"bystanders_share": share})
    everyone = {row["subject"] for row in selection.rows if row["role"] == "bystander"}
    taken = Counter(
        selection.rows[index]["subject"] for index in selection.retain if selection.rows[index]["role"] == "bystander"
    )
    assert len(taken) == round(share * len(everyone))
    assert set(taken.values()) <= {3}


def test_stratum_and_relation_choose_the_forget_set() -> None:
    selection = chosen(strata_table(), forget={"strata": [2], "relations": ["capital"]})
    assert cells(selection, selection.forget) == {("capital", 2): 4}
    assert len(selection.retain) == 20


def test_matched_retain_facts_follow_the_forget_set_cell_by_cell() -> None:
    selection = chosen(strata_table(), forget={"strata": [0, 2], "limit": 5}, retain={"match": ["relation", "stratum"]})
    forget, retain = cells(selection, selection.forget), cells(selection, selection.retain)
    assert set(retain) <= set(forget)
    matched = chosen(strata_table(), forget={"strata": [2]}, retain={"match": ["relation"], "per_forget": 2})
    assert Counter(key[0] for key in cells(matched, matched.retain).elements()) == {"capital": 8, "author": 8}
    with pytest.raises(ConfigError, match="relation=capital: 12 wanted, 8 available"):
        chosen(strata_table(), forget={"strata": [2]}, retain={"match": ["relation"], "per_forget": 3})


@given(st.integers(0, 20), st.integers(1, 24))
def test_sets_never_share_a_subject_and_depend_on_the_seed_only(seed: int, limit: int) -> None:
    rows = [
        {"fact_id": str(n), "subject": f"S{n // 3}", "object": "o", "relation": "r", "stratum": n % 2}
        for n in range(24)
    ]
    table = pa.Table.from_pylist(
        [*rows, {"fact_id": "x", "subject": "other", "object": "o", "relation": "r", "stratum": 1}]
    )
    settings = {"forget": {"strata": [0], "limit": limit}, "retain": {"per_forget": 1.0}}
    selection = chosen(table, seed, **settings)
    losing = {rows[index]["subject"] for index in selection.forget}
    assert not losing & {selection.rows[index]["subject"] for index in selection.retain}
    assert len(selection.forget) == min(limit, 12)
    again = chosen(table, seed, **settings)
    assert (again.forget, again.retain) == (selection.forget, selection.retain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "column 'role'"),
        ({"forget": {"strata": [9]}}, "selection.forget"),
        ({"forget": {"relations": ["capital", "author"]}}, "selection.retain"),
    ],
)
def test_an_empty_set_or_a_missing_column_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(strata_table(), **settings)


def test_empty_set_error_lists_values_of_the_table() -> None:
    with pytest.raises(ConfigError, match=r"selection\.forget.*the table has stratum 0, 1, 2; relation author"):
        chosen(strata_table(), forget={"strata": [7], "relations": ["capital"]})
    with pytest.raises(ConfigError, match=r"strata names 9, but no fact has this stratum; the table has 0, 1, 2"):
        chosen(strata_table(), forget={"strata": [2, 9]})


def test_missing_strata_error_names_the_command_that_adds_them() -> None:
    with pytest.raises(ConfigError, match="facts stratify"):
        chosen(strata_table().drop_columns(["stratum"]), forget={"strata": [1]})


def test_all_three_formats_give_equal_tables(tmp_path: Path) -> None:
    rows = [{"subject": "France", "object": "Paris", "paraphrases": "a?|b?"}, {"subject": "Peru", "object": "Lima"}]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "facts.parquet")
    pa_csv.write_csv(table, tmp_path / "facts.csv")
    (tmp_path / "facts.jsonl").write_text(
        '{"subject": "France", "object": "Paris", "paraphrases": ["a?", "b?"]}\n{"subject": "Peru", "object": "Lima"}\n'
    )
    for name in ("facts.parquet", "facts.csv", "facts.jsonl"):
        read = read_fact_table(tmp_path / name).to_pylist()
        assert [row["answer"] for row in read] == ["Paris", "Lima"]
        assert [row["paraphrases"] for row in read] == [["a?", "b?"], []]
        assert [row["fact_id"] for row in read] == ["fact-000000", "fact-000001"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.csv", None, "no such fact table"),
        ("facts.txt", "x", "ends in"),
        ("facts.csv", "subject,answer\na,b\n", "no column 'object'"),
        ("facts.csv", "subject,object\na,b\n,c\n", "row 2 of the fact table: the subject is empty"),
        ("facts.csv", "fact_id,subject,object\n1,a,b\n1,c,d\n", "fact_id '1'"),
        ("facts.jsonl", "{", "facts.jsonl"),
    ],
)
def test_invalid_tables_are_errors(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises((ConfigError, InputError), match=message):
        read_fact_table(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"forget": {"relations": ["birth_city", "emploier"]}}, "names 'emploier'.*did you mean 'employer'"),
        ({"retain": {"relations": ["employer", "x"]}}, "selection.retain.relations names 'x'"),
        ({"forget": {"roles": ["forget", "retian"]}}, "names 'retian'.*did you mean 'retain'"),
        ({"count_column": "exposure"}, "count_column is 'exposure'.*did you mean 'exposures'"),
    ],
)
def test_unknown_condition_values_get_a_suggestion(world: Path, settings: dict[str, Any], message: str) -> None:
    config = SelectionConfig.model_validate(settings)
    with pytest.raises(ConfigError, match=message):
        select(read_fact_table(world / "facts.jsonl"), config, 0)


def test_existing_column_used_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("subject,object,used\nPeru,Lima,yes\n")
    with pytest.raises(InputError, match=r"already has a column 'used'.*--columns my_used=used"):
        read_fact_table(tmp_path / "f.csv")


def test_negative_counts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("subject,object,cooccurrence_documents\nPeru,Lima,-1\n")
    with pytest.raises(InputError, match=r"'cooccurrence_documents' of the fact table holds negative numbers"):
        read_fact_table(tmp_path / "f.csv")
