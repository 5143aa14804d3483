"""Counting without an index: the numbers equal those of an index of the same sources and of the oracle."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from factcensus.indexer import CountIndex, build_index, facts_from_rows, read_facts, scan_facts
from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.cli import main
from factcensus.indexer.counting import scanner
from factcensus.indexer.errors import IndexerError, InputError
from factcensus.indexer.kernels.reading import LONGEST_MENTION
from factcensus.indexer.system import processes

from . import reference
from .corpora import fact_table, records, write_corpus
from .strategies import QUICK, Corpus, corpora
from .test_real_corpus import SAMPLE, WINDOWS, fact_rows, forms_of, sample, write_facts

Forms = tuple[str, ...]
Analyse = Callable[[str], reference.Tokens]


def numbers(table: pa.Table, windows: Sequence[int]) -> list[dict[str, int]]:
    """Return the rows of a counts table with only the count columns."""
    names = reference.fact([], [], [], windows)
    return [{name: row[name] for name in names} for row in table.to_pylist()]


def oracles_numbers(
    texts: Sequence[str], pairs: Sequence[tuple[Forms, Forms]], windows: Sequence[int], analyse: Analyse
) -> list[dict[str, int]]:
    documents = [reference.Document(analyse(text)) for text in texts]
    return [
        reference.fact(documents, [analyse(form) for form in subject], [analyse(form) for form in object_], windows)
        for subject, object_ in pairs
    ]


def index_table(folder: Path, sources: Sequence[Path], facts: pa.Table, windows: Sequence[int], **options: Any) -> Any:
    """Build an index of the sources and return its counts table."""
    build_index(sources, folder / "ix", jobs=1, **options)
    with CountIndex.open(folder / "ix") as index:
        return index.count_facts(facts, windows=windows)


def check_same_table(scanned: pa.Table, indexed: pa.Table) -> None:
    """Check that both tables have the same columns, types and values, except for those that name the index."""
    assert scanned.column_names == [*indexed.column_names, "corpus_digest"]
    assert len(set(scanned["corpus_digest"].to_pylist())) == 1
    scanned = scanned.drop_columns(["corpus_digest"])
    assert scanned.schema.equals(indexed.schema)
    same = [name for name in indexed.column_names if name not in ("index", "index_digest")]
    assert scanned.select(same).equals(indexed.select(same))
    assert set(scanned["index"].to_pylist()) == {"scan"}
    assert set(scanned["index_digest"].to_pylist()) == {None}


def test_names_longer_than_a_mention_are_refused_by_scan_and_index_alike(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", records(["a b"]))
    build_index([corpus], tmp_path / "ix", jobs=1)
    facts = fact_table([(["a " * (LONGEST_MENTION + 1)], ["b"])])
    with CountIndex.open(tmp_path / "ix") as index, pytest.raises(InputError, match="8,192 tokens is too long"):
        index.count_facts(facts)
    with pytest.raises(InputError, match="8,192 tokens is too long"):
        scan_facts([corpus], facts, jobs=1)


# ---------------------------------------------------------------------------------------------- random corpora


@st.composite
def scanned_corpora(draw: st.DrawFn, max_documents: int = 10, max_entities: int = 5) -> Corpus:
    """Generate corpora whose entities have aliases in other spellings, and some aliases without tokens."""
    corpus = draw(corpora(max_documents=max_documents, max_entities=max_entities))
    more = st.sampled_from([str.upper, lambda form: f"«{form}» ", lambda _form: "—", lambda form: form])
    entities = tuple(
        forms + tuple(make(forms[0]) for make in draw(st.lists(more, max_size=2))) for forms in corpus.entities
    )
    return Corpus(
        corpus.analyzer, corpus.texts, corpus.sources, corpus.shard_tokens, entities, corpus.windows, corpus.layout
    )


def check_random_corpus(corpus: Corpus, batch_bytes: int, first_file: int) -> int:
    """Count every ordered pair of entities in three ways; return how many numbers were compared."""
    pairs = list(product(corpus.entities, repeat=2))
    facts = fact_table(pairs)
    expected = oracles_numbers(corpus.texts, pairs, corpus.windows, reference.ANALYZERS[corpus.analyzer])
    documents = records(corpus.texts, corpus.sources)
    with (
        TemporaryDirectory(prefix="ix") as folder,
        patch.object(scanner, "BATCH_BYTES", batch_bytes),
    ):
        files = [
            write_corpus(Path(folder) / "a.jsonl", documents[:first_file]),
            write_corpus(Path(folder) / "b.jsonl.gz", documents[first_file:]),
        ]
        options = {"analyzer": corpus.analyzer}
        scanned = scan_facts(files, facts, windows=corpus.windows, jobs=1, **options)
        indexed = index_table(Path(folder), files, facts, corpus.windows, **options, shard_tokens=corpus.shard_tokens)
    found = numbers(scanned, corpus.windows)
    for pair, ours, oracles in zip(pairs, found, expected, strict=True):
        assert ours == oracles, pair
    check_same_table(scanned, indexed)
    return sum(map(len, expected))


@settings(QUICK, max_examples=60)
@given(
    corpus=scanned_corpora(),
    batch_bytes=st.sampled_from([1, 30, 4 << 20]),
    first_file=st.integers(0, 10),
)
def test_every_number_equals_the_oracle_and_the_index(corpus: Corpus, batch_bytes: int, first_file: int) -> None:
    check_random_corpus(corpus, batch_bytes, first_file)


@pytest.mark.full
def test_half_a_million_numbers_equal_the_oracle_and_the_index() -> None:
    compared = 0

    @settings(QUICK, max_examples=1_500, database=None)
    @given(corpus=scanned_corpora(max_documents=25, max_entities=12), batch_bytes=st.sampled_from([1, 50, 4 << 20]))
    def check(corpus: Corpus, batch_bytes: int) -> None:
        nonlocal compared
        compared += check_random_corpus(corpus, batch_bytes, len(corpus.texts) // 2)

    check()
    assert compared >= 500_000


# ---------------------------------------------------------------------------------------------- cases by hand

#: Name, texts, subject, object, and the numbers: mentions and documents of each, documents and pairs of both, and the
#: same for adjacent mentions.
CASES: dict[str, tuple[list[str], Forms, Forms, list[int]]] = {
    "the example of the documentation": (
        [
            "Paris, the capital of France.",
            "Air France shows all of its new aircraft at the Paris Air Show near Paris.",
            "Paris, Texas",
        ],
        ("France",),
        ("Paris",),
        [2, 2, 4, 3, 2, 3, 0, 0],
    ),
    "alias inside an alias": (
        ["the United States of America", "United States. America"],
        ("United States of America", "United States", "America"),
        ("the",),
        [3, 2, 1, 1, 1, 1, 1, 1],
    ),
    "aliases that overlap: the leftmost one counts": (
        ["a b c"],
        ("a b", "b c"),
        ("c",),
        [1, 1, 1, 1, 1, 1, 1, 1],
    ),
    "alias that overlaps itself": (["a a a a a"], ("a a",), ("a",), [2, 1, 5, 1, 1, 6, 1, 3]),
    "longer alias that breaks off": (["a b a b c"], ("a b c", "a"), ("b",), [2, 1, 2, 1, 1, 3, 1, 2]),
    "the same entity twice": (["Paris near Paris"], ("Paris",), ("Paris",), [2, 1, 2, 1, 1, 2, 0, 0]),
    "entity inside the other": (
        ["Panama City", "Panama City, Panama"],
        ("Panama",),
        ("Panama City",),
        [3, 2, 2, 2, 1, 1, 1, 1],
    ),
    "in another case and spelling": (["O’BRIEN of St. Louis"], ("o'brien",), ("St Louis",), [1, 1, 1, 1, 1, 1, 0, 0]),
    "letters without spaces": (["日本の東京都、東京"], ("日本",), ("東京",), [1, 1, 2, 1, 1, 2, 0, 0]),
    "alias without a token": (["a — b"], ("a", "—", "!"), ("b",), [1, 1, 1, 1, 1, 1, 1, 1]),
    "aliases that are the same": (["A a"], ("a", "A", "a.", "a"), ("b",), [2, 1, 0, 0, 0, 0, 0, 0]),
    "not across documents": (["new", "york"], ("new york",), ("york",), [0, 0, 1, 1, 0, 0, 0, 0]),
    "word of a form that begins none": (["york york new"], ("new york",), ("new",), [0, 0, 1, 1, 0, 0, 0, 0]),
    "empty documents": (["", "—", "a b"], ("a",), ("b",), [1, 1, 1, 1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("case", CASES)
def test_cases_counted_by_hand(case: str, tmp_path: Path) -> None:
    texts, subject, object_, expected = CASES[case]
    corpus = write_corpus(tmp_path / "c.jsonl", records(texts))
    (found,) = numbers(scan_facts([corpus], fact_table([(subject, object_)]), windows=[0]), [0])
    names = [
        "subject_mentions",
        "subject_documents",
        "object_mentions",
        "object_documents",
        "cooccurrence_documents",
        "cooccurrence_pairs",
        "cooccurrence_documents_w0",
        "cooccurrence_pairs_w0",
    ]
    assert [found[name] for name in names] == expected
    (oracles,) = oracles_numbers(texts, [(subject, object_)], [0], reference.words)
    assert found == oracles


def test_document_with_very_many_mentions_is_counted(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", records(["b", "a " * 40_000 + "b"]))
    (found,) = numbers(
        scan_facts(
            [corpus],
            fact_table(
                [
                    (("a",), ("b",)),
                ]
            ),
            windows=[9],
        ),
        [9],
    )
    assert (found["subject_mentions"], found["object_mentions"]) == (40_000, 2)
    assert (found["cooccurrence_pairs"], found["cooccurrence_pairs_w9"]) == (40_000, 10)


def test_entity_of_many_facts_is_paired_with_all_of_them(tmp_path: Path) -> None:
    """The entity may be on either side, and either side may have more facts."""
    texts = ["hub a0 a1 a2", "a3 hub hub", "a4", "hub"]
    corpus = write_corpus(tmp_path / "c.jsonl", records(texts))
    spokes: list[Forms] = [(f"a{i}",) for i in range(6)]
    pairs = [(("hub",), spoke) for spoke in spokes] + [(spoke, ("hub",)) for spoke in spokes]
    found = numbers(scan_facts([corpus], fact_table(pairs), windows=[1]), [1])
    assert found == oracles_numbers(texts, pairs, [1], reference.words)


@pytest.mark.parametrize("analyzer", ["words", "words-cased", "bytes", "hf"])
def test_every_analyzer_counts_like_its_index(analyzer: str, tmp_path: Path) -> None:
    texts = ["Paris is in France. paris, FRANCE", "Ｐａｒｉｓ e\u0301 É", "the Parisian, 東京 日本", "", "C++ + C"] * 3
    pairs: list[tuple[Forms, Forms]] = [
        (("Paris", "paris"), ("France",)),
        (("é", "É"), ("Paris",)),
        (("日本",), ("東京", "the")),
        (("C++",), ("C",)),
    ]
    if analyzer == "hf":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        analyzer = f"hf:{tmp_path / 'tokenizer.json'}"
    corpus = write_corpus(tmp_path / "c.jsonl", records(texts))
    scanned = scan_facts([corpus], fact_table(pairs), analyzer=analyzer, windows=[0, 3])
    check_same_table(scanned, index_table(tmp_path, [corpus], fact_table(pairs), [0, 3], analyzer=analyzer))
    if analyzer in reference.ANALYZERS:
        assert numbers(scanned, [0, 3]) == oracles_numbers(texts, pairs, [0, 3], reference.ANALYZERS[analyzer])
    assert sum(scanned["cooccurrence_pairs"].to_pylist()) > 0
    assert set(scanned["analyzer"].to_pylist()) == {get_analyzer(analyzer).label}


def test_columns_of_counted_facts_are_replaced(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", records(["a b"]))
    facts = facts_from_rows([{"subject": "a", "object": "b", "note": "n"}])
    old = scan_facts([write_corpus(tmp_path / "old.jsonl", records(["a a b", "b"]))], facts, windows=[7])
    table = scan_facts([corpus], old, windows=[2, 0, 2])
    assert table.column_names == [
        "subject",
        "object",
        "note",
        "subject_mentions",
        "object_mentions",
        "subject_documents",
        "object_documents",
        "cooccurrence_documents",
        "cooccurrence_pairs",
        "cooccurrence_documents_w2",
        "cooccurrence_pairs_w2",
        "cooccurrence_documents_w0",
        "cooccurrence_pairs_w0",
        "index",
        "index_digest",
        "analyzer",
        "exact",
        "corpus_digest",
    ]
    assert table.to_pylist()[0]["subject_mentions"] == 1


# ---------------------------------------------------------------------------------------------- several files

TEXTS = ["Paris in France", "Berlin in Germany, not Paris", "France France", "Germany", ""]
FACTS = fact_table([(("France",), ("Paris",)), (("Germany", "France"), ("Berlin",))])


def several_files(folder: Path) -> list[Path]:
    """Write files of every format, one of them with bad lines."""
    made = [
        write_corpus(folder / f"{number}{ending}", records(TEXTS[number:] + TEXTS))
        for number, ending in enumerate([".jsonl", ".json.gz", ".jsonl.zst", ".parquet"])
    ]
    bad = folder / "bad.jsonl"
    bad.write_text('{"text": "Paris France"}\nno JSON\n{"body": "x"}\n{"text": "Berlin Germany"}\n', encoding="utf-8")
    return [*made, bad]


def test_result_and_notices_do_not_depend_on_the_number_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LEAST_BYTES", 0)
    files = several_files(tmp_path)
    sizes = sum(file.stat().st_size for file in files)
    tables, all_notices = [], []
    for jobs in (1, 3):
        notices: list[str] = []
        done: list[tuple[int, int]] = []
        tables.append(
            scan_facts(
                files,
                FACTS,
                windows=[1],
                jobs=jobs,
                on_bad_line="skip",
                notice=notices.append,
                progress=lambda *at, done=done: done.append(at),  # type: ignore[misc]
            )
        )
        all_notices.append(sorted(notices))
        assert [part for part, _ in done] == sorted(part for part, _ in done)
        assert {total for _, total in done} == {sizes}
        assert [part for part, _ in done].count(sizes) == 1
    assert tables[0].equals(tables[1])
    assert all_notices[0] == all_notices[1]
    check_same_table(tables[0], index_table(tmp_path, files, FACTS, [1], on_bad_line="skip"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_line_fails_with_file_and_line_or_is_reported_and_skipped(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LEAST_BYTES", 0)
    files = several_files(tmp_path)
    with pytest.raises(InputError, match=r"bad\.jsonl, line 2"):
        scan_facts(files, FACTS, jobs=jobs)
    assert multiprocessing.active_children() == []
    notices: list[str] = []
    scan_facts(files, FACTS, jobs=jobs, on_bad_line="skip", notice=notices.append)
    assert [notice.partition(":")[0] for notice in notices] == [
        "bad.jsonl, line 2",
        "bad.jsonl, line 3",
        "2 bad lines skipped",
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt_stops_all_processes(jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEAST_BYTES", 0)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_facts(several_files(tmp_path), FACTS, jobs=jobs, on_bad_line="skip", progress=interrupt)
    assert multiprocessing.active_children() == []


def killed(_task: int, _on_bytes: Callable[[int], None], _notice: Callable[[str], None]) -> None:
    """A task whose process is killed, as if memory were short."""
    os.kill(os.getpid(), signal.SIGKILL)


def start_killed() -> processes.Work[int, None]:
    return killed


def test_killed_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEAST_BYTES", 0)
    results = processes.map_tasks(
        start_killed, [1, 2, 3], [1, 1, 1], jobs=2, progress=lambda *_: None, notice=lambda _: None
    )
    with pytest.raises(IndexerError, match=r"exit code -9.*--jobs"):
        list(results)
    assert multiprocessing.active_children() == []


# ---------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize("role", ["subject", "object"])
def test_name_without_tokens_error_names_the_row(role: str, tmp_path: Path) -> None:
    rows = [{"subject": f"s{n}", "object": f"o{n}"} for n in range(20)]
    rows[16][role] = "— !"
    corpus = write_corpus(tmp_path / "c.jsonl", records(["a"]))
    with pytest.raises(InputError, match=rf"\brow 17\b.*{role}.*'— !'"):
        scan_facts([corpus], facts_from_rows(rows))


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", records(["a"]))
    wrong: dict[str, dict[str, Any]] = {
        "wrods": {"analyzer": "wrods"},
        "-1": {"windows": [-1]},
        "stop": {"on_bad_line": "stop"},
        "body": {"text_field": "body"},
    }
    for value, options in wrong.items():
        with pytest.raises(InputError, match=value):
            scan_facts([corpus], FACTS, **options)
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(InputError, match=r"no documents in empty\.jsonl"):
        scan_facts([tmp_path / "empty.jsonl"], FACTS)
    with pytest.raises(InputError, match="twice"):
        scan_facts([corpus, corpus], FACTS)


# ---------------------------------------------------------------------------------------------- command line


def test_command_counts_like_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus"
    for number, text in enumerate(TEXTS):
        write_corpus(corpus / f"{number}.jsonl.gz", [{"body": text}])
    (tmp_path / "facts.jsonl").write_text(
        "".join(json.dumps({"subject": s, "object": o}) + "\n" for s, o in [("France", "paris"), ("Germany", "Peru")]),
        encoding="utf-8",
    )
    assert (
        main(
            [
                "index",
                "build",
                str(corpus),
                "--out",
                str(tmp_path / "ix"),
                "--text-field",
                "body",
                "--analyzer",
                "words-cased",
            ]
        )
        == 0
    )
    common = ["facts", "count", str(tmp_path / "facts.jsonl"), "--window", "1", "--window", "5"]
    assert main([*common, "--index", str(tmp_path / "ix"), "--out", str(tmp_path / "indexed.parquet")]) == 0
    capsys.readouterr()
    sources = map(str, sorted(corpus.iterdir()))
    options = ["--analyzer", "words-cased", "--jobs", "2", "--text-field", "body", "--on-bad-line", "skip"]
    assert main([*common, "--scan", *sources, *options, "--out", str(tmp_path / "scanned.parquet")]) == 0
    out, err = capsys.readouterr()
    assert "2 facts counted, 0 of them" in out
    assert "100%" in err
    check_same_table(pq.read_table(tmp_path / "scanned.parquet"), pq.read_table(tmp_path / "indexed.parquet"))


WRONG: dict[str, list[str]] = {
    "neither index nor scan": [],
    "index and scan": ["--index", "{tmp}/ix", "--scan", "{tmp}/c.jsonl"],
    "service and scan": ["--url", "http://127.0.0.1:9", "--scan", "{tmp}/c.jsonl"],
    "jobs of an index": ["--index", "{tmp}/ix", "--jobs", "2"],
    "text field of an index": ["--index", "{tmp}/ix", "--text-field", "body"],
    "policy of an index": ["--index", "{tmp}/ix", "--on-bad-line", "skip"],
    "no source": ["--scan"],
    "absent source": ["--scan", "{tmp}/absent"],
    "source of an unknown kind": ["--scan", "{tmp}/facts.csv"],
    "unknown analyzer": ["--scan", "{tmp}/c.jsonl", "--analyzer", "wrods"],
    "bad line": ["--scan", "{tmp}/bad.jsonl"],
    "field that no line has": ["--scan", "{tmp}/c.jsonl", "--text-field", "body"],
    "name without a token": ["--scan", "{tmp}/c.jsonl", "--analyzer", "words"],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_exits_2_with_one_line_on_stderr(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "c.jsonl", records(["a b"]))
    (tmp_path / "bad.jsonl").write_text("bad\n", encoding="utf-8")
    subject = "…" if name == "name without a token" else "a"
    (tmp_path / "facts.csv").write_text(f"subject,object\n{subject},b\n", encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = [argument.format(tmp=tmp_path) for argument in WRONG[name]]
    code = main(["facts", "count", str(tmp_path / "facts.csv"), *arguments, "--out", str(tmp_path / "o.csv")])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert "unexpected" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# ---------------------------------------------------------------------------------------------- real text


def test_every_count_of_real_facts_in_real_text_equals_the_oracle(real_data: Path, tmp_path: Path) -> None:
    corpus = sample(real_data, tmp_path, [SAMPLE[0], SAMPLE[1], SAMPLE[5]])
    oracle = corpus.oracle("words")
    rows = fact_rows(real_data, "country_capitals_aliases.csv", None) + fact_rows(real_data, "popqa.csv", 300)
    rows = [{name: row[name] for name in ("subject", "object", "subject_aliases", "object_aliases")} for row in rows]
    table = scan_facts(corpus.sources, read_facts(write_facts(tmp_path / "facts.csv", rows)), windows=WINDOWS, jobs=2)
    for row, found in zip(rows, numbers(table, WINDOWS), strict=True):
        forms = forms_of(row, "subject", "words"), forms_of(row, "object", "words")
        assert found == oracle.fact(*forms, WINDOWS), (row["subject"], row["object"])
    assert sum(count > 0 for count in table["cooccurrence_documents"].to_pylist()) > 50


@pytest.mark.full
@pytest.mark.parametrize("analyzer", ["words", "words-cased", "bytes"])
def test_every_count_of_all_facts_in_much_real_text_equals_the_index(
    analyzer: str, real_data: Path, tmp_path: Path
) -> None:
    """Uses original shards of every format, and one scan for all facts; with ``bytes``, only a few small shards."""
    names = ["c4-sample", "factbook", "simplewiki/v0/documents/simplewiki-0003.json.gz"]
    if analyzer != "bytes":
        names += ["parquet", "pile", "enwiki2015/v0/documents/enwiki2015-0003.json.gz"]
    sources = [real_data / "corpus" / name for name in names]
    build_index(sources, tmp_path / "ix", analyzer=analyzer, jobs=2)
    tokens = get_analyzer(analyzer).tokens
    tables = []
    for path in sorted((real_data / "facts").iterdir()):
        facts = read_facts(path)
        names_have_tokens = [
            bool(tokens(subject) and tokens(object_))
            for subject, object_ in zip(facts["subject"].to_pylist(), facts["object"].to_pylist(), strict=True)
        ]
        tables.append(
            facts.append_column("table", pa.array([path.name] * len(facts))).filter(pa.array(names_have_tokens))
        )
    facts = pa.concat_tables(tables, promote_options="default")
    scanned = scan_facts(sources, facts, analyzer=analyzer, windows=WINDOWS, jobs=2)
    with CountIndex.open(tmp_path / "ix") as index:
        check_same_table(scanned, index.count_facts(facts, windows=WINDOWS))
    together = scanned.filter(pc.field("cooccurrence_documents") > 0)["table"].to_pylist()
    assert min(together.count(path.name) for path in (real_data / "facts").iterdir()) > 20
