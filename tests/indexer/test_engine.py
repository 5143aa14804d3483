"""Compatibility with infini-gram: each engine opens indexes of the other, and the numbers are the same.

The engine is the PyPI package (extra ``engine``). The tests avoid two of its traps: words such as "table" in the path
of an index, and an end-of-sequence id that is not below ``vocab_size``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from factcensus.indexer import CountIndex, Entity, add_to_index, build_index, verify_index
from factcensus.indexer.analyzers import FixedAnalyzer, get_analyzer
from factcensus.indexer.errors import FactcensusError, IndexFormatError

from . import reference
from .corpora import engine_folder, fact_table, records, write_corpus
from .infini_gram_indexing import run_indexing
from .layout_reader import WIDTH, check_table, read_shards

infini_gram = pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

WORDS = ["Paris", "France", "Berlin", "Germany", "capital", "of", "the", "is", "é", "中文", "C++", "paris", "naïve"]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with engine_folder() as path:
        yield path


@pytest.fixture(scope="module")
def texts() -> list[str]:
    chance = random.Random(3)
    made = [" ".join(chance.choices(WORDS, k=chance.randrange(30))) for _ in range(400)]
    return [*made, "", "x", made[0], ""]


@pytest.fixture(scope="module")
def tokenizer_file(folder: Path, texts: list[str]) -> Path:
    """Write a byte-level BPE tokenizer of 400 ids that would add special tokens on request."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    assert tokenizer.encode("Paris").tokens[0] == "<s>"
    return path


def engine_of(folder: Path, token_dtype: str) -> Any:
    """Open infini-gram's engine on an index folder."""
    vocabulary = {"u8": 255, "u16": 65_535, "u32": 2**32 - 1}[token_dtype]
    return infini_gram.InfiniGramEngine(
        index_dir=str(folder), eos_token_id=0, vocab_size=vocabulary, version=4, token_dtype=token_dtype
    )


