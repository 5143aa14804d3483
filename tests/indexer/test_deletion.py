"""Deleting documents by id, text and condition; dry runs; replacing by id; records and their verification."""

from __future__ import annotations

import json
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import (
    CountIndex,
    Scope,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    verify_index,
)
from factcensus.indexer.answers import Proof
from factcensus.indexer.changing import deletion
from factcensus.indexer.changing.deletion import Named
from factcensus.indexer.errors import EmptyQueryError, InputError, UnknownNameError, VerificationError
from factcensus.indexer.storage import maintain
from factcensus.indexer.storage.manifest import Layout, Manifest
from factcensus.indexer.system.locks import lock_folder

from .corpora import LAYOUTS, both_layouts, content, write_corpus
from .test_distributed_build import tokenizer_of

ROWS = [
    {"id": "ann", "text": "Ann lives in Paris", "title": "About Ann"},
    {"id": "bob", "text": "Bob met Ann in Rome " + "and again " * 9},
    {"id": "twice", "text": "Paris, not Rome"},
    {"id": "twice", "text": "Rome, not Paris"},
    {"id": "copy", "text": "Ann lives in Paris"},
    {"text": "nobody has an id"},
]


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    build_index([write_corpus(tmp_path / "c.jsonl", ROWS)], tmp_path / "ix", layout=request.param, jobs=1)
    return tmp_path / "ix"


def ids(folder: Path) -> list[str | None]:
    """Return the ids of the counted documents in order; every text here contains the letter i."""
    with CountIndex.open(folder) as index:
        found = [index.find_documents(text=word, limit=99).documents for word in ("in", "not", "nobody", "new")]
    numbered = {each.document: each.id for documents in found for each in documents}
    return [numbered[number] for number in sorted(numbered)]


# ---------------------------------------------------------------------------------------------- choosing


def test_documents_are_deleted_by_id_text_and_condition_at_once(folder: Path) -> None:
    done = delete_documents(folder, ids=["bob", "twice"], text="nobody has", where="id = 'copy'")
    assert (done.documents, done.already_deleted, done.matched) == (5, 0, {"bob": 1, "twice": 2})
    assert ids(folder) == ["ann"]
    assert (done.before.generation, done.manifest.generation) == (0, 1)
    assert done.manifest == Manifest.read(folder)
    again = delete_documents(folder, ids=["twice"], text="Ann")
    assert (again.documents, again.already_deleted, again.matched) == (1, 4, {"twice": 2})
    assert ids(folder) == []


@pytest.mark.parametrize(("text", "documents"), [("ann", 3), ("lives in PARIS", 2), ("paris rome", 0), ("London", 0)])
def test_text_is_found_as_in_counting(text: str, documents: int, folder: Path) -> None:
    with CountIndex.open(folder) as index:
        assert index.count(text).documents == documents
    assert delete_documents(folder, text=text).documents == documents
    with CountIndex.open(folder) as index:
        assert index.count(text).documents == 0


