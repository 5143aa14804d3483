"""Reading corpus files of every format and shape, including damaged ones."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from factcensus.indexer import CountIndex, Scope, build_index
from factcensus.indexer.building import assembly
from factcensus.indexer.corpus import find_source_files, read_documents
from factcensus.indexer.errors import FactcensusError, InputError

from .corpora import write_bytes, write_corpus

ENDINGS = [".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst", ".parquet"]
DOLMA = [
    {"id": "1", "text": "Paris is in France", "source": "wiki", "added": "2020", "metadata": {"title": "Paris"}},
    {"id": "2", "text": "München – “Bayern”\nline two", "source": "web"},
    {"id": "3", "text": "", "source": "wiki"},
]
PILE = [
    {"text": "Paris is in France", "meta": {"pile_set_name": "Wikipedia (en)"}},
    {"text": "München Bayern", "meta": {"pile_set_name": "Pile-CC"}},
    {"text": "", "meta": {"pile_set_name": "Wikipedia (en)"}},
]


def build(source: Path | list[Path], out: Path, **options: Any) -> CountIndex:
    build_index(source if isinstance(source, list) else [source], out, **{"jobs": 1} | options)
    return CountIndex.open(out)


def by_source(index: CountIndex, text: str) -> dict[str, int]:
    """Return occurrences by source, without sources that have none."""
    parts = index.count(text, by="source").groups
    return {name: part.occurrences for name, part in parts.items() if part.occurrences}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_read_with_its_text_source_and_documents(ending: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / f"c{ending}", DOLMA)
    with build(corpus, tmp_path / "ix") as index:
        assert index.info().documents == 3
        assert index.count("bayern line").occurrences == 1
        assert by_source(index, "Paris") == {"wiki": 1}
        assert by_source(index, "münchen") == {"web": 1}
        assert index.info().sources["wiki"].documents == 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_source_of_a_pile_document_is_its_pile_set_name(ending: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / f"c{ending}", PILE)
    with build(corpus, tmp_path / "ix") as index:
        assert by_source(index, "France") == {"Wikipedia (en)": 1}
        assert by_source(index, "Bayern") == {"Pile-CC": 1}


def test_source_field_precedes_the_pile_set_name(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": "a", "source": "s", "meta": {"pile_set_name": "p"}}])
    with build(corpus, tmp_path / "ix") as index:
        assert by_source(index, "a") == {"s": 1}


@pytest.mark.parametrize("escape", [False, True])
def test_escaped_and_plain_characters_are_the_same(escape: bool, tmp_path: Path) -> None:
    texts = ["naïve 東京 𝐀 😀 😀x \u2028 y", 'quote " backslash \\ slash / tab \t']
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": text} for text in texts], escape=escape)
    with build(corpus, tmp_path / "ix", analyzer="bytes") as index:
        for text in texts:
            assert index.count(text).occurrences == 1
        assert index.info().tokens == sum(len(text.encode()) for text in texts)


def test_folder_is_read_with_all_its_subfolders_and_formats(tmp_path: Path) -> None:
    for number, ending in enumerate(ENDINGS):
        write_corpus(tmp_path / "corpus" / f"deep/er-{number}" / f"part{ending}", [{"text": f"common only{number}"}])
    (tmp_path / "corpus" / "README.md").write_text("common", encoding="utf-8")
    (tmp_path / "corpus" / ".hidden").write_text("common", encoding="utf-8")
    with build(tmp_path / "corpus", tmp_path / "ix") as index:
        counts = index.count("common")
        assert (counts.occurrences, counts.documents) == (7, 7)
        for number in range(7):
            assert index.count(f"only{number}").occurrences == 1


def test_several_sources_are_read_in_order(tmp_path: Path) -> None:
    one = write_corpus(tmp_path / "z.jsonl", [{"text": "first"}])
    other = write_corpus(tmp_path / "a.parquet", [{"text": "second"}])
    with build([one, other], tmp_path / "ix"):
        assert pq.read_table(tmp_path / "ix/documents.0.parquet")["tokens"].to_pylist() == [1, 1]
    # the first word of the first file is first in tokenized.0
    with build([other, one], tmp_path / "iy", analyzer="bytes"):
        content = (tmp_path / "iy/tokenized.0").read_bytes()
    assert content == b"\xffsecond\xfffirst"


def test_fsspec_url_is_read(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl.gz", DOLMA)
    build_index([corpus.as_uri()], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.info().documents == 3


def test_fsspec_memory_urls_are_read(tmp_path: Path) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    with filesystem.open("/factcensus-test/c.jsonl", "wb") as file:
        file.write(b'{"text": "in memory"}\n')
    build_index(["memory://factcensus-test/c.jsonl"], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("in memory").occurrences == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_field_may_have_another_name(ending: str, tmp_path: Path) -> None:
    documents = [{"content": "Paris", "text": "decoy"}, {"content": "x", "text": "y"}]
    corpus = write_corpus(tmp_path / f"c{ending}", documents)
    with build(corpus, tmp_path / "ix", text_field="content") as index:
        assert index.count("Paris").occurrences == 1
        assert index.count("decoy").occurrences == 0


# ---------------------------------------------------------------------------------------------- whole lines, odd lines


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"text": "a"}\r\n{"text": "b a"}\r\n',
        b'\xef\xbb\xbf{"text": "a"}\n{"text": "b a"}\n',
        b'\n{"text": "a"}\n\n  \n\r\n{"text": "b a"}\n\n',
        b'{"text": "a"}\n{"text": "b a"}',
        b'  {"text": "a"}\n\t{"text": "b a"}  \n',
        b'{"n": 1e400, "text": "a"}\n{"text": "b a", "big": 123456789012345678901234567890}\n',
        '{"text": "a", "x": "\\u2028 \u2028 \x85"}\n{"text": "b a"}\n'.encode(),
    ],
    ids=["CRLF", "BOM", "blank lines", "no newline at the end", "indented", "huge numbers", "other line separators"],
)
def test_lines_are_split_as_in_json_lines(content: bytes, ending: str, tmp_path: Path) -> None:
    corpus = write_bytes(tmp_path / f"c{ending}", content)
    with build(corpus, tmp_path / "ix") as index:
        assert index.info().documents == 2
        assert index.count("a").occurrences == 2
        assert index.count("b a").occurrences == 1


def test_text_with_carriage_returns_and_nul_is_kept(tmp_path: Path) -> None:
    text = "line\r\nnext\x00nul\x1fend"
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": text}])
    with build(corpus, tmp_path / "ix", analyzer="bytes"):
        assert (tmp_path / "ix/tokenized.0").read_bytes() == b"\xff" + text.encode()


def test_several_gzip_members_and_zstandard_frames_are_all_read(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"common w{n}"}).encode() + b"\n" for n in range(3)]
    (tmp_path / "c.jsonl.gz").write_bytes(b"".join(map(gzip.compress, lines)))
    (tmp_path / "d.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, lines)))
    with build([tmp_path / "c.jsonl.gz", tmp_path / "d.jsonl.zst"], tmp_path / "ix") as index:
        assert index.count("common").documents == 6


def test_line_of_several_megabytes_and_many_short_ones_are_read(tmp_path: Path) -> None:
    long = "word " * 600_000
    documents = [{"text": "x"}] * 5_000 + [{"text": long}] + [{"text": "x y"}] * 5_000
    corpus = write_corpus(tmp_path / "c.jsonl.zst", documents)
    with build(corpus, tmp_path / "ix") as index:
        assert index.count("x").documents == 10_000
        assert index.count("x y").occurrences == 5_000
        assert index.count("word word").occurrences == 599_999
        assert index.info().documents == 10_001


#: Lines that are not documents, by the reason.
BAD_LINES = {
    "no JSON": b"this is not JSON",
    "cut off": b'{"text": "a',
    "no object": b'["text", "a"]',
    "null": b"null",
    "no text": b'{"id": "1", "body": "a"}',
    "text is a number": b'{"text": 5}',
    "text is null": b'{"text": null}',
    "text is a list": b'{"text": ["a"]}',
    "no UTF-8": b'{"text": "caf\xe9"}',
    "two documents": b'{"text": "a"} {"text": "b"}',
}


def bad_corpus(tmp_path: Path, ending: str, bad: bytes) -> Path:
    return write_bytes(tmp_path / f"c{ending}", b'{"text": "good one"}\n\n' + bad + b'\n{"text": "good two"}\n')


@pytest.mark.parametrize("ending", [".jsonl", ".json.gz", ".jsonl.zst"])
@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_line_stops_the_build_with_file_and_line(name: str, ending: str, tmp_path: Path) -> None:
    """Line numbers count every line of the file from 1, including blank ones."""
    corpus = bad_corpus(tmp_path, ending, BAD_LINES[name])
    with pytest.raises(InputError) as raised:
        build_index([corpus], tmp_path / "ix", jobs=1)
    message = str(raised.value)
    assert corpus.name in message
    assert "line 3" in message or f"{corpus.name}:3" in message


@pytest.mark.parametrize("ending", [".jsonl", ".json.gz", ".jsonl.zst"])
@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_lines_are_skipped_and_counted_when_asked(name: str, ending: str, tmp_path: Path) -> None:
    corpus = bad_corpus(tmp_path, ending, BAD_LINES[name])
    with build(corpus, tmp_path / "ix", on_bad_line="skip") as index:
        info = index.info()
        assert info.documents == 2
        assert index.count("good").documents == 2
        assert info.skipped_lines == 1


def test_missing_text_field_names_the_field(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"body": "a"}])
    with pytest.raises(InputError, match="text"):
        build_index([corpus], tmp_path / "ix", jobs=1)
    with pytest.raises(InputError, match="wrong"):
        build_index([corpus], tmp_path / "iy", jobs=1, text_field="wrong")


def test_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "\\ud83d\\ude00"}\n')
    with build(tmp_path / "c.jsonl", tmp_path / "ix", analyzer="bytes") as index:
        assert index.count("😀").occurrences == 1


def test_lone_surrogates_become_the_replacement_character(tmp_path: Path) -> None:
    """JSON allows them and UTF-8 does not; real corpora have some, and one line must not stop a build."""
    line = b'{"text": "x \\ud800 y\\udc00\\ud83d\\ude00", "source": "s\\ud800", "k": "\\udfff"}\n'
    (tmp_path / "c.jsonl").write_bytes(line)
    with build(tmp_path / "c.jsonl", tmp_path / "ix", analyzer="bytes"):
        assert (tmp_path / "ix/tokenized.0").read_bytes() == b"\xff" + "x \ufffd y\ufffd😀".encode()
    with build(tmp_path / "c.jsonl", tmp_path / "iy") as index:
        assert index.count("x y").occurrences == 1


def test_numbers_written_only_by_python_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "a", "score": NaN, "low": -Infinity}\n')
    with build(tmp_path / "c.jsonl", tmp_path / "ix") as index:
        assert index.count("a").occurrences == 1


# ---------------------------------------------------------------------------------------------- damaged and empty files


@pytest.mark.parametrize("on_bad_line", ["fail", "skip"])
@pytest.mark.parametrize(("ending", "compress"), [(".jsonl.gz", gzip.compress), (".jsonl.zst", zstandard.compress)])
def test_truncated_compressed_file_is_refused_by_name(
    ending: str, compress: Callable[[bytes], bytes], on_bad_line: Any, tmp_path: Path
) -> None:
    """This also holds if bad lines are skipped, because an unknown part of the file is missing."""
    lines = b"".join(json.dumps({"text": f"word{n} {n * 7919 % 1009}"}).encode() + b"\n" for n in range(2_000))
    content = compress(lines)
    for number, kept in enumerate((len(content) // 2, len(content) - 9, len(content) - 1)):
        corpus = tmp_path / f"c{number}{ending}"
        corpus.write_bytes(content[:kept])
        with pytest.raises(FactcensusError, match=corpus.name.replace(".", r"\.")):
            build_index([corpus], tmp_path / f"ix{number}", jobs=1, on_bad_line=on_bad_line)
        assert not (tmp_path / f"ix{number}").exists()


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_file_that_does_not_match_its_ending_is_refused_by_name(ending: str, tmp_path: Path) -> None:
    corpus = tmp_path / f"c{ending}"
    corpus.write_bytes(b'{"text": "plain"}\n')
    with pytest.raises(FactcensusError, match=corpus.name.replace(".", r"\.")):
        build_index([corpus], tmp_path / "ix", jobs=1)


def test_truncated_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.parquet", [{"text": f"word {n}"} for n in range(1_000)])
    corpus.write_bytes(corpus.read_bytes()[:-100])
    with pytest.raises(FactcensusError, match=r"c\.parquet"):
        build_index([corpus], tmp_path / "ix", jobs=1)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_empty_file_next_to_others_has_no_documents(content: bytes, ending: str, tmp_path: Path) -> None:
    write_bytes(tmp_path / f"corpus/empty{ending}", content)
    write_corpus(tmp_path / "corpus/full.jsonl", [{"text": "a"}])
    with build(tmp_path / "corpus", tmp_path / "ix") as index:
        assert index.info().documents == 1


def test_empty_corpus_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "c.jsonl", tmp_path / "folder", tmp_path / "absent.jsonl", tmp_path / "absent"):
        with pytest.raises(InputError, match=source.name.replace(".", r"\.")):
            build_index([source], tmp_path / "ix", jobs=1)
        assert not (tmp_path / "ix").exists()


def test_documents_without_text_make_an_index_that_counts_zero(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": ""}, {"text": " … "}])
    with build(corpus, tmp_path / "ix") as index:
        assert index.info().documents == 2
        assert index.info().tokens == 0
        counts = index.count("a")
        assert (counts.occurrences, counts.documents) == (0, 0)


def test_unknown_ending_error_lists_the_known_endings(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a", encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.txt") as raised:
        build_index([tmp_path / "c.txt"], tmp_path / "ix", jobs=1)
    assert ".jsonl" in str(raised.value)
    assert ".parquet" in str(raised.value)


# ---------------------------------------------------------------------------------------------- Parquet


def test_null_text_in_parquet_is_a_bad_row_with_its_number(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet.*\b2\b"):
        build_index([tmp_path / "c.parquet"], tmp_path / "ix", jobs=1)
    with build(tmp_path / "c.parquet", tmp_path / "iy", on_bad_line="skip") as index:
        assert index.info().documents == 2
        assert index.info().skipped_lines == 1


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_all_string_types_of_parquet_are_text(type_: pa.DataType, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array(["a b", "é"]).cast(type_)}), tmp_path / "c.parquet")
    with build(tmp_path / "c.parquet", tmp_path / "ix") as index:
        assert index.count("é").occurrences == 1


def test_dictionary_encoded_text_and_source_are_read(tmp_path: Path) -> None:
    columns = {"text": ["a b", "a b", "c"], "source": ["x", "y", "x"]}
    table = pa.table({name: pa.array(values).dictionary_encode() for name, values in columns.items()})
    pq.write_table(table, tmp_path / "c.parquet")
    with build(tmp_path / "c.parquet", tmp_path / "ix") as index:
        assert by_source(index, "a") == {"x": 1, "y": 1}


def test_missing_parquet_text_column_error_names_column_and_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet") as raised:
        build_index([tmp_path / "c.parquet"], tmp_path / "ix", jobs=1)
    assert "text" in str(raised.value)


def test_parquet_text_of_another_type_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet"):
        build_index([tmp_path / "c.parquet"], tmp_path / "ix", jobs=1)


def test_all_row_groups_of_a_parquet_file_are_read(tmp_path: Path) -> None:
    table = pa.table({"text": [f"common w{n}" for n in range(2_500)]})
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=300)
    with build(tmp_path / "c.parquet", tmp_path / "ix") as index:
        assert index.count("common").documents == 2_500
        assert index.count("common w2499").documents == 1


def test_empty_parquet_file_next_to_others_has_no_documents(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "corpus/empty.parquet")
    write_corpus(tmp_path / "corpus/full.jsonl", [{"text": "a"}])
    with build(tmp_path / "corpus", tmp_path / "ix") as index:
        assert index.info().documents == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_line_is_reported_from_every_process(jobs: int, tmp_path: Path) -> None:
    for number in range(4):
        write_corpus(tmp_path / f"corpus/{number}.jsonl", [{"text": "fine"}] * 10)
    (tmp_path / "corpus/2.jsonl").write_bytes(b'{"text": "fine"}\n' * 6 + b"{bad\n")
    with pytest.raises(InputError, match=r"2\.jsonl.*\b7\b"):
        build_index([tmp_path / "corpus"], tmp_path / "ix", jobs=jobs)


# ------------------------------------------------------------------------------------------------------- hard cases


def test_metadata_written_only_by_python_can_be_queried(tmp_path: Path) -> None:
    """A single lone surrogate or NaN would prevent DuckDB from reading the metadata of all documents."""
    lines = [
        b'{"text": "a", "lang": "x\\ud800", "score": NaN, "list": ["\\ud800", {"k\\udfff": Infinity}]}\n',
        b'{"text": "a", "lang": "en", "huge": 123456789012345678901234567890}\n',
        b'{"text": "a", "lang": "en", "huge": 123456789012345678901234567890, "s": "\\ud800"}\n',
    ]
    (tmp_path / "c.jsonl").write_bytes(b"".join(lines))
    with build(tmp_path / "c.jsonl", tmp_path / "ix") as index:
        by_lang = index.count("a", by="lang").groups
        assert {name: part.documents for name, part in by_lang.items()} == {"x\ufffd": 1, "en": 2}
        assert index.count("a", scope=Scope(where="metadata ->> '$.lang' = 'en'")).documents == 2
        (first, *_) = index.find_documents(text="a").documents
        assert first.metadata == {"lang": "x\ufffd", "score": None, "list": ["\ufffd", {"k\ufffd": None}]}


@pytest.mark.parametrize("column", ["text", "note"])
def test_parquet_row_that_is_not_utf8_is_a_bad_row(column: str, tmp_path: Path) -> None:
    starts, content = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")
    table = pa.table({"text": ["a", "a", "b"]} | {column: pa.StringArray.from_buffers(3, starts, content)})
    pq.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet, line 2: unreadable value"):
        build(tmp_path / "c.parquet", tmp_path / "ix")
    with build(tmp_path / "c.parquet", tmp_path / "iy", on_bad_line="skip") as index:
        assert index.info().documents == 2
        assert index.info().skipped_lines == 1


def test_date_out_of_range_for_python_is_a_bad_row(tmp_path: Path) -> None:
    dates = pa.array([0, 2**50], pa.timestamp("s"))
    pq.write_table(pa.table({"text": ["a", "b"], "added": dates}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet, line 2"):
        build(tmp_path / "c.parquet", tmp_path / "ix")


def test_damaged_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    """Any bits may be flipped; page checksums, if present, find errors that decompression does not."""
    rows = {"text": [f"word{i} " * 5 for i in range(400)], "id": [str(i) for i in range(400)]}
    pq.write_table(pa.table(rows), tmp_path / "intact.parquet", write_page_checksum=True)
    intact = (tmp_path / "intact.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(intact)
    (file,) = find_source_files([tmp_path / "c.parquet"])
    expected = [document.text for document in read_documents(file)]
    assert len(expected) == 400
    rng = random.Random(0)
    refused: list[str] = []
    for _ in range(150):
        damaged = bytearray(intact)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (tmp_path / "c.parquet").write_bytes(damaged)
        try:
            read = [document.text for document in read_documents(file, on_bad_line="skip")]
        except InputError as error:
            refused.append(str(error))
        else:  # in statistics, the name of the writer and so on
            assert read == expected
    assert len(refused) > 75
    assert all(message.startswith("c.parquet: ") for message in refused)


def test_rows_of_large_documents_are_read_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand books would exceed the memory limit of a process."""
    sizes = []
    iter_batches = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, *arguments: Any) -> Any:
        for batch in iter_batches(self, *arguments):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    books = [random.Random(i).randbytes(1 << 20).hex() for i in range(12)]
    pq.write_table(pa.table({"text": books}), tmp_path / "c.parquet")
    (file,) = find_source_files([tmp_path / "c.parquet"])
    assert [document.text.decode() for document in read_documents(file)] == books
    assert sum(sizes) == 12
    assert max(sizes) <= 8