def ngrams(documents: Sequence[Sequence[int]], how_many: int) -> list[list[int]]:
    """Return random n-grams from the documents, and some that mostly do not occur."""
    chance = random.Random(5)
    long_enough = [document for document in documents if len(document) > 1]
    present = []
    for _ in range(how_many):
        document = chance.choice(long_enough)
        start = chance.randrange(len(document))
        present.append(list(document[start : start + chance.randrange(1, 6)]))
    ids = sorted({i for document in documents for i in document})
    return present + [chance.choices(ids, k=chance.randrange(1, 4)) for _ in range(how_many // 2)]


def occurrences_and_segments(folder: Path, width: int, ngram: Sequence[int]) -> tuple[int, list[tuple[int, int]]]:
    """Return by brute force the occurrences of an n-gram and its rows in each table."""
    needle = b"".join(i.to_bytes(width, "little") for i in ngram)
    total, segments = 0, []
    for shard in read_shards(folder, width):
        pointer_width = len(shard.table) // (len(shard.tokenized) // width)
        rows = [
            int.from_bytes(shard.table[at : at + pointer_width], "little")
            for at in range(0, len(shard.table), pointer_width)
        ]
        starts = [shard.tokenized[row : row + len(needle)] for row in rows]
        low = sum(start < needle for start in starts)
        hits = sum(start == needle for start in starts)
        total += hits
        segments.append((low, low + hits))
    return total, segments


@pytest.mark.parametrize("analyzer", ["bytes", "words", "hf"])
@pytest.mark.parametrize("shard_tokens", [None, 900])
def test_infini_gram_engine_reads_our_index_and_counts_the_same(
    analyzer: str, shard_tokens: int | None, folder: Path, texts: list[str], tokenizer_file: Path
) -> None:
    name = f"hf:{tokenizer_file}" if analyzer == "hf" else analyzer
    token_dtype = {"bytes": "u8", "hf": "u16", "words": "u32"}[analyzer]
    width = WIDTH[token_dtype]
    assert get_analyzer(name).token_dtype == token_dtype
    place = folder / f"ours-{analyzer}-{shard_tokens}"
    corpus = write_corpus(place / "c.jsonl", records(texts))
    build_index([corpus], place / "ix", analyzer=name, shard_tokens=shard_tokens, jobs=1, keep_text=True)
    shards = read_shards(place / "ix", width)
    assert len(shards) == 1 if shard_tokens is None else len(shards) > 3
    for shard in shards:
        check_table(shard, width)
    documents = [document for shard in shards for document in shard.documents]
    engine = engine_of(place / "ix", token_dtype)
    assert engine.count(input_ids=[])["count"] == sum(map(len, documents)) + len(documents)
    for ngram in ngrams(documents, 30):
        total, segments = occurrences_and_segments(place / "ix", width, ngram)
        assert engine.count(input_ids=ngram) == {"count": total, "approx": False}
        if len(shards) <= 10:  # otherwise the engine numbers the shards alphabetically
            assert engine.find(input_ids=ngram)["segment_by_shard"] == segments
    with CountIndex.open(place / "ix") as index:
        for text in ("Paris", "capital of", "é", "the is", "C++ paris", " of the", "x", "Pari", "中文 Paris"):
            ids = index.token_ids(text)
            theirs = 0 if ids is None else engine.count(input_ids=[int(i) for i in ids])["count"]
            assert theirs == index.count(text).occurrences
        assert index.token_ids("Paris") is not None


def test_hf_index_has_tokenizer_ids_without_special_tokens(
    folder: Path, texts: list[str], tokenizer_file: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))

    def ids_of(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    place = folder / "hf"
    corpus = write_corpus(place / "c.jsonl", records(texts))
    build_index([corpus], place / "ix", analyzer=f"hf:{tokenizer_file}", shard_tokens=2_000, jobs=2)
    ids = [list(document) for shard in read_shards(place / "ix", 2) for document in shard.documents]
    assert ids == [ids_of(text) for text in texts]
    documents = [reference.Document(row) for row in ids]
    queries = ["Paris", " Paris", "Paris is", " capital of", "é", "文", "zzz", "x", "Pa"]
    with CountIndex.open(place / "ix") as index:
        for query in queries:
            answer = index.count(query)
            numbers = {"occurrences": answer.occurrences, "documents": answer.documents}
            assert numbers == reference.count(documents, ids_of(query))
            assert len(answer.tokens) == len(ids_of(query))
        facts = [([" France", "France"], [" Paris", "Paris"]), ([" Berlin"], [" Germany", " capital of"])]
        rows = index.count_facts(fact_table(facts), windows=[0, 3]).to_pylist()
    for (subject, object_), row in zip(facts, rows, strict=True):
        # A name has several token sequences; test_variants.py shows that these are right.
        name_ids = cast(FixedAnalyzer, get_analyzer(f"hf:{tokenizer_file}")).name_ids
        forms = [[ids for name in names for ids in name_ids(name)] for names in (subject, object_)]
        expected = reference.fact(documents, *forms, [0, 3])
        assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("vocabulary", "token_dtype"), [(65_534, "u16"), (65_535, "u16"), (65_536, "u32"), (70_000, "u32")]
)
def test_token_ids_take_two_bytes_if_one_is_free_for_the_separator(
    vocabulary: int, token_dtype: str, tmp_path: Path
) -> None:
    words = {f"w{n}": n for n in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    analyzer = f"hf:{tmp_path / 'tokenizer.json'}"
    assert get_analyzer(analyzer).token_dtype == token_dtype
    last = f"w{vocabulary - 1}"
    corpus = write_corpus(tmp_path / "c.jsonl", records([f"{last} w1 {last}", f"w2 {last}", last]))
    build_index([corpus], tmp_path / "ix", analyzer=analyzer, jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count(last).occurrences == 4
        assert index.count(last).documents == 3
        assert index.count(f"{last} w1").occurrences == 1


def test_saved_truncation_and_padding_of_a_tokenizer_are_ignored(tokenizer_file: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(max_length=16)
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(tmp_path / "cut.json"))
    text = "Paris France Berlin " * 50 + "Germany"
    plain, cut = get_analyzer(f"hf:{tokenizer_file}"), get_analyzer(f"hf:{tmp_path / 'cut.json'}")
    assert cut.tokens(text) == plain.tokens(text)
    assert cut.tokens("Paris") == plain.tokens("Paris")
    corpus = write_corpus(tmp_path / "c.jsonl", records([text, "Paris"]))
    build_index([corpus], tmp_path / "ix", analyzer=f"hf:{tmp_path / 'cut.json'}", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count(" Germany").documents == 1
        assert index.info().tokens == len(plain.tokens(text)) + len(plain.tokens("Paris"))


def test_index_opens_after_its_tokenizer_file_is_gone(folder: Path, texts: list[str], tokenizer_file: Path) -> None:
    """The folder contains the whole index, so it can be copied to another machine."""
    place = folder / "copied"
    copy = place / "t.json"
    copy.parent.mkdir()
    copy.write_bytes(tokenizer_file.read_bytes())
    corpus = write_corpus(place / "c.jsonl", records(texts))
    build_index([corpus], place / "ix", analyzer=f"hf:{copy}", jobs=1)
    with CountIndex.open(place / "ix") as index:
        before = index.count("Paris")
    copy.unlink()
    (place / "ix").rename(place / "moved")
    with CountIndex.open(place / "moved", name="ix") as index:
        assert replace(index.count("Paris"), analyzer=before.analyzer) == before


# ---------------------------------------------------------------------------------------------- what infini-gram built


def infini_gram_index(place: Path, texts: Sequence[str], *options: str) -> Path:
    """Run infini-gram's indexer with one processor and no tokenizer."""
    sources = ["wiki" if number % 2 else "web" for number in range(len(texts))]
    write_corpus(place / "data" / "c.jsonl", records(texts, sources))
    out = place / "theirs"
    run_indexing(place / "data", out, *options)
    return out


@pytest.fixture(scope="module")
def theirs(folder: Path, texts: list[str]) -> Path:
    return infini_gram_index(folder / "infini-gram", texts, "--token_dtype", "u8", "--shards", "2", "--add_metadata")


@pytest.fixture(scope="module")
def theirs_single(folder: Path, texts: list[str]) -> Path:
    return infini_gram_index(folder / "single", texts, "--token_dtype", "u8")


def test_infini_gram_index_is_opened_and_counted(theirs: Path, texts: list[str]) -> None:
    documents = [reference.Document(reference.utf8_bytes(text)) for text in texts]
    queries = ["Paris", "P", "capital of", "é", "\u00e9 ", "中", "C++", "zzz", " ", "France is the"]
    engine = engine_of(theirs, "u8")
    with CountIndex.open(theirs, analyzer="bytes") as index:
        for query in queries:
            ngram = reference.utf8_bytes(query)
            answer = index.count(query)
            assert {"occurrences": answer.occurrences, "documents": answer.documents} == reference.count(
                documents, ngram
            )
            assert engine.count(input_ids=ngram)["count"] == answer.occurrences
        for one, other in pairwise(query for query in queries if query.strip()):
            expected = reference.fact(documents, [reference.utf8_bytes(one)], [reference.utf8_bytes(other)], [4])
            answer = index.cooccurrence(Entity(one), Entity(other), window=4)
            assert answer.subject.mentions == expected["subject_mentions"]
            assert answer.cooccurrence.as_json() == {
                "documents": expected["cooccurrence_documents_w4"],
                "pairs": expected["cooccurrence_pairs_w4"],
            }
            row = index.count_facts(fact_table([([one], [other])]), windows=[4]).to_pylist()[0]
            assert {name: row[name] for name in expected} == expected
        assert index.info().documents == len(texts)
        assert index.info().tokens == sum(len(text.encode()) for text in texts)
    verify_index(theirs)


def test_our_shard_files_equal_those_of_infini_gram(theirs_single: Path, texts: list[str], folder: Path) -> None:
    corpus = write_corpus(folder / "same" / "c.jsonl", records(texts))
    build_index([corpus], folder / "same" / "ix", analyzer="bytes", jobs=1)
    for name in ("tokenized.0", "offset.0", "table.0"):
        assert (folder / "same" / "ix" / name).read_bytes() == (theirs_single / name).read_bytes(), name


def test_our_table_of_two_byte_tokens_equals_that_of_infini_gram(
    folder: Path, texts: list[str], tokenizer_file: Path
) -> None:
    """Run infini-gram's second step on the tokens and offsets of our index."""
    place = folder / "second-step"
    corpus = write_corpus(place / "data" / "c.jsonl", records(texts))
    build_index([corpus], place / "ix", analyzer=f"hf:{tokenizer_file}", jobs=1)
    out = place / "theirs"
    out.mkdir()
    for name in ("tokenized.0", "offset.0"):
        (out / name).write_bytes((place / "ix" / name).read_bytes())
    run_indexing(place / "data", out, "--token_dtype", "u16")
    assert (place / "ix" / "table.0").read_bytes() == (out / "table.0").read_bytes()


def test_infini_gram_index_needs_a_named_analyzer(theirs: Path) -> None:
    """Token ids of one byte can only be bytes; all others need a named analyzer."""
    with CountIndex.open(theirs) as index:
        assert index.count("Paris").analyzer.startswith("bytes")
    with pytest.raises(FactcensusError):
        CountIndex.open(theirs, analyzer="words").count("Paris")


def test_infini_gram_index_is_read_only(theirs: Path, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    more = write_corpus(folder / "more.jsonl", records(["Paris"]))
    with pytest.raises(FactcensusError):
        add_to_index(theirs, [more], jobs=1)
    with CountIndex.open(theirs, analyzer="bytes") as index:
        index.count("Paris")
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before


def test_counts_by_source_in_an_infini_gram_index_are_refused(theirs_single: Path) -> None:
    with CountIndex.open(theirs_single, analyzer="bytes") as index:
        with pytest.raises(FactcensusError, match=r"source|document"):
            index.count("Paris", by="source")
        with pytest.raises(FactcensusError, match=r"source|document"):
            index.cooccurrence(Entity("Paris"), Entity("France"), by="source")


def test_truncated_files_of_an_infini_gram_index_are_refused(theirs_single: Path, folder: Path) -> None:
    for number, (name, cut) in enumerate([("table.0", 1), ("table.0", 40), ("offset.0", 8), ("offset.0", 3)]):
        copy = folder / f"cut-{number}"
        copy.mkdir()
        for path in theirs_single.iterdir():
            if path.is_file():
                content = path.read_bytes()
                (copy / path.name).write_bytes(content[:-cut] if path.name == name else content)
        if (name, cut) == ("offset.0", 8):
            continue  # one document fewer is a possible index; only a checksum could tell
        with pytest.raises(IndexFormatError, match=name.replace(".", r"\.")):
            CountIndex.open(copy, analyzer="bytes")
    missing = folder / "without-offsets"
    missing.mkdir()
    for name in ("tokenized.0", "table.0"):
        (missing / name).write_bytes((theirs_single / name).read_bytes())
    with pytest.raises(IndexFormatError, match=r"offset\.0"):
        CountIndex.open(missing, analyzer="bytes")


def test_offsets_and_tokens_that_do_not_belong_together_are_refused(theirs_single: Path, folder: Path) -> None:
    """The engine would read beyond the end of the file."""
    files = {name: (theirs_single / name).read_bytes() for name in ("tokenized.0", "offset.0", "table.0")}
    size = len(files["tokenized.0"])
    last_behind_the_end = files["offset.0"][:-8] + size.to_bytes(8, "little")
    first_not_at_the_start = (1).to_bytes(8, "little") + files["offset.0"][8:]
    no_separator_first = b"P" + files["tokenized.0"][1:]
    for number, (name, content) in enumerate(
        [("offset.0", last_behind_the_end), ("offset.0", first_not_at_the_start), ("tokenized.0", no_separator_first)]
    ):
        copy = folder / f"unfitting-{number}"
        copy.mkdir()
        for each, original in files.items():
            (copy / each).write_bytes(content if each == name else original)
        with pytest.raises(IndexFormatError, match=r"offset\.0|tokenized\.0"):
            CountIndex.open(copy, analyzer="bytes")


def test_wrong_order_in_an_infini_gram_table_is_found(theirs_single: Path, folder: Path) -> None:
    copy = folder / "swapped"
    copy.mkdir()
    for name in ("tokenized.0", "offset.0", "table.0"):
        (copy / name).write_bytes((theirs_single / name).read_bytes())
    table = bytearray((copy / "table.0").read_bytes())
    width = 2 if (copy / "tokenized.0").stat().st_size <= 1 << 16 else 3
    table[:width], table[-width:] = table[-width:], table[:width]
    (copy / "table.0").write_bytes(table)
    with pytest.raises(FactcensusError, match=r"table\.0"):
        verify_index(copy)


def test_infini_gram_metadata_is_one_json_object_per_line(theirs: Path) -> None:
    """The fixture relies on this layout, which the docs describe."""
    first = (theirs / "metadata.0").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(first)["metadata"]["source"] == "web"
