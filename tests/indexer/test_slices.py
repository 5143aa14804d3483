"""Slices of an index: their numbers add up to those of the whole, and they cannot be changed."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factcensus.indexer import (
    CountIndex,
    Entity,
    add_to_index,
    compact_index,
    delete_documents,
    facts_from_rows,
    slice_index,
    verify_index,
)
from factcensus.indexer.cli.root import main
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.errors import IndexFormatError, InputError, VerificationError
from factcensus.indexer.storage.manifest import Manifest

from .corpora import make_index, write_corpus

WORDS = ["a", "b", "c", "d", "e", "a b", "Ünal"]
SCOPES = [
    Scope(),
    Scope(duplicates=False),
    Scope(documents=(0, 70)),
    Scope(documents=(33, 90), duplicates=False),
    Scope(tokens=(0, 300)),
    Scope(tokens=(120, 500)),
    Scope(where="source = 's1'"),
]


@pytest.fixture(params=["suffix-array", "compact"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An index of several shards, with repeated and deleted documents in several of them."""
    chance = random.Random(11)
    texts = [" ".join(chance.choices(WORDS, k=chance.randrange(1, 9))) for _ in range(120)]
    make_index(tmp_path, texts, [f"s{n % 3}" for n in range(120)], shard_tokens=120, layout=request.param).close()
    delete_documents(tmp_path / "ix", ids=[f"d{number}" for number in (3, 4, 60, 119)])
    return tmp_path / "ix"


def slices_of(whole: Path, cuts: list[int]) -> list[Path]:
    numbers = [shard.number for shard in Manifest.read(whole).shards]
    places = []
    for number, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(numbers)], strict=True)):
        places.append(whole.with_name(f"slice{number}"))
        slice_index(whole, (numbers[first], numbers[last - 1]), places[-1])
    return places


def added(answers: list[Any], name: str = "") -> Any:
    """Add answers of equal form, number by number; other values must be equal, or are lists of the index."""
    first = answers[0]
    if isinstance(first, dict):
        names = [name for name in dict.fromkeys(name for answer in answers for name in answer) if name != "index"]
        return {name: added([answer[name] for answer in answers if name in answer], name) for name in names}
    if isinstance(first, int) and not isinstance(first, bool) and name != "window":
        return sum(answers)
    assert all(answer == first for answer in answers)
    return first


@pytest.mark.parametrize("cuts", [[2], [1, 2, 3, 4]])
def test_numbers_of_slices_add_up_to_those_of_the_whole(cuts: list[int], whole: Path) -> None:
    opened = [CountIndex.open(place) for place in slices_of(whole, cuts)]
    with CountIndex.open(whole) as index:
        for scope in SCOPES:
            check_sums(index, opened, scope)
    for each in opened:
        each.close()


def check_sums(index: CountIndex, opened: list[CountIndex], scope: Scope) -> None:
    facts = facts_from_rows(
        [{"subject": s, "object": o} for s, o in (("a", "b"), ("a b", "c"), ("d", "Ünal"), ("e", "a"))]
    )
    for ask in (
        lambda ix: ix.count("a b", scope=scope).as_json(),
        lambda ix: ix.count("a", by="source", scope=scope).as_json(),
        lambda ix: ix.cooccurrence(Entity("a", ["e"]), "b", window=2, scope=scope).as_json(),
        lambda ix: ix.cooccurrence("c", "Ünal", by="source", scope=scope).as_json(),
    ):
        answers = [ask(each) for each in opened]
        assert added(answers) == {name: value for name, value in ask(index).items() if name != "index"}, scope
    many = [each.count_many(WORDS, scope=scope) for each in opened]
    assert np.sum(many, axis=0).tolist() == index.count_many(WORDS, scope=scope).tolist(), scope
    tables = [each.count_facts(facts, windows=[1], scope=scope).to_pylist() for each in (index, *opened)]
    for row, *parts in zip(*tables, strict=True):
        for name, value in row.items():
            if isinstance(value, int) and not isinstance(value, bool):
                assert sum(part[name] for part in parts) == value, (scope, name)


def test_slices_number_documents_as_the_whole(whole: Path) -> None:
    with CountIndex.open(whole) as index:
        wanted = [(found.document, found.id) for found in index.find_documents(text="a", limit=500).documents]
    found = []
    for place in slices_of(whole, [2]):
        with CountIndex.open(place) as part:
            found += [(each.document, each.id) for each in part.find_documents(text="a", limit=500).documents]
    assert found == wanted


def test_slices_are_hard_links_and_intact(whole: Path) -> None:
    first, second = slices_of(whole, [2])
    for place in (first, second):
        verify_index(place, full=True)
        for name in Manifest.read(place).files:
            assert os.stat(place / name).st_ino == os.stat(whole / name).st_ino
    assert Manifest.read(first).documents + Manifest.read(second).documents == Manifest.read(whole).documents
    totals = [Manifest.read(place).sources for place in (first, second, whole)]
    assert added(totals[:2]) == totals[2]
    name = next(name for name in Manifest.read(second).files if name.startswith(("table.", "lists.")))
    content = (second / name).read_bytes()
    (second / name).unlink()
    (second / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VerificationError, match=name):
        verify_index(second)
    verify_index(whole)


def test_slices_are_not_changed_or_sliced_again(whole: Path, tmp_path: Path) -> None:
    first, _ = slices_of(whole, [2])
    more = write_corpus(tmp_path / "more.jsonl", [{"id": "x", "text": "a"}])
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    for change in (
        lambda: add_to_index(first, [more], jobs=1),
        lambda: delete_documents(first, ids=["d1"]),
        lambda: compact_index(first, jobs=1),
        lambda: slice_index(first, (0, 0), tmp_path / "again"),
    ):
        with pytest.raises(InputError, match="is a slice; repeated documents depend on the other slices"):
            change()
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_command_line_slices_an_index(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = Manifest.read(whole).shards[-1].number
    arguments = ["index", "slice", str(whole), "--shards"]
    assert main([*arguments, f"1-{last}", "--out", str(tmp_path / "part")]) == 0
    assert main(["index", "info", str(tmp_path / "part")]) == 0
    assert f"shards 2 to {last + 1} of the {last + 1} of {Manifest.read(whole).digest}" in capsys.readouterr().out
    assert main([*arguments, "0", "--out", str(tmp_path / "one")]) == 0
    assert len(Manifest.read(tmp_path / "one").shards) == 1
    for wrong in ("2-1", "x", "1-", "-1", ""):
        assert main([*arguments, wrong, "--out", str(tmp_path / "no")]) == 2
        assert "must be a range A-B of shard numbers" in capsys.readouterr().err
    assert main([*arguments, f"0-{last + 1}", "--out", str(tmp_path / "no")]) == 2
    assert f"has the shards 0 to {last}, got 0-{last + 1}" in capsys.readouterr().err
    assert main([*arguments, "0", "--out", str(tmp_path / "one")]) == 2
    assert not (tmp_path / "no").exists()


def test_whole_indexes_have_no_slice_in_their_manifest(whole: Path) -> None:
    assert "slice" not in json.loads((whole / "manifest.json").read_bytes())


def test_forged_slice_in_a_manifest_is_refused(whole: Path) -> None:
    place = slices_of(whole, [2])[1]
    content = json.loads((place / "manifest.json").read_bytes())
    content["slice"]["first_document"] = -1
    (place / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(IndexFormatError, match="first_document must be an integer of at least 0"):
        CountIndex.open(place)
