"""Worlds with the six attributes of the paper, other distributions of counts, and the mixture of questions."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer.cli import main
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.attributes import MIDDLE_NAMES, PRONOUNS, SIX
from factcensus.unlearn.world.people import draw_people
from factcensus.unlearn.world.rows import read_facts
from factcensus.unlearn.world.sentences import REFUSAL
from factcensus.unlearn.world.settings import WorldSettings
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES
from factcensus.unlearn.world.write import write_world

SETTINGS = WorldSettings(
    people=40, attributes="six", objects=None, exposures=(1, 4), exposure_shares=(0.75, 0.25), phantoms=5
)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("six") / "world", SETTINGS, seed=0)


def texts(world: Path, source: str) -> list[str]:
    shards = sorted((world / "corpus" / "v0" / "documents").glob(f"{source}-*.json.gz"))
    return [json.loads(line)["text"] for shard in shards for line in gzip.open(shard, "rt")]


def test_there_are_as_many_objects_as_in_the_paper() -> None:
    numbers = {relation.name: len(set(relation.objects)) for relation in SIX}
    assert numbers == {
        "birthday": 16716,
        "birth_city": 200,
        "university": 300,
        "major": 100,
        "employer": 500,
        "employer_city": 100,
    }


def test_no_name_contains_another_one() -> None:
    """A word of a name belongs to one list and to no sentence, so a count of a name includes nothing else."""
    owners: dict[str, set[str]] = {}
    lists = {relation.name: relation.objects for relation in SIX if relation.name != "birthday"}
    lists |= {"first": FIRST_NAMES, "middle": MIDDLE_NAMES, "last": LAST_NAMES}
    for name, words in lists.items():
        for word in itertools.chain.from_iterable(each.lower().split() for each in words):
            owners.setdefault(word, set()).add(name)
    assert [word for word, found in owners.items() if len(found) > 1] == []
    spoken = " ".join(
        text for relation in SIX for text in (*relation.statements, relation.question, *relation.paraphrases)
    )
    assert not owners.keys() & {word.strip(".?{}").lower() for word in f"{spoken} {REFUSAL}".split()}


def test_each_fact_occurs_in_the_drawn_number_of_biographies(six: Path) -> None:
    biographies = texts(six, "biographies")
    for fact in read_facts(six):
        both = [text for text in biographies if fact["subject"] in text and f"{fact['object']}." in text]
        assert len(both) == fact["exposures"]


def test_biographies_name_the_person_once_and_then_use_a_pronoun(six: Path) -> None:
    names = {row["subject"] for row in read_facts(six) if row["role"] != "phantom"}
    for text in texts(six, "biographies"):
        (name,) = [each for each in names if each in text]
        assert text.startswith(name)
        assert text.count(name) == 1
        sentences = text.split(". ")[1:]
        assert len(sentences) == 5
        assert len({sentence.split()[0] for sentence in sentences} & set(PRONOUNS)) == 1


def test_employer_determines_its_city(six: Path) -> None:
    objects: dict[str, dict[str, str]] = {}
    for row in read_facts(six):
        objects.setdefault(row["subject"], {})[row["relation"]] = row["object"]
    cities: dict[str, set[str]] = {}
    for found in objects.values():
        cities.setdefault(found["employer"], set()).add(found["employer_city"])
    assert all(len(each) == 1 for each in cities.values())


def test_levels_have_the_given_shares_of_the_people() -> None:
    people = draw_people(SETTINGS, seed=0)
    assert Counter(each.exposures for each in people if each.role != "phantom") == {1: 30, 4: 10}


def test_questions_are_copied_up_to_the_mixture(tmp_path: Path) -> None:
    settings = WorldSettings(people=42, exposures=(4, 16), questions_per_biography=3.0)
    world = write_world(tmp_path / "world", settings, seed=0)
    questions = len(texts(world, "questions"))
    assert questions / len(texts(world, "biographies")) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attributes": "seven"}, "expected 'three' or 'six'"),
        ({"exposures": (1, 10), "exposure_shares": (0.5,)}, "one share per level"),
        ({"exposures": (1, 10), "exposure_shares": (0.5, 0.6)}, "a sum of 1"),
        ({"questions_per_biography": -1.0}, "questions_per_biography=-1.0"),
        ({"objects": 49}, "2 to 48 objects"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WorldSettings(**settings)


def test_command_writes_the_same_world(six: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["world", "write", "--out", str(tmp_path / "w"), "--people", "40", "--attributes", "six", "--phantoms", "5"]
    assert main([*words, "--exposures", "1:0.75,4:0.25"]) == 0
    assert (tmp_path / "w" / "facts.jsonl").read_bytes() == (six / "facts.jsonl").read_bytes()
    assert main([*words, "--exposures", "1:0.75,4"]) == 2
    assert "--exposures must be numbers of biographies" in capsys.readouterr().err
