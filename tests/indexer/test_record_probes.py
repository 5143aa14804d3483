"""Probes of the record of a deletion that occur less often than recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from factcensus.indexer import add_to_index, build_index, compact_index, delete_documents, verify_index
from factcensus.indexer.answers import FewerOccurrences, Proof
from factcensus.indexer.changing import record as records
from factcensus.indexer.cli import main
from factcensus.indexer.errors import VerificationError

from .corpora import LAYOUTS, write_corpus
from .test_deletion import ROWS


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    build_index([write_corpus(tmp_path / "c.jsonl", ROWS)], tmp_path / "ix", layout=request.param, jobs=1)
    return tmp_path / "ix"


@pytest.fixture
def record(folder: Path, tmp_path: Path) -> Path:
    """Return the record of a deletion after which Ann is in one document and Rome in two."""
    delete_documents(folder, ids=["ann", "bob"], record=tmp_path / "record.json", probes=["Ann", "Rome"])
    return tmp_path / "record.json"


def verified(folder: Path, record: Path) -> Proof:
    proof = verify_index(folder, record=record).record
    assert proof is not None
    return proof


def altered(record: Path, path: Path, text: str, after: int) -> Path:
    """Write the record with other counts of a probe after the deletion, and return its path."""
    read = records.read_record(record)
    probes = tuple(
        replace(each, after=records.Numbers(after, after)) if each.text == text else each for each in read.probes
    )
    records.write_record(path, replace(read, probes=probes))
    return path


def test_fewer_occurrences_than_recorded_need_a_later_deletion(
    record: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The probe Rome is in 2 remaining documents."""
    changed = altered(record, tmp_path / "altered.json", "Rome", 3)
    message = "'Rome' occurs 2 times in 2 documents, but the record has 3 in 3, and no document was deleted or replaced"
    with pytest.raises(VerificationError, match=message):
        verify_index(folder, record=changed)
    compact_index(folder, jobs=1)
    with pytest.raises(VerificationError, match=message):
        verify_index(folder, record=changed)
    assert main(["index", "verify", str(folder), "--record", str(changed)]) == 3
    add_to_index(folder, [write_corpus(tmp_path / "more.jsonl", [{"id": "z", "text": "nothing of it"}])], jobs=1)
    with pytest.raises(VerificationError, match=message):
        verify_index(folder, record=changed)
    delete_documents(folder, ids=["z"])
    proof = verified(folder, changed)
    assert proof.fewer == [FewerOccurrences("Rome", 3, 3, 2, 2)]
    assert (proof.later_deletions, proof.descends) == (1, True)
    capsys.readouterr()
    assert main(["index", "verify", str(folder), "--record", str(changed)]) == 0
    printed = capsys.readouterr().out
    assert "'Rome' occurs 2 times in 2 documents, fewer than recorded (3 in 3)" in printed
    assert "fewer are expected: 1 later change deleted or replaced documents" in printed
    assert main(["index", "verify", str(folder), "--record", str(changed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"]["fewer"][0]["recorded_documents"] == 3


def test_fewer_occurrences_in_another_index_are_listed(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_corpus(tmp_path / "other.jsonl", [{"id": "z", "text": "nothing of it"}])
    build_index([other], tmp_path / "other", jobs=1)
    proof = verified(tmp_path / "other", record)
    assert [each.text for each in proof.fewer] == ["Ann", "Rome"]
    assert (proof.later_deletions, proof.descends) == (None, False)
    assert main(["index", "verify", str(tmp_path / "other"), "--record", str(record)]) == 0
    assert "does not explain fewer: this may be another index" in capsys.readouterr().out


def test_deletion_prints_the_counts_of_its_probes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["index", "delete", str(folder), "--id", "ann", "--record", str(tmp_path / "r.json"), "--probe", "Ann"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"recorded in {tmp_path / 'r.json'}" in lines
    assert "the probe 'Ann' occurred 3 times in 3 documents before, and occurs 2 times in 2 documents now" in lines