def test_a_text_without_a_word_deletes_nothing(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(EmptyQueryError):
        delete_documents(folder, text="...", ids=["ann"])
    assert content(folder) == before


def test_dry_run_lists_the_documents_and_changes_nothing(folder: Path) -> None:
    delete_documents(folder, ids=["twice"])
    before = content(folder)
    planned = delete_documents(folder, ids=["bob", "twice"], text="lives", dry_run=True)
    assert planned.dry_run
    assert (planned.documents, planned.already_deleted, planned.matched) == (3, 2, {"bob": 1, "twice": 2})
    assert planned.named == (
        Named("ann", "About Ann"),
        Named("bob", "bob met ann in rome and again and again and again and …"),
        Named("copy", "ann lives in paris"),
    )
    assert planned.manifest.digest == planned.before.digest == Manifest.read(folder).digest
    assert content(folder) == before
    assert delete_documents(folder, ids=["bob", "twice"], text="lives").named == planned.named


def test_dry_run_does_not_wait_for_the_lock(folder: Path) -> None:
    with lock_folder(folder):
        assert delete_documents(folder, ids=["ann"], dry_run=True).documents == 1
        with pytest.raises(InputError, match="another process is changing"):
            delete_documents(folder, ids=["ann"])


@both_layouts
def test_dry_run_lists_the_first_documents_of_all_shards(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "MOST_NAMED", 7)
    rows = [{"id": f"d{i}", "text": "a b c"} for i in range(20)]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", layout=layout, jobs=1, shard_tokens=20)
    planned = delete_documents(tmp_path / "ix", where="record % 2 = 1", dry_run=True)
    assert len(planned.manifest.shards) > 2
    assert [each.id for each in planned.named] == [f"d{i}" for i in range(1, 14, 2)]


# ---------------------------------------------------------------------------------------------- replacing


def new(folder: Path, *rows: dict[str, Any]) -> Path:
    return write_corpus(folder / "new.jsonl", rows)


def test_replacing_exchanges_documents_by_id_in_one_generation(folder: Path, tmp_path: Path) -> None:
    sources = [new(tmp_path, {"id": "twice", "text": "new text"}, {"id": "eve", "text": "new Eve"})]
    manifest = add_to_index(folder, sources, replace=True, jobs=1)
    assert ids(folder) == ["ann", "bob", "copy", None, "twice", "eve"]
    assert (manifest.generation, manifest.documents, manifest.changes[-1].what) == (1, 6, "replace")
    texts = [str(row["text"]) for row in ROWS if row.get("id") != "twice"]
    assert manifest.text_bytes == sum(map(len, [*texts, "new text", "new Eve"]))
    only_new = add_to_index(folder, [new(tmp_path, {"id": "zoe", "text": "new Zoe"})], replace=True, jobs=1)
    assert (only_new.generation, only_new.changes[-1].what) == (2, "add")
    assert only_new.holds_all_of(manifest.digest)
    verify_index(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"id": "x", "text": "a"}, {"id": "ann", "text": "b"}, {"id": "x", "text": "c"}],
            "have the id 'x': record 0 .*record 2",
        ),
        ([{"id": "ann", "text": "a"}, {"text": "b"}], "record 1 of .*new.jsonl has no id"),
    ],
)
def test_replacing_needs_one_id_for_each_new_document(
    rows: list[dict[str, Any]], message: str, folder: Path, tmp_path: Path
) -> None:
    before = content(folder)
    with pytest.raises(InputError, match=message):
        add_to_index(folder, [new(tmp_path, *rows)], replace=True, jobs=1)
    assert content(folder) == before
    shutil.rmtree(tmp_path / "ix.building")
    add_to_index(folder, [new(tmp_path, *rows)], jobs=1)


@both_layouts
def test_a_reader_sees_all_old_documents_or_all_new_ones(layout: Layout, tmp_path: Path) -> None:
    def version(number: int) -> Path:
        rows = [{"id": f"d{i}", "text": f"same version{number}"} for i in range(8)]
        return write_corpus(tmp_path / "c.jsonl", rows)

    build_index([version(0)], tmp_path / "ix", layout=layout, jobs=1)
    stop, seen, errors = threading.Event(), set[str](), list[BaseException]()

    def read() -> None:
        try:
            while not stop.is_set():
                with CountIndex.open(tmp_path / "ix") as index:
                    assert index.count("same").documents == 8
                    texts = [f"version{number}" for number in range(6)]
                    (version,) = [text for text in texts if index.count(text).documents]
                    assert index.count(version).documents == 8
                    seen.add(version)
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 6):
        add_to_index(tmp_path / "ix", [version(number)], replace=True, jobs=1)
    while not seen and not errors:
        time.sleep(0.01)
    stop.set()
    reader.join()
    assert not errors
    assert seen


# ---------------------------------------------------------------------------------------------- the record


