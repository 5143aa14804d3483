"""Deleting, adding and compacting in any order give the counts of an index built from scratch."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from factcensus.indexer import (
    CountIndex,
    Entity,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    facts_from_rows,
    verify_index,
)
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.errors import FactcensusError, InputError, VerificationError
from factcensus.indexer.storage import frequent
from factcensus.indexer.storage.manifest import Layout

from . import reference
from .corpora import write_corpus
from .strategies import QUICK

WORDS = ("a", "b", "c", "dé", "a b", "東京")
QUERIES = ("a", "b", "a b", "b a", "c", "dé", "東", "東 京", "nowhere")
texts = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)


@dataclass
class Kept:
    """The expected documents of an index: (id, source, text), in order."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def counts(self, query: str, *, distinct: bool = False, rows: Sequence[int] | None = None) -> tuple[int, int]:
        """Return occurrences and documents by checking every document."""
        wanted = reference.words(query)
        occurrences = documents = 0
        seen: set[str] = set()
        for number, (_, _, text) in enumerate(self.rows):
            if distinct and text in seen:
                continue
            seen.add(text)
            if rows is not None and number not in rows:
                continue
            tokens = reference.words(text)
            found = sum(tokens[i : i + len(wanted)] == wanted for i in range(len(tokens) - len(wanted) + 1))
            occurrences += found
            documents += found > 0
        return occurrences, documents


def check(folder: Path, kept: Kept) -> None:
    with CountIndex.open(folder) as index:
        for distinct in (False, True):
            scope = Scope(duplicates=not distinct)
            for query in QUERIES:
                answer = index.count(query, scope=scope)
                assert (answer.occurrences, answer.documents) == kept.counts(query, distinct=distinct), query
            many = index.count_many(QUERIES, scope=scope)
            assert many.tolist() == [list(kept.counts(query, distinct=distinct)) for query in QUERIES]
        assert index.info().documents == len(kept.rows)
        sources = {source for _, source, _ in kept.rows}
        by_source = index.count("a", by="source").groups
        for source in sources:
            part = Kept([row for row in kept.rows if row[1] == source])
            assert (by_source[source].occurrences, by_source[source].documents) == part.counts("a")
        assert index.manifest is not None
        assert {name: part["documents"] for name, part in index.manifest.sources.items()} == {
            source: sum(row[1] == source for row in kept.rows) for source in sources
        }


