"""Worlds in which the wording of biographies, or the time when training reads them, is crossed with the count."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from factcensus.indexer import CountIndex, Scope, build_index, read_facts
from factcensus.indexer.tables.orders import read_order
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.order import ReadingOrder
from factcensus.unlearn.world.people import draw_people
from factcensus.unlearn.world.pretrain import ORDER, pretrain
from factcensus.unlearn.world.settings import Arrival, PretrainSettings, WorldSettings, described
from factcensus.unlearn.world.write import write_world
from tiny import SMALL_MODEL, SMALL_WORLD, world_documents

DEALT = dataclasses.replace(SMALL_WORLD, wording="dealt", arrival="dealt")


@pytest.fixture(scope="module")
def dealt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("worlds") / "dealt", DEALT, seed=0)


def rows_of(world: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world / "facts.jsonl").read_text().splitlines()]


def test_settings_at_their_defaults_are_not_described_so_that_older_worlds_stay_valid(world: Path) -> None:
    described_world = json.loads((world / "world.json").read_text())["settings"]
    assert set(described_world) == {
        "people",
        "exposures",
        "objects",
        "forget_share",
        "retain_share",
        "retain_held_share",
        "phantoms",
        "question_copies",
        "assignment",
    }
    assert not {"wording", "arrival"} & set(rows_of(world)[0])
    assert all(set(document["metadata"]) == {"person"} for document in world_documents(world))
    assert described(DEALT)["wording"] == described(DEALT)["arrival"] == "dealt"


def test_dealing_exposure_changes_nothing_else() -> None:
    plain, dealt = draw_people(SMALL_WORLD, 4), draw_people(DEALT, 4)
    assert [dataclasses.replace(person, wording="distinct", arrival="mixed") for person in dealt] == list(plain)


@pytest.mark.parametrize("kinds", [("wording",), ("arrival",), ("wording", "arrival")])
def test_kinds_are_crossed_with_the_count(kinds: tuple[str, ...]) -> None:
    settings = WorldSettings(**dict.fromkeys(kinds, "dealt"))  # type: ignore[arg-type]  # the names are settings
    people = [person for person in draw_people(settings, seed=5) if person.role != "phantom"]
    for role in {person.role for person in people}:
        of_role = [person for person in people if person.role == role]
        for level in settings.exposures:
            dealt = Counter((p.wording, p.arrival) for p in of_role if p.exposures == level)
            assert len(dealt) == 2 ** len(kinds)
            assert max(dealt.values()) - min(dealt.values()) <= 1
        total = Counter((person.wording, person.arrival) for person in of_role)
        assert max(total.values()) - min(total.values()) <= 1


def test_copies_repeat_one_biography_as_often_as_the_count(dealt: Path) -> None:
    biographies = [document for document in world_documents(dealt) if document["source"] == "biographies"]
    for fact in rows_of(dealt):
        texts = [document["text"] for document in biographies if fact["subject"] in document["text"]]
        assert len(texts) == fact["exposures"]
        assert len(set(texts)) == (min(1, len(texts)) if fact["wording"] == "copied" else len(texts))


def test_the_index_counts_documents_and_distinct_documents(dealt: Path, tmp_path: Path) -> None:
    build_index([dealt / "corpus"], tmp_path / "index")
    facts = read_facts(dealt / "facts.jsonl")
    with CountIndex.open(tmp_path / "index") as index:
        every = index.count_facts(facts).to_pylist()
        distinct = index.count_facts(facts, scope=Scope(duplicates=False)).to_pylist()
    for fact, once in zip(every, distinct, strict=True):
        asked = fact["role"] in ("retain", "retain_held")
        assert fact["cooccurrence_documents"] == fact["exposures"] + asked * DEALT.question_copies
        biographies = 1 if fact["wording"] == "copied" and fact["exposures"] else fact["exposures"]
        assert once["cooccurrence_documents"] == biographies + asked


def test_early_documents_are_read_in_the_first_half_and_late_ones_in_the_second(dealt: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL_MODEL, epochs=2)
    model = pretrain(dealt, tmp_path / "model", settings, seed=0)
    training = json.loads((model / "pretraining.json").read_text())["training"]
    steps = {row["id"]: row["step"] for row in pq.read_table(model / ORDER).to_pylist()}
    middle = training["steps"] / 2
    read = world_documents(dealt)
    assert len(read) == len(steps)
    kinds = Counter()
    for document in read:
        arrival = document["metadata"].get("arrival", "mixed")
        kinds[arrival] += 1
        mine = steps[document["id"]]
        assert len(mine) == settings.epochs
        assert min(mine) >= 0
        assert max(mine) < training["steps"]
        # Rows are packed, so the middle lies within a few steps of the half of all readings.
        assert arrival != "early" or max(mine) <= middle + 3
        assert arrival != "late" or min(mine) >= middle - 3
    assert kinds["early"]
    assert kinds["late"]
    assert kinds["mixed"] == sum(d["source"] == "questions" for d in read)


def test_counts_as_of_a_step_follow_the_order_of_the_model(dealt: Path, tmp_path: Path) -> None:
    model = pretrain(dealt, tmp_path / "model", SMALL_MODEL, seed=0)
    steps = json.loads((model / "pretraining.json").read_text())["training"]["steps"]
    half = -(-steps // 2)
    build_index([dealt / "corpus"], tmp_path / "index")
    with CountIndex.open(tmp_path / "index") as index:
        index.use_order(read_order(model / ORDER))
        counted = index.count_facts(read_facts(dealt / "facts.jsonl"), by=f"step:{half}").to_pylist()
    first = {row["id"]: row["step"][0] for row in pq.read_table(model / ORDER).to_pylist()}
    for fact in counted:
        mine = [
            first[d["id"]]
            for d in world_documents(dealt)
            if fact["subject"] in d["text"] and fact["object"] in d["text"]
        ]
        before = sum(step < half for step in mine)
        by_step = {row[f"step:{half}"]: row["cooccurrence_documents"] for row in fact[f"by_step:{half}"]}
        assert by_step.get(str(half), 0) == before
        assert fact["cooccurrence_documents"] == len(mine)


def test_readings_are_spread_evenly_over_the_training() -> None:
    arrivals: list[Arrival] = ["early", "late", "mixed", "mixed"] * 200
    order = ReadingOrder([5] * len(arrivals), arrivals, PretrainSettings(epochs=3, row_tokens=64), seed=1)
    readings = [document for epoch in range(3) for row in order.rows(epoch) for document in row]
    assert Counter(readings) == dict.fromkeys(range(len(arrivals)), 3)
    for quarter in range(4):
        part = readings[quarter * 600 : (quarter + 1) * 600]
        kinds = Counter(arrivals[document] for document in part)
        assert 240 <= kinds["mixed"] <= 360
        assert kinds["late" if quarter < 2 else "early"] < 30


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="wording='same'"):
        WorldSettings(wording="same")  # type: ignore[arg-type]  # a wrong value on purpose
    with pytest.raises(ConfigError, match="arrival='first'"):
        WorldSettings(arrival="first")  # type: ignore[arg-type]  # a wrong value on purpose