@pytest.fixture
def record(folder: Path, tmp_path: Path) -> Path:
    """Return the record of a deletion of the pages of Ann and Bob, but not of the copy of Ann's page."""
    delete_documents(
        folder, ids=["ann", "bob"], record=tmp_path / "record.json", asked_by="Ann, by letter", probes=["Ann", "Rome"]
    )
    return tmp_path / "record.json"


def test_record_lists_removed_documents_and_is_readable_by_its_owner_only(record: Path, folder: Path) -> None:
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    kept = json.loads(record.read_text(encoding="utf-8"))
    assert kept["asked_by"] == "Ann, by letter"
    assert kept["chosen_by"] == ["ids"]
    assert (kept["before"]["generation"], kept["after"]["generation"]) == (0, 1)
    assert (kept["before"]["documents"], kept["after"]["documents"]) == (6, 4)
    assert kept["after"]["digest"] == Manifest.read(folder).digest
    assert kept["before"]["digest"] == Manifest.read(folder).changes[-1].digest
    assert [each["id"] for each in kept["documents"]] == ["ann", "bob"]
    assert [each["same_text_left"] for each in kept["documents"]] == [1, 0]
    assert kept["probes"] == [
        {"text": "Ann", "before": {"occurrences": 3, "documents": 3}, "after": {"occurrences": 1, "documents": 1}},
        {"text": "Rome", "before": {"occurrences": 3, "documents": 3}, "after": {"occurrences": 2, "documents": 2}},
    ]
    assert not [word for word in ("lives", "Paris", "met", "again") if word in record.read_text(encoding="utf-8")]


def test_record_stays_valid_if_other_documents_are_deleted_later(record: Path, folder: Path, tmp_path: Path) -> None:
    delete_documents(folder, ids=["copy"], record=tmp_path / "later.json", probes=["Ann", "Paris"])
    for path in (record, tmp_path / "later.json"):
        assert verify_index(folder, record=path).record.probes == 2


@pytest.mark.parametrize("step", ["sync_files", "remove_strays"])
def test_record_is_kept_exactly_if_the_deletion_is_in_effect(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(maintain, step, fail)
        with pytest.raises(OSError, match="Input/output"):
            delete_documents(folder, ids=["ann"], record=tmp_path / "record.json")
    with CountIndex.open(folder) as index:
        in_effect = index.info().deleted_documents == 1
    assert in_effect == (step == "remove_strays")
    assert (tmp_path / "record.json").exists() == in_effect
    if in_effect:
        verify_index(folder, record=tmp_path / "record.json")


def test_keys_differ_so_that_records_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        delete_documents(folder, ids=["ann"], record=tmp_path / name)
    one, two = (json.loads((tmp_path / name).read_text(encoding="utf-8"))["documents"][0] for name in ("one", "two"))
    assert one["id"] == two["id"] == "ann"
    assert not {one["id_digest"], one["text_digest"]} & {two["id_digest"], two["text_digest"]}


def test_record_is_verified_after_deletion_after_compaction_and_without_ids(
    record: Path, folder: Path, tmp_path: Path
) -> None:
    proof = verify_index(folder, record=record).record
    assert proof == Proof(documents=2, hidden=2, same_text_left=1, probes=2, descends=True, later_deletions=0)
    add_to_index(folder, [new(tmp_path, {"id": "eve", "text": "Eve"})], jobs=1)
    compact_index(folder, jobs=1)
    kept = json.loads(record.read_text(encoding="utf-8"))
    for each in kept["documents"]:
        del each["id"]
    (tmp_path / "without").write_text(json.dumps(kept), encoding="utf-8")
    for path in (record, tmp_path / "without"):
        proof = verify_index(folder, record=path).record
        # A copy of Ann's page is left and counted; her own page is gone.
        assert proof == Proof(documents=2, hidden=0, same_text_left=1, probes=2, descends=True, later_deletions=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "bob", "text": "another text"}, r"the document 'bob' is in the index \(documents with its id: 1\)"),
        ({"id": "x", "text": ROWS[1]["text"]}, r"the text of the document 'bob' is in the index \(documents: 1\)"),
        ({"id": "x", "text": ROWS[0]["text"]}, r"the text of the document 'ann' is in the index \(documents: 2\)"),
        ({"id": "x", "text": "Rome"}, r"the probe 'Rome' occurs 3 times in 3 documents, but the record has 2 in 2"),
    ],
)
def test_record_is_contradicted_if_a_document_text_or_probe_returns(
    row: dict[str, Any], message: str, record: Path, folder: Path, tmp_path: Path
) -> None:
    add_to_index(folder, [new(tmp_path, row)], jobs=1)
    with pytest.raises(VerificationError, match=message) as error:
        verify_index(folder, record=record)
    assert error.value.exit_code == 3