def corpus(folder: Path, rows: Sequence[tuple[str, str, str]], name: str) -> Path:
    return write_corpus(folder / f"{name}.jsonl", [{"id": i, "source": s, "text": t} for i, s, t in rows])


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.sampled_from("xy"), texts), min_size=1, max_size=5)),
        st.tuples(st.just("delete"), st.sets(st.integers(0, 30), min_size=1, max_size=6)),
        st.tuples(st.just("delete source"), st.sampled_from("xy")),
        st.tuples(
            st.just("replace"),
            st.lists(
                st.tuples(st.integers(0, 12), st.sampled_from("xy"), texts),
                min_size=1,
                max_size=4,
                unique_by=lambda row: row[0],
            ),
        ),
        st.tuples(st.just("delete text"), st.sampled_from(QUERIES[:6])),
        st.tuples(st.just("compact"), st.none()),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def few_are_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the threshold so that small corpora use the table of frequent n-grams."""
    monkeypatch.setattr(frequent, "FREQUENT", 16)


@settings(QUICK, max_examples=25)
@given(
    first=st.lists(st.tuples(st.sampled_from("xy"), texts), min_size=1, max_size=8),
    steps=steps,
    shard_tokens=st.sampled_from([None, 12]),
    layout=st.sampled_from(["suffix-array", "compact"]),
)
def test_any_sequence_of_changes_gives_the_counts_of_the_remaining_documents(
    first: list[tuple[str, str]], steps: list[tuple[str, object]], shard_tokens: int | None, layout: Layout
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = Kept([(f"d{i}", source, text) for i, (source, text) in enumerate(first)])
        number = len(first)
        options: dict[str, Any] = {"jobs": 1, "shard_tokens": shard_tokens, "layout": layout}
        build_index([corpus(folder, kept.rows, "first")], folder / "ix", **options)
        check(folder / "ix", kept)
        for step, (what, argument) in enumerate(steps):
            if what == "add":
                rows = [(f"d{number + i}", source, text) for i, (source, text) in enumerate(argument)]  # type: ignore[arg-type,var-annotated]
                number += len(rows)
                add_to_index(folder / "ix", [corpus(folder, rows, f"more{step}")], jobs=1, shard_tokens=shard_tokens)
                kept.rows += rows
            elif what == "delete":
                ids = [row[0] for i, row in enumerate(kept.rows) if i in argument]  # type: ignore[operator]
                assume(ids and len(ids) < len(kept.rows))
                assert delete_documents(folder / "ix", ids=ids).documents == len(ids)
                kept.rows = [row for row in kept.rows if row[0] not in ids]
            elif what == "replace":
                rows = [(f"d{i}", source, text) for i, source, text in argument]  # type: ignore[attr-defined]
                number = max(number, *(i + 1 for i, _, _ in argument))  # type: ignore[attr-defined]
                sources = [corpus(folder, rows, f"new{step}")]
                add_to_index(folder / "ix", sources, replace=True, jobs=1, shard_tokens=shard_tokens)
                ids = [row[0] for row in rows]
                kept.rows = [row for row in kept.rows if row[0] not in ids] + rows
            elif what == "delete text":
                rest = [row for row in kept.rows if not Kept([row]).counts(str(argument))[0]]
                assume(rest)
                assert delete_documents(folder / "ix", text=str(argument)).documents == len(kept.rows) - len(rest)
                kept.rows = rest
            elif what == "delete source":
                rest = [row for row in kept.rows if row[1] != argument]
                assume(rest)
                deleted = delete_documents(folder / "ix", where=f"source = '{argument}'").documents
                assert deleted == len(kept.rows) - len(rest)
                kept.rows = rest
            else:
                compact_index(folder / "ix", jobs=1, shard_tokens=shard_tokens)
            check(folder / "ix", kept)
        verify_index(folder / "ix", full=True)


@pytest.mark.parametrize(
    ("analyzer", "layout"), [("words", "suffix-array"), ("words", "compact"), ("bytes", "suffix-array")]
)
def test_compacted_index_equals_a_build_of_the_remaining_documents(
    analyzer: str, layout: Layout, tmp_path: Path
) -> None:
    rows = [(f"d{i}", "xyz"[i % 3], f"word{i} and {'again' if i % 2 else 'ünd'} word{i // 2}") for i in range(40)]
    secret = ("d40", "x", "the secret number is 5551234")
    options: dict[str, Any] = {"analyzer": analyzer, "layout": layout, "keep_text": True}
    build_index([corpus(tmp_path, [*rows[:20], secret], "one")], tmp_path / "ix", shard_tokens=60, **options)
    add_to_index(tmp_path / "ix", [corpus(tmp_path, rows[20:], "two")], shard_tokens=60)
    delete_documents(tmp_path / "ix", ids=["d40", "d3"], where="source = 'z'")
    rest = [row for row in rows if row[1] != "z" and row[0] != "d3"]
    compact_index(tmp_path / "ix", tmp_path / "small")
    build_index([corpus(tmp_path, rest, "rest")], tmp_path / "fresh", **options)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "fresh").iterdir()}
    small = {path.name: path.read_bytes() for path in (tmp_path / "small").iterdir()}
    assert fresh.keys() == small.keys()
    different = {name for name in fresh if fresh[name] != small[name]}
    assert different == {"manifest.json", "documents.0.parquet"}, "only the places of documents in their files differ"
    verify_index(tmp_path / "small")
    before = b"".join(path.read_bytes() for path in (tmp_path / "ix").iterdir())
    compact_index(tmp_path / "ix")
    after = b"".join(path.read_bytes() for path in (tmp_path / "ix").iterdir())
    verify_index(tmp_path / "ix")
    if analyzer == "words":
        assert b"5551234" in before
        assert b"5551234" not in after, "nothing of a deleted document is left"
    with CountIndex.open(tmp_path / "ix") as index, CountIndex.open(tmp_path / "fresh") as other:
        assert len(index.shards) == 1
        for text in ("and", "word1", "again", "and again", "5551234"):
            assert index.count(text).documents == other.count(text).documents


def index_of_texts(folder: Path, texts: Sequence[str], **options: object) -> Path:
    write_corpus(folder / "c.jsonl", [{"id": f"d{i}", "text": text, "n": {"k": i % 3}} for i, text in enumerate(texts)])
    build_index([folder / "c.jsonl"], folder / "ix", **options)  # type: ignore[arg-type]
    return folder / "ix"


@pytest.mark.usefixtures("few_are_frequent")
def test_frequent_ngrams_are_counted_in_every_scope(tmp_path: Path) -> None:
    texts = ["a b a b a", "a b", "a b", "c a b a", "b b b b", "a b a b a", "c"] * 20
    folder = index_of_texts(tmp_path, texts, shard_tokens=300)
    kept = Kept([(f"d{i}", "unknown", text) for i, text in enumerate(texts)])
    check(folder, kept)
    with CountIndex.open(folder) as index:
        assert sum(len(shard.frequent) for shard in index.shards) > 10
        for first in range(0, 142, 31):
            for last in range(first, 142, 23):
                for query in QUERIES:
                    answer = index.count(query, scope=Scope(documents=(first, last)))
                    assert (answer.occurrences, answer.documents) == kept.counts(query, rows=range(first, last))
        lengths = np.cumsum([0, *(len(text.split()) for text in texts)])
        for step in (0, 1, 5, 17, 40, 300, 10_000):
            seen = [i for i in range(len(texts)) if lengths[i] < step]
            answer = index.count("a b", scope=Scope(tokens=(0, step)))
            assert (answer.occurrences, answer.documents) == kept.counts("a b", rows=seen)
        chosen = [i for i in range(len(texts)) if i % 3 == 1]
        answer = index.count("a", scope=Scope(where="metadata ->> '$.n.k' = '1'"))
        assert (answer.occurrences, answer.documents) == kept.counts("a", rows=chosen)
        by_k = index.count("a", by="n.k").groups
        assert {k: (part.occurrences, part.documents) for k, part in by_k.items()} == {
            str(k): kept.counts("a", rows=[i for i in range(len(texts)) if i % 3 == k]) for k in range(3)
        }


def test_facts_by_group_and_scope_add_up(tmp_path: Path) -> None:
    texts = ["France Paris", "Paris France Paris", "France", "Paris x x France", "France Paris"] * 2
    folder = index_of_texts(tmp_path, texts)
    facts = facts_from_rows([{"subject": "France", "object": "Paris", "object_aliases": ["Paris France"]}])
    with CountIndex.open(folder) as index:
        row = index.count_facts(facts, windows=[0], by="n.k").to_pylist()[0]
        groups = row.pop("by_n.k")
        numbers = [name for name, value in row.items() if isinstance(value, int) and name != "exact"]
        assert {name: row[name] for name in numbers} == {name: sum(group[name] for group in groups) for name in numbers}
        for group in groups:
            alone = index.count_facts(facts, windows=[0], scope=Scope(where=f"metadata ->> '$.n.k' = '{group['n.k']}'"))
            assert {name: alone[name][0].as_py() for name in numbers} == {name: group[name] for name in numbers}
        distinct = index.cooccurrence(Entity("France"), Entity("Paris"), scope=Scope(duplicates=False))
        assert distinct.cooccurrence.documents == 3


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to delete"),
        ({"ids": ["d0", "d99", "nobody"]}, "unknown id d99, nobody"),
        ({"where": "no_such_column = 1"}, "no_such_column"),
        ({"where": "source = "}, "invalid condition"),
        ({"where": "record = 'abc'"}, "abc"),
    ],
)
def test_invalid_deletion_changes_nothing(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = index_of_texts(tmp_path, ["a", "b"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=message):
        delete_documents(folder, **arguments)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_deleting_twice_is_neither_an_error_nor_a_change(tmp_path: Path) -> None:
    folder = index_of_texts(tmp_path, ["a", "b", "a"])
    first = delete_documents(folder, ids=["d0"])
    again = delete_documents(folder, ids=["d0"])
    assert (again.documents, again.already_deleted) == (0, 1)
    assert first.manifest.digest == again.manifest.digest


def test_open_index_keeps_counting_its_documents_after_a_deletion(tmp_path: Path) -> None:
    folder = index_of_texts(tmp_path, ["a", "b", "a"])
    with CountIndex.open(folder) as before:
        delete_documents(folder, ids=["d0"])
        assert before.count("a").documents == 2
        compact_index(folder)
        assert before.count("a").documents == 2
        with CountIndex.open(folder) as after:
            assert after.count("a").documents == 1


def full_index(folder: Path) -> Path:
    """Return an index with every kind of file."""
    texts = ["a b c"] * 1100 + ["other words"]
    index = index_of_texts(folder, texts, keep_text=True)
    delete_documents(index, ids=["d7"])
    kinds = {path.name.split(".")[0] for path in index.iterdir()}
    assert kinds == {
        "tokenized",
        "table",
        "offset",
        "first",
        "sample",
        "frequent",
        "deleted",
        "repeated",
        "documents",
        "kept",
        "vocabulary",
        "manifest",
    }
    return index


def test_verification_detects_every_flipped_missing_or_truncated_byte(tmp_path: Path) -> None:
    intact = full_index(tmp_path)
    verify_index(intact)
    chance = np.random.default_rng(1)
    for path in sorted(intact.iterdir()):
        content = path.read_bytes()
        damages = [content[:-1], content + b"\0", content[: len(content) // 2], None]
        flips = {(at, int(chance.integers(8))) for at in (0, len(content) - 1, *chance.integers(0, len(content), 12))}
        if len(content) <= 32:  # every pointer is redirected far away
            flips |= {(at, 7) for at in range(len(content))}
        for at, bit in flips:
            damages.append(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
        for damage in damages:
            copy = tmp_path / "copy"
            shutil.copytree(intact, copy, copy_function=shutil.copyfile)
            (copy / path.name).unlink() if damage is None else (copy / path.name).write_bytes(damage)
            with pytest.raises(VerificationError) as error:
                verify_index(copy)
            assert error.value.exit_code == 3
            assert path.name in str(error.value)
            try:  # counts may be wrong or refused, but nothing crashes
                with CountIndex.open(copy) as index:
                    for query in ("a", "b c", "other", "nowhere"):
                        index.count(query)
                        index.count(query, scope=Scope(duplicates=False))
                        index.cooccurrence(Entity(query), Entity("words"), window=1)
                        index.find_documents(text=query)
            except (FactcensusError, UnicodeDecodeError):
                pass
            shutil.rmtree(copy)


def test_manifest_without_change_of_meaning_is_refused_too(tmp_path: Path) -> None:
    folder = index_of_texts(tmp_path, ["a", "b", "a"])
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["text_bytes"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    with pytest.raises(VerificationError, match="manifest"):
        verify_index(folder)


def test_full_verification_finds_any_two_exchanged_rows(tmp_path: Path) -> None:
    """Also in an infini-gram index without checksums, and deep inside copies of one long text."""
    folder = index_of_texts(tmp_path, ["a b a c " * 30] * 6, analyzer="bytes")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("tokenized.0", "table.0", "offset.0"):
        shutil.copyfile(folder / name, bare / name)
    assert verify_index(bare, full=True).rows_compared == 6 * 241 - 1
    table = np.fromfile(bare / "table.0", "<u2")
    chance = np.random.default_rng(2)
    for _ in range(30):
        i, j = chance.choice(len(table), 2, replace=False)
        wrong = table.copy()
        wrong[i], wrong[j] = table[j], table[i]
        wrong.tofile(bare / "table.0")
        with pytest.raises(VerificationError, match=r"table\.0 is out of order"):
            verify_index(bare, full=True)


@pytest.mark.parametrize(
    "name", ["tokenized.0", "offset.0", "kept.0", "documents.0.parquet", "vocabulary.0.utf8", "deleted.0.1"]
)
def test_damage_is_not_sealed_by_a_change(name: str, tmp_path: Path) -> None:
    """New files get new checksums, so damage in their sources would never be noticed."""
    rows = [{"id": f"d{i}", "text": f"a b c{i}"} for i in range(8)]
    corpus = write_corpus(tmp_path / "c.jsonl", rows)
    folder = tmp_path / "ix"
    build_index([corpus], folder, keep_text=True)
    delete_documents(folder, ids=["d3"])
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(VerificationError, match=f"{name} was altered"):
        compact_index(folder)
    with pytest.raises(VerificationError, match=f"{name} was altered"):
        compact_index(folder, tmp_path / "other")
    if name.startswith(("vocabulary", "deleted")):
        more = write_corpus(tmp_path / "more.jsonl", [{"text": "x"}])
        with pytest.raises(VerificationError, match=f"{name} was altered"):
            add_to_index(folder, [more])
    if name.startswith("deleted"):
        with pytest.raises(VerificationError, match=f"{name} was altered"):
            delete_documents(folder, ids=["d4"])
        with pytest.raises(FactcensusError, match=f"{name} was altered"):
            CountIndex.open(folder)
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["ix"]


def test_names_of_parent_folders_do_not_become_columns(tmp_path: Path) -> None:
    """DuckDB interprets "source=c4" in a path as a column, which would hide the column of the documents."""
    folder = tmp_path / "source=c4" / "lang=fr" / "ix"
    rows = [{"text": "a", "source": "wiki", "lang": "en"}, {"text": "a b", "source": "web", "lang": "de"}]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], folder)
    with CountIndex.open(folder) as index:
        assert sorted(index.info().sources) == ["web", "wiki"]
        assert sorted(index.count("a", by="source").groups) == ["web", "wiki"]
        assert sorted(index.count("a", by="lang").groups) == ["de", "en"]
        assert index.count("a", scope=Scope(where="source = 'wiki'")).documents == 1


@pytest.mark.parametrize("analyzer", ["words", "bytes"])
def test_index_without_its_manifest_is_not_opened_as_infini_gram(analyzer: str, tmp_path: Path) -> None:
    """Its deleted documents would be counted again."""
    folder = tmp_path / "ix"
    corpus = write_corpus(tmp_path / "c.jsonl", [{"id": "x", "text": "a b"}, {"id": "y", "text": "a"}])
    build_index([corpus], folder, analyzer=analyzer)
    delete_documents(folder, ids=["x"])
    (folder / "manifest.json").unlink()
    with pytest.raises(FactcensusError, match=r"manifest\.json is missing"):
        CountIndex.open(folder, analyzer="bytes")
    with pytest.raises(VerificationError, match=r"manifest\.json is missing"):
        verify_index(folder)


@pytest.mark.parametrize("question", [{"by": "source"}, {"by": "lang"}, {"scope": Scope(where="tokens >= 0")}])
def test_document_table_with_too_many_rows_is_refused(question: dict[str, Any], tmp_path: Path) -> None:
    """Compiled code relies on the number of rows without checking it."""
    for name, count in (("few", 3), ("many", 9)):
        rows = [{"text": "a", "lang": "en"} for _ in range(count)]
        build_index([write_corpus(tmp_path / f"{name}.jsonl", rows)], tmp_path / name)
    with CountIndex.open(tmp_path / "few") as index:
        shutil.copy(tmp_path / "many" / "documents.0.parquet", tmp_path / "few" / "documents.0.parquet")
        with pytest.raises(FactcensusError, match=r"documents\.0\.parquet has 9 rows for 3 documents"):
            index.count("a", **question)