def test_zstandard_with_a_long_window_is_read(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "c.jsonl.zst").write_bytes(stream.compress(b'{"text": "a b"}\n') + stream.flush())
    with build(tmp_path / "c.jsonl.zst", tmp_path / "ix") as index:
        assert index.count("a b").occurrences == 1


def test_very_many_bad_lines_are_all_counted_and_only_some_listed(tmp_path: Path) -> None:
    corpus = write_bytes(tmp_path / "c.jsonl", b'{"text": "a"}\n' + b"bad\n" * 5000)
    told: list[str] = []
    with build(corpus, tmp_path / "ix", on_bad_line="skip", notice=told.append) as index:
        assert index.info().skipped_lines == 5000
    assert len(told) == 21
    assert told[0].startswith("c.jsonl, line 2: not valid JSON")
    assert told[-1] == "c.jsonl: further bad lines are counted but not listed"


def test_index_inside_the_corpus_folder_is_not_part_of_the_corpus(tmp_path: Path) -> None:
    """This holds for finished and unfinished indexes, also when a build continues."""
    write_corpus(tmp_path / "c.jsonl", [{"text": "a"}])
    told: list[str] = []
    for out in (tmp_path / "one", tmp_path / "two"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(assembly, "write_states", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                build_index([tmp_path], out, jobs=1)
        with build(tmp_path, out, notice=told.append) as index:
            assert index.info().documents == 1
    found = "left out in {folder}: {names} (an index, not a corpus)"
    assert told == [found.format(folder=tmp_path, names=names) for names in ("one.building", "one, two.building")]