NUMBER = "030 901820"
#: How the texts of the two deleted documents are found, and another document with the number or address.
SOUGHT: dict[str, tuple[dict[str, Any], list[str], str, str]] = {
    "phone": (
        {"text": NUMBER, "normalise": "phone", "region": "DE"},
        ["call 030 901820", "call +49 30 90 18 20"],
        "Tel.0049-30-901820",
        "030 901820-1",
    ),
    "email": (
        {"text": "jo@x.org", "normalise": "email"},
        ["jo@x.org", "JO (at) x.org"],
        "jo＠x.org!",
        "jo@x.org.uk",
    ),
    "verbatim": ({"text": "jo@x.org", "verbatim": True}, ["a jo@x.org b", "jo@x.org"], "jo@x.org?", "jo@x.org.uk"),
}


@pytest.mark.parametrize("kind", SOUGHT)
def test_probe_that_is_the_text_finds_other_spellings_that_return(kind: str, tmp_path: Path) -> None:
    options, texts, again, other = SOUGHT[kind]
    rows = [{"id": str(number), "text": text} for number, text in enumerate([*texts, "some other words"])]
    folder, record = tmp_path / "ix", tmp_path / "record.json"
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], folder, keep_text=True, jobs=1)
    done = delete_documents(folder, **options, record=record, probes=[options["text"], "call"])
    assert (done.documents, done.verified, done.exact) == (2, True, True)
    probe = json.loads(record.read_bytes())["probes"][0]
    assert {name: probe[name] for name in options} == options
    assert (probe["before"]["documents"], probe["after"]["documents"]) == (2, 0)
    add_to_index(folder, [new(tmp_path, {"id": "other", "text": other})], jobs=1)
    assert verify_index(folder, record=record).record.probes == 2
    add_to_index(folder, [new(tmp_path, {"id": "again", "text": again})], jobs=1)
    with pytest.raises(
        VerificationError, match=r"the probe .* occurs 1 times in 1 documents, but the record has 0 in 0"
    ):
        verify_index(folder, record=record)
    kept = json.loads(record.read_bytes())
    for change in ({"normalise": None, "verbatim": False}, {"region": "US"}):
        changed = kept | {"probes": [kept["probes"][0] | change, *kept["probes"][1:]]}
        (tmp_path / "changed").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(VerificationError, match="was changed since it was written"):
            verify_index(folder, record=tmp_path / "changed")


def test_deletion_reports_what_it_cannot_know(tmp_path: Path) -> None:
    rows = [{"id": "1", "text": "Jo@x.org"}, {"id": "2", "text": "jo@x.org.uk"}]
    for name, options in {"cased": {"analyzer": "words-cased", "keep_text": True}, "no-texts": {}}.items():
        build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / name, jobs=1, **options)
    asked: dict[str, Any] = {"text": "jo@x.org", "normalise": "email", "dry_run": True}
    cased, no_texts = (delete_documents(tmp_path / name, **asked) for name in ("cased", "no-texts"))
    assert (cased.documents, cased.verified, cased.exact) == (0, True, False)
    assert (no_texts.documents, no_texts.verified, no_texts.exact) == (2, False, True)
    analyzer = f"hf:{tokenizer_of(tmp_path)}"
    build_index([write_corpus(tmp_path / "c.jsonl", [{"id": "1", "text": "w1"}])], tmp_path / "hf", analyzer=analyzer)
    by_tokens = delete_documents(tmp_path / "hf", text="w1", dry_run=True)
    assert (by_tokens.documents, by_tokens.verified, by_tokens.exact) == (1, None, False)
    by_id = delete_documents(tmp_path / "cased", ids=["1"], dry_run=True)
    assert (by_id.verified, by_id.exact) == (None, True)


def test_record_is_contradicted_by_an_index_without_the_deletion(record: Path, tmp_path: Path) -> None:
    build_index([tmp_path / "c.jsonl"], tmp_path / "fresh", jobs=1)
    with pytest.raises(VerificationError, match="'ann' is in the index"):
        verify_index(tmp_path / "fresh", record=record)


def test_earlier_deletions_are_recorded_too(folder: Path, tmp_path: Path) -> None:
    """The deletion may have been made without a record, or killed before it was reported."""
    delete_documents(folder, ids=["ann"])
    done = delete_documents(folder, ids=["ann"], record=tmp_path / "record.json")
    assert (done.documents, done.already_deleted) == (0, 1)
    kept = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert kept["before"] == kept["after"]
    assert [each["id"] for each in kept["documents"]] == ["ann"]
    assert verify_index(folder, record=tmp_path / "record.json").record.documents == 1


def test_a_record_is_never_overwritten(record: Path, folder: Path, tmp_path: Path) -> None:
    before, kept = content(folder), record.read_bytes()
    with pytest.raises(InputError, match="exists, and a record is never overwritten"):
        delete_documents(folder, ids=["copy"], record=record)
    with pytest.raises(InputError, match="does not exist; create it first"):
        delete_documents(folder, ids=["copy"], record=tmp_path / "absent" / "record.json")
    assert (content(folder), record.read_bytes()) == (before, kept)


@pytest.mark.parametrize("option", [{"asked_by": "Ann"}, {"probes": ["Ann"]}])
def test_record_options_require_a_record(option: dict[str, Any], folder: Path) -> None:
    with pytest.raises(InputError, match="give a file for it"):
        delete_documents(folder, ids=["ann"], **option)


def test_a_deletion_that_fails_leaves_no_record(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        assert (tmp_path / "record.json").exists(), "the record comes first: a deletion without one cannot be proven"
        raise OSError("no")

    before = Manifest.read(folder)
    monkeypatch.setattr(deletion, "commit", fail)
    with pytest.raises(OSError, match="no"):
        delete_documents(folder, ids=["ann"], record=tmp_path / "record.json")
    assert not (tmp_path / "record.json").exists()
    with pytest.raises(EmptyQueryError):
        delete_documents(folder, ids=["ann"], record=tmp_path / "record.json", probes=["..."])
    assert not (tmp_path / "record.json").exists()
    assert Manifest.read(folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"{", "is damaged"),
        (lambda _: b"[]", "is not a record of a deletion"),
        (lambda _: b'{"a": 1}', "is not a record of a deletion"),
        (lambda kept: kept | {"version": 2}, "has version 2, but this release reads version 1"),
        (lambda kept: kept | {"key": "xyz"}, "is damaged"),
        (lambda kept: kept | {"documents": [{**kept["documents"][0], "same_id_left": "x"}]}, "same_id_left is 'x'"),
        (lambda kept: kept | {"probes": ["Ann"]}, "is damaged"),
        (lambda kept: kept | {"key": ""}, "is damaged"),
        (lambda kept: kept | {"key": "00" * 65}, "is damaged"),
        (lambda kept: {name: value for name, value in kept.items() if name != "seal"}, "is damaged"),
        (lambda _: b"[" * 100_000, "is damaged"),
        (lambda kept: kept | {"asked_by": 7}, "asked_by is 7"),
        (lambda kept: {name: value for name, value in kept.items() if name != "after"}, "is damaged"),
        (lambda kept: kept | {"documents": [{"id": "x"}]}, "is damaged"),
    ],
)
def test_file_that_is_not_a_record_is_refused(
    change: Callable[[Any], Any], message: str, record: Path, folder: Path, tmp_path: Path
) -> None:
    changed = change(json.loads(record.read_bytes()))
    path = tmp_path / "changed"
    path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())
    with pytest.raises(InputError, match=message):
        verify_index(folder, record=path)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept | {"key": "00" * 32},
        lambda kept: kept | {"documents": []},
        lambda kept: kept | {"probes": []},
        lambda kept: kept | {"asked_by": "Bob"},
        lambda kept: kept | {"after": kept["before"]},
        lambda kept: kept | {"documents": [each | {"text_digest": "00" * 16} for each in kept["documents"]]},
        lambda kept: kept | {"documents": [each | {"id_digest": None} for each in kept["documents"]]},
        lambda kept: kept | {"documents": [each | {"same_text_left": 9} for each in kept["documents"]]},
        lambda kept: kept | {"documents": [each | {"id": "copy"} for each in kept["documents"]]},
    ],
)
def test_a_record_that_was_changed_proves_nothing(
    change: Callable[[Any], Any], record: Path, folder: Path, tmp_path: Path
) -> None:
    kept = json.loads(record.read_bytes())
    (tmp_path / "same").write_text(json.dumps(kept, sort_keys=True), encoding="utf-8")
    assert verify_index(folder, record=tmp_path / "same").record.documents == 2
    (tmp_path / "changed").write_text(json.dumps(change(kept)), encoding="utf-8")
    with pytest.raises(VerificationError, match="was changed since it was written") as error:
        verify_index(folder, record=tmp_path / "changed")
    assert error.value.exit_code == 3


def test_missing_record_is_reported_before_the_index_is_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        verify_index(folder, record=tmp_path / "absent", progress=lambda *_: pytest.fail("it began"))


def test_an_index_whose_documents_are_all_deleted_is_not_compacted(folder: Path) -> None:
    delete_documents(folder, where="true")
    with pytest.raises(InputError, match=r"every document .* is deleted; remove the folder instead"):
        compact_index(folder, jobs=1)
    with CountIndex.open(folder) as index:
        assert index.count("Ann").documents == 0


# ---------------------------------------------------------------------------------------------- what answers still show


def test_no_answer_shows_a_value_that_only_deleted_documents_have(tmp_path: Path) -> None:
    """A group with zero documents would still show an address, an id, or the name of a field."""
    rows = [
        {"id": "kept", "text": "Ann and Bob", "source": "web", "url": "https://x/1", "created": "2020"},
        {"id": "gone", "text": "Ann", "source": "jane", "url": "https://jane", "created": "1999", "jane@x": "1"},
    ]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    delete_documents(tmp_path / "ix", ids=["gone"])
    with CountIndex.open(tmp_path / "ix") as index:
        for by, value in (("source", "web"), ("id", "kept"), ("url", "https://x/1"), ("year:created", "2020")):
            for answer in (
                index.count("Ann", by=by),
                index.find_documents(text="Ann", by=by),
                index.cooccurrence("Ann", "Bob", by=by),
            ):
                assert list(answer.groups or {}) == [value]
        for asked in ({"by": "jane@x"}, {"by": "jan"}):
            with pytest.raises(UnknownNameError) as error:
                index.count("Ann", **asked)
            assert "jane@x" not in str(error.value).partition("known:")[2]
        with pytest.raises(InputError) as condition:
            index.count("Ann", scope=Scope(where="jan = '1'"))
        assert "jane@x" not in str(condition.value)
    delete_documents(tmp_path / "ix", ids=["kept"])
    with CountIndex.open(tmp_path / "ix") as index:
        for by in ("source", "year:id"):
            assert list(index.count("Ann", by=by).groups or {}) == [""]
