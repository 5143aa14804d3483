"""The files of a corpus and the notices about others; nested fields, exact numbers, long and deep lines."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, Scope, add_to_index, build_index, delete_documents
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.cli import main
from factcensus.indexer.corpus import LineLimit, find_source_files, read_documents, streams
from factcensus.indexer.counting.scan import scan_facts
from factcensus.indexer.errors import FactcensusError, InputError

from .corpora import fact_table, write_bytes, write_corpus

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
LINE = b'{"text": "a"}\n'


def documents(*sources: Path | str, **options: Any) -> list[str]:
    """Return the texts of sources."""
    return [each.text.decode() for file in find_source_files(sources) for each in read_documents(file, **options)]


def names(*sources: Path | str) -> tuple[list[str], list[str]]:
    """Return the names of the files found, and the notices about others."""
    told: list[str] = []
    return [file.name for file in find_source_files(sources, notice=told.append)], told


def ids_of(folder: Path) -> list[str | None]:
    return pq.read_table(folder / "documents.0.parquet")["id"].to_pylist()


# ---------------------------------------------------------------------------------------------- which files


@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json", ".JSONL", ".Json"])
@pytest.mark.parametrize("compression", [*COMPRESS, ".GZ", ".Xz"])
def test_every_ending_is_read_in_upper_and_lower_case(kind: str, compression: str, tmp_path: Path) -> None:
    content = COMPRESS[compression.lower()](b'{"text": "a"}\n{"text": "b"}\n')
    (tmp_path / f"c{kind}{compression}").write_bytes(content)
    assert documents(tmp_path) == documents(tmp_path / f"c{kind}{compression}") == ["a", "b"]


def test_parquet_ending_is_read_in_upper_and_lower_case(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "c.PARQUET")
    assert documents(tmp_path) == ["a"]


def test_files_of_other_kinds_are_counted_by_ending(tmp_path: Path) -> None:
    for name in ("a.jsonl", "README.md", "b.TXT", "deep/c.txt", "LICENSE", "d.csv.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINE)
    found, told = names(tmp_path)
    assert found == ["a.jsonl"]
    assert told == [f"left out in {tmp_path}: 5 files of other kinds (1 .gz, 1 .md, 2 .txt, 1 no ending)"]


def test_hidden_names_and_foreign_metadata_are_left_out_and_listed(tmp_path: Path) -> None:
    left_out = {
        "the name begins with . or _": [".hidden.jsonl", "_SUCCESS.json", "_delta_log", ".cache"],
        "metadata of Hugging Face's datasets": ["dataset_infos.json", "dataset_info.json", "v/state.json"],
        "a JSON array, not JSON Lines": ["array.json", "array2.json.gz", "v/array3.json.zst"],
        "one JSON object spread over several lines, not JSON Lines": ["config.json"],
    }
    for reason, names_left_out in left_out.items():
        for name in names_left_out:
            inside = f"{name}/00.json" if "." not in name[1:] else name
            content = {"a J": b' \n[{"text": "a"}]', "one": b'{\n "text": "a"\n}'}.get(reason[:3], LINE)
            write_bytes(tmp_path / inside, content)
    write_bytes(tmp_path / "v/part.json.gz", b'{"text": "a"}')
    found, told = names(tmp_path)
    assert found == ["v/part.json.gz"]
    assert sorted(told) == sorted(
        f"left out in {tmp_path}: {', '.join(sorted(each))} ({reason})" for reason, each in left_out.items()
    )


@pytest.mark.parametrize("name", ["c.json", "c.json.gz", "c.json.xz"])
@pytest.mark.parametrize(("begin", "what"), [(b"[", "JSON array"), (b'{\n"text": "a"}', "spread over several lines")])
def test_named_file_that_is_not_json_lines_is_refused(name: str, begin: bytes, what: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(COMPRESS[file.suffix if file.suffix != ".json" else ""](begin))
    with pytest.raises(InputError, match=rf"{name} is .*{what}.*jq"):
        build_index([file], tmp_path / "ix", jobs=1)


@pytest.mark.parametrize("compression", [".gz", ".zst", ".xz", ".bz2"])
def test_array_after_an_empty_frame_is_recognised(compression: str, tmp_path: Path) -> None:
    compress = COMPRESS[compression]
    empty = b"\x50\x2a\x4d\x18\x04\0\0\0size" if compression == ".zst" else compress(b"")
    (tmp_path / f"a.json{compression}").write_bytes(empty + compress(b'[{"text": "a"}]'))
    (tmp_path / f"b.json{compression}").write_bytes(empty + compress(LINE))
    found, told = names(tmp_path)
    assert found == [f"b.json{compression}"]
    assert len(told) == 1


@pytest.mark.parametrize("compression", COMPRESS)
def test_large_array_is_recognised_by_its_first_bytes(compression: str, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3 << 20).hex().encode()
    for name, begin in (("array", b"["), ("object", b"{\n ")):
        content = COMPRESS[compression](begin + b'"text": "' + noise)
        (tmp_path / f"{name}.json{compression}").write_bytes(content)
    write_bytes(tmp_path / "c.jsonl", LINE)
    found, told = names(tmp_path)
    assert found == ["c.jsonl"]
    assert len(told) == 2


def test_links_are_followed_and_each_real_file_is_read_once(tmp_path: Path) -> None:
    write_bytes(tmp_path / "elsewhere/far.jsonl", b'{"text": "far"}\n')
    write_bytes(tmp_path / "c/z/one.jsonl", b'{"text": "one"}\n')
    (tmp_path / "c/a").symlink_to("z")  # sorts before the real folder, but is read under the real name
    (tmp_path / "c/z/up").symlink_to("..")  # a circular link
    (tmp_path / "c/self").symlink_to("self")
    (tmp_path / "c/gone.jsonl").symlink_to("nowhere")
    (tmp_path / "c/link.jsonl").symlink_to("z/one.jsonl")
    (tmp_path / "c/other").symlink_to(tmp_path / "elsewhere")
    os.link(tmp_path / "c/z/one.jsonl", tmp_path / "c/z/same.jsonl")
    found, told = names(tmp_path / "c")
    assert found == ["other/far.jsonl", "z/one.jsonl"]
    assert told == [f"left out in {tmp_path / 'c'}: gone.jsonl, self (a broken link)"]


def test_file_given_twice_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_bytes(tmp_path / "c/one.jsonl", LINE)
    (tmp_path / "link.jsonl").symlink_to(file)
    (tmp_path / "folder").symlink_to(tmp_path / "c")
    os.link(file, tmp_path / "hard.jsonl")
    monkeypatch.chdir(tmp_path)
    again = [file, "c/one.jsonl", "./c/../c/one.jsonl", "link.jsonl", "folder/one.jsonl", "hard.jsonl", "c", "folder"]
    for other in [*again, file.as_uri(), f"simplecache::{file.as_uri()}", f"filecache::{(tmp_path / 'c').as_uri()}"]:
        for sources in ([file, other], [other, file]):
            with pytest.raises(InputError, match=r"(one|link|hard)\.jsonl.* would be read twice"):
                find_source_files(sources)
    assert len(find_source_files(["c", "folder/../c/one.jsonl"][:1])) == 1


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Opening a pipe would wait for a writer."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "linked.jsonl").symlink_to("pipe.jsonl")
    write_bytes(tmp_path / "c.jsonl", LINE)
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # socket paths must be short
        try:
            server.bind("s.jsonl")
        finally:
            os.chdir(here)
        found, told = names(tmp_path)
        assert found == ["c.jsonl"]
        assert told == [f"left out in {tmp_path}: linked.jsonl, pipe.jsonl, s.jsonl (not a regular file)"]
        for name in ("pipe.jsonl", "linked.jsonl", "s.jsonl"):
            with pytest.raises(InputError, match=rf"{name} is not a regular file"):
                build_index([tmp_path / name], tmp_path / "ix", jobs=1)
    with pytest.raises(InputError, match="not a regular file"):
        find_source_files(["/dev/zero"])


ODD = [
    "run::1.jsonl",
    "a#b?.jsonl",
    "50%20x%.jsonl",
    "a*[b]{c}.jsonl",
    "s3:x.jsonl",
    "~.jsonl",
    "a b\n.jsonl",
    "file::memory.jsonl",
    "simplecache::x.jsonl.gz",
    "é$(x).jsonl",
    os.fsdecode(b"\xff.jsonl"),
]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_local_paths_are_taken_literally(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_bytes(tmp_path / "c" / name, b'{"text": "right"}\n')
    write_bytes(tmp_path / "d" / name / "inside.jsonl", b'{"text": "inside"}\n')
    write_bytes(tmp_path / "c/bb.jsonl", b'{"text": "wrong"}\n')
    assert documents(file) == documents(str(file)) == ["right"]
    assert documents(tmp_path / "d" / name) == ["inside"]
    monkeypatch.chdir(tmp_path / "c")
    assert documents(name) == ["right"]
    assert sorted(documents(".")) == ["right", "wrong"]
    build_index([name], tmp_path / "ix", jobs=1)


def test_file_url_may_be_percent_encoded(tmp_path: Path) -> None:
    file = write_bytes(tmp_path / "a b.jsonl", LINE)
    assert documents(file.as_uri()) == documents(f"file://{file}") == ["a"]


def test_folder_of_another_file_system_has_the_same_rules() -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    for name in ("a.NDJSON", "_x/b.jsonl", "c/.d.jsonl", "e.json", "state.json", "f.txt"):
        with filesystem.open(f"/rules/{name}", "wb") as file:
            file.write(b"[1]" if name == "e.json" else LINE)
    found, told = names("memory://rules")
    assert found == ["a.NDJSON"]
    assert sorted(told) == sorted(
        [
            "left out in memory://rules: state.json (metadata of Hugging Face's datasets)",
            "left out in memory://rules: _x, c/.d.jsonl (the name begins with . or _)",
            "left out in memory://rules: e.json (a JSON array, not JSON Lines)",
            "left out in memory://rules: 1 file of other kinds (1 .txt)",
        ]
    )


def test_files_left_out_are_listed_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bytes(tmp_path / "c/a.jsonl", b'{"uid": "u", "data": {"t": "a"}}')
    write_bytes(tmp_path / "c/b.txt", LINE)
    named = ["--text-field", "data.t", "--id-field", "uid"]
    assert main(["index", "build", str(tmp_path / "c"), "--out", str(tmp_path / "ix"), *named]) == 0
    assert f"left out in {tmp_path / 'c'}: 1 file of other kinds (1 .txt)" in capsys.readouterr().err
    assert ids_of(tmp_path / "ix") == ["u"]


# ---------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("compression", [".xz", ".bz2"])
def test_truncated_file_or_trailing_bytes_are_refused(compression: str, tmp_path: Path) -> None:
    """The standard library ignores invalid bytes after the first stream."""
    lines = b"".join(json.dumps({"text": f"word{n} {n * 7919 % 1009}"}).encode() + b"\n" for n in range(2_000))
    content = COMPRESS[compression](lines)
    several = COMPRESS[compression](LINE) * 3
    assert documents(write_raw(tmp_path / f"s.jsonl{compression}", several)) == ["a"] * 3
    for number, damaged in enumerate((content[:-1], content[: len(content) // 2], content + b"x" * 40)):
        file = write_raw(tmp_path / f"c{number}.jsonl{compression}", damaged)
        with pytest.raises(InputError, match=rf"c{number}\.jsonl\{compression}: damaged or truncated"):
            documents(file, on_bad_line="skip")


def write_raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_padding_of_xz_files_is_allowed(tmp_path: Path) -> None:
    content = lzma.compress(LINE) + bytes(8) + lzma.compress(LINE) + bytes(4)
    assert documents(write_raw(tmp_path / "c.jsonl.xz", content)) == ["a", "a"]


# ---------------------------------------------------------------------------------------------- long and deep lines


DEEP = b'{"text": "deep", "id": "d", "m": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}\n"
DEEPS = {
    "objects": DEEP,
    "lists": b'{"text": "deep", "m": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    "next to a lone surrogate": b'{"text": "deep", "s": "\\ud800", "m": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    "next to a large integer": b'{"text": "d", "i": 123456789012345678901, "m": ' + b"[" * 300 + b"]" * 300 + b"}\n",
    "in the id": b'{"text": "deep", "id": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    "without an end": b'{"text": "deep", "m": ' + b"[" * 5000 + b"\n",
    "very deep": b'{"text": "deep", "m": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
}


@pytest.mark.parametrize("kind", DEEPS)
def test_line_nested_too_deeply_is_a_bad_line(kind: str, tmp_path: Path) -> None:
    corpus = write_bytes(tmp_path / "c.jsonl", LINE + DEEPS[kind] + b'{"text": "b"}\n')
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: (nested more than 254 levels deep|not valid JSON)"):
        build_index([corpus], tmp_path / "ix", jobs=1)
    told: list[str] = []
    build_index([corpus], tmp_path / "iy", jobs=1, on_bad_line="skip", notice=told.append)
    assert len(told) == 1
    with CountIndex.open(tmp_path / "iy") as index:
        assert (index.info().documents, index.info().skipped_lines) == (2, 1)
    facts = fact_table([(["a"], ["b"])])
    assert scan_facts([corpus], facts, on_bad_line="skip", jobs=1)["subject_documents"].to_pylist() == [1]
    with pytest.raises(InputError, match=r"c\.jsonl, line 2"):
        scan_facts([corpus], facts, jobs=1)


def test_metadata_of_maximum_depth_can_be_queried(tmp_path: Path) -> None:
    deep = b'{"text": "a", "m": ' + b'{"a":' * 253 + b"1" + b"}" * 253 + b', "k": "v"}\n'
    with_large = deep.replace(b'"v"', b'"w", "n": 12345678901234567890123')
    build_index([write_bytes(tmp_path / "c.jsonl", deep + with_large)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert set(index.count("a", by="k").groups) == {"v", "w"}
        assert len(index.find_documents(text="a").documents) == 2


@pytest.mark.parametrize("compression", COMPRESS)
def test_line_over_the_limit_is_a_bad_line_and_never_fully_in_memory(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_STEP", 1 << 10)
    long = b'{"text": "' + b"x " * (4 << 20) + b'"}\n'
    content = LINE + long + b'{"text": "b"}\n' + long.rstrip(b"\n")
    corpus = write_raw(tmp_path / f"c.jsonl{compression}", COMPRESS[compression](content))
    limit = LineLimit(1 << 20, tmp_path / "lock")
    with pytest.raises(InputError, match=r"c\.jsonl.*, line 2: longer than 1 MiB"):
        documents(corpus, limit=limit)
    assert documents(corpus, limit=limit, on_bad_line="skip") == ["a", "b"]
    assert len(documents(corpus, limit=LineLimit(len(long), tmp_path / "lock"))) == 4


def test_scan_counts_and_skips_a_line_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factcensus.indexer.counting.scanner.LINE_BYTES", 1 << 20)
    long = b'{"text": "' + b"a b " * (1 << 20) + b'"}\n'
    corpus = write_bytes(tmp_path / "c.jsonl", LINE + long + b'{"text": "a b"}\n' + long.rstrip(b"\n"))
    told: list[str] = []
    facts = fact_table([(["a"], ["b"])])
    counts = scan_facts([corpus], facts, on_bad_line="skip", jobs=1, notice=told.append)
    assert counts["subject_mentions"].to_pylist() == [2]
    assert counts["cooccurrence_documents"].to_pylist() == [1]
    lines = [f"c.jsonl, line {number}: longer than 1 MiB, the limit for a line" for number in (2, 4)]
    assert told == [*lines, "2 bad lines skipped"]
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: longer than 1 MiB"):
        scan_facts([corpus], facts, jobs=1)


def test_maximum_line_length_depends_on_the_memory_limit(tmp_path: Path) -> None:
    corpus = write_bytes(tmp_path / "c.jsonl", LINE + b'{"text": "' + b"x " * (8 << 20) + b'"}\n')
    assert BuildSettings(memory_bytes=1 << 30).line_bytes == 48 << 20
    told: list[str] = []
    build_index(
        [corpus],
        tmp_path / "ix",
        jobs=1,
        memory_bytes=320 << 20,
        shard_tokens=1000,
        on_bad_line="skip",
        notice=told.append,
    )
    assert told == ["c.jsonl, line 2: longer than 4 MiB, the limit for a line with this --memory"]


@pytest.mark.full
def test_a_gzip_file_with_one_huge_line_takes_little_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "c.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(LINE + b'{"text": "')
        for _ in range(1500):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n')
    script = (
        "import resource, sys; from factcensus.indexer import build_index;"
        f"build_index([{str(tmp_path / 'c.jsonl.gz')!r}], {str(tmp_path / 'ix')!r}, jobs=1, memory_bytes=1 << 30,"
        " on_bad_line='skip'); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    )
    peak_mib = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert peak_mib < 1024


# ---------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_text_and_id_may_be_nested(ending: str, tmp_path: Path) -> None:
    rows = [
        {"data": {"text": f"word{n}", "lang": "en", "deep": {"uid": f"u{n}"}}, "text": "decoy", "id": n}
        for n in range(2)
    ]
    corpus = write_corpus(tmp_path / f"c{ending}", rows)
    build_index([corpus], tmp_path / "ix", jobs=1, text_field="data.text", id_field="data.deep.uid")
    assert ids_of(tmp_path / "ix") == ["u0", "u1"]
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("word1").documents == 1
        assert index.count("decoy").documents == 0
        assert index.count("word1", scope=Scope(where="data.lang = 'en' AND metadata.id = '1'")).documents == 1
        assert index.find_documents(text="word1").documents[0].metadata["data"] == {"lang": "en", "deep": {}}


def test_field_with_a_dot_in_its_name_precedes_a_nested_field(tmp_path: Path) -> None:
    rows = [
        {"data.text": "exact", "data": {"text": "nested"}},
        {"data": {"text": "nested"}},
        {"a.b": 1, "a": {"b.c": 2}},
    ]
    corpus = write_corpus(tmp_path / "c.jsonl", rows)
    assert documents(corpus, text_field="data.text", on_bad_line="skip") == ["exact", "nested"]
    with pytest.raises(InputError, match=r"line 3: no field 'data.text'"):
        documents(corpus, text_field="data.text")


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a", "id": 1, "text": "b"}',
        '{"id": 1, "text": "a", "id" : 2}',
        '{"text": "a", "data": {"text": "b", "text": "c"}}',
        '{"text": "a", "id": 1, "text": "a much longer text than the line has elsewhere"}',
        '{"text": "a much longer text than the line has elsewhere", "id": 1, "text": "b"}',
        '{"id": 1, "text": "\\u00e9\\"text\\": \\u00e9", "id": 2}',
        '{"text": "a", "id": 1, "lang": "en", "lang": "fr"}',
        '{"text": "a", "id": null, "source": "a:b", "source": "c"}',
        '{"text": "a:b \\u003a \\u003A \\\\u003a", "meta": {"pile_set_name": "Pile: CC", "url": ":", "url": 1}}',
        '{"text": "a", "list": [[{"x": 1, "x":{"y" : ":"}}]]}',
        '{"text": "a", "": 1, "": 2}',
    ],
)
def test_a_key_that_is_given_twice_is_a_bad_line(line: str, tmp_path: Path) -> None:
    good = '{"text": "a:", "id": 1, "kind": "text", "more": {"text": "b", "id": {"id": ":"}}, "source": {"id": "c:"}}\n'
    (tmp_path / "c.jsonl").write_text(good + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: the key '(text|id|lang|source|url|x|)' is given twice"):
        documents(tmp_path / "c.jsonl")
    assert len(documents(tmp_path / "c.jsonl", on_bad_line="skip")) == 1


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_source_may_be_a_number(ending: str, tmp_path: Path) -> None:
    for field, rows in (
        ("source", [{"text": "a", "source": 7}, {"text": "a", "source": 7}, {"text": "a"}]),
        ("meta", [{"text": "a", "meta": {"pile_set_name": n}} for n in (7, 7, None)]),
    ):
        build_index([write_corpus(tmp_path / f"{field}{ending}", rows)], tmp_path / field, jobs=1)
        with CountIndex.open(tmp_path / field) as index:
            assert {name: n.documents for name, n in index.count("a", by="source").groups.items()} == {
                "7": 2,
                "unknown": 1,
            }


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    texts, others = pa.array(["a"]), pa.array(["b"])
    for repeated, table in {
        "text": pa.Table.from_arrays([texts, others], ["text", "text"]),
        "data.id": pa.table({"text": texts, "data": pa.StructArray.from_arrays([texts, others], ["id", "id"])}),
    }.items():
        pq.write_table(table, tmp_path / f"{repeated}.parquet")
        with pytest.raises(InputError, match=rf"\.parquet: two columns have the name '{repeated}'"):
            documents(tmp_path / f"{repeated}.parquet")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("field", "near"), [("txt", "text"), ("data.txet", "data.text"), ("Text", "text")])
def test_missing_text_field_error_suggests_the_most_similar_field(
    ending: str, field: str, near: str, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / f"c{ending}", [{"text": "a", "data": {"text": "b"}, "zzz": 1}])
    with pytest.raises(InputError, match=rf"c\{ending}.*{field}.*did you mean '{near}'"):
        documents(corpus, text_field=field)


def test_record_without_the_named_id_is_a_bad_line(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": "a", "uid": "1"}, {"text": "b"}, {"text": "c", "uid": None}])
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: no field 'uid' for the id"):
        documents(corpus, id_field="uid")
    assert documents(corpus, id_field="uid", on_bad_line="skip") == ["a", "c"]


IDS = {
    "12345678901234567890123": "12345678901234567890123",
    "-98765432109876543210987": "-98765432109876543210987",
    "18446744073709551615": "18446744073709551615",
    "18446744073709551616": "18446744073709551616",
    '"007"': "007",
    "1.10": "1.10",
    "1e3": "1e3",
    "1E+2": "1E+2",
    "-0": "-0",
    "-Infinity": "-Infinity",
    "true": "true",
    "null": None,
    "NaN": None,
    '["a", 1]': '["a",1]',
    '{"$oid": 12345678901234567890123}': '{"$oid":12345678901234567890123}',
    "9" * 5000: "9" * 5000,
}


def test_ids_are_kept_as_written(tmp_path: Path) -> None:
    lines = "".join(f'{{"id": {written}, "text": "a"}}\n' for written in IDS)
    build_index([write_bytes(tmp_path / "c.jsonl", lines.encode())], tmp_path / "ix", jobs=1)
    assert ids_of(tmp_path / "ix") == list(IDS.values())


@pytest.mark.parametrize("line", ['"source": {}', '"meta": {{"pile_set_name": {}}}', '"source": {}, "id": "7"'])
@pytest.mark.parametrize("number", ["7", "-0", "1.10", "1E+2", "3.14159265358979323846", "1e22", "Infinity"])
def test_sources_are_kept_as_written(number: str, line: str, tmp_path: Path) -> None:
    corpus = write_bytes(tmp_path / "c.jsonl", f'{{"text": "a", {line.format(number)}}}'.encode())
    (document,) = read_documents(find_source_files([corpus])[0])
    assert document.source == number


def test_id_that_contains_the_text_is_stored_without_it(tmp_path: Path) -> None:
    good = '{"text": 1, "doc": {"text": "a", "n": 12345678901234567890123}, "by": "x"}'
    twice = '{"text": 1, "doc": {"text": "a:b"}, "by": 1, "by": 2}'
    corpus = write_bytes(tmp_path / "c.jsonl", f"{good}\n{twice}\n".encode())
    (document,) = read_documents(
        find_source_files([corpus])[0], text_field="doc.text", id_field="doc", on_bad_line="skip"
    )
    assert (document.text, document.id) == (b"a", '{"n":12345678901234567890123}')


def test_integers_beyond_64_bits_are_exact_as_ids_and_metadata(tmp_path: Path) -> None:
    large = [12345678901234567890123, 12345678901234567890124]
    rows = [{"id": each, "text": f"n{each % 10} a", "meta": {"big": each, "f": 1.5e22, "l": [each]}} for each in large]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert set(index.count("a", by="meta.big").groups) == set(map(str, large))
        assert index.count("a", scope=Scope(where=f"meta.big = '{large[0]}'")).documents == 1
        assert [each.metadata["meta"]["big"] for each in index.find_documents(text="a").documents] == large
    assert delete_documents(tmp_path / "ix", ids=[str(large[0])]).documents == 1
    with CountIndex.open(tmp_path / "ix") as index:
        assert (index.count("n3").documents, index.count("n4").documents) == (0, 1)


def test_maps_and_exact_numbers_of_parquet_are_metadata(tmp_path: Path) -> None:
    import decimal

    maps = pa.struct([("m", pa.list_(pa.map_(pa.int64(), pa.string())))])
    table = pa.table(
        {
            "text": ["a", "a"],
            "id": pa.array([decimal.Decimal("12345678901234567890123"), None], pa.decimal128(30)),
            "tags": pa.array([[("lang", "en"), ("k.v", "x")], []], pa.map_(pa.string(), pa.string())),
            "deep": pa.array([{"m": [[(1, "one")]]}, None], maps),
            "raw": pa.array([b"abc", b"\xff"]),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    build_index([tmp_path / "c.parquet"], tmp_path / "ix", jobs=1)
    assert ids_of(tmp_path / "ix") == ["12345678901234567890123", None]
    with CountIndex.open(tmp_path / "ix") as index:
        assert set(index.count("a", by="tags.lang").groups) == {"en", ""}
        assert set(index.count("a", by="tags.k.v").groups) == {"x", ""}
        first, second = (each.metadata for each in index.find_documents(text="a").documents)
        assert first == {"tags": {"lang": "en", "k.v": "x"}, "deep": {"m": [{"1": "one"}]}, "raw": "abc"}
        assert second == {"tags": {}, "deep": None, "raw": "ff"}


# ---------------------------------------------------------------------------------------------- scripts


SCRIPT = """
from factcensus.indexer import build_index
from factcensus.indexer.system import processes
processes.LEAST_BYTES = 0
{call}
"""


def test_map_with_a_repeated_key_is_a_bad_line(tmp_path: Path) -> None:
    maps = pa.array([[("k", 1)], [("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"text": ["a", "b"], "m": maps}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet, line 2: .*the key 'k' is given twice in a map"):
        documents(tmp_path / "c.parquet")
    assert documents(tmp_path / "c.parquet", on_bad_line="skip") == ["a"]


def test_times_in_nanoseconds_are_stored_like_times_in_microseconds(tmp_path: Path) -> None:
    def metadata(unit: str, scale: int) -> list[tuple[str | None, str]]:
        times = [1_577_934_245_000_000_000 // scale, 1_577_934_245_000_001_002 // scale]
        kind, took = pa.timestamp(unit, "UTC"), pa.array([86_400_000_000_000 // scale, 1], pa.duration(unit))
        nested = pa.array(
            [{"t": [time], "d": None} for time in times], pa.struct([("t", pa.list_(kind)), ("d", pa.large_list(kind))])
        )
        maps = pa.array([[("k", time)] for time in times], pa.map_(pa.string(), kind))
        pairs = pa.array([[time, None] for time in times], pa.list_(kind, 2))
        columns = {"text": ["a", "b"], "id": pa.array(times, kind), "n": nested, "m": maps, "p": pairs, "took": took}
        pq.write_table(pa.table(columns), tmp_path / f"{unit}.parquet")
        found = read_documents(find_source_files([tmp_path / f"{unit}.parquet"])[0])
        return [(each.id, each.metadata.replace('"0:00:00.000001"', '"0:00:00"')) for each in found]

    assert metadata("ns", 1) == metadata("us", 1000)
    assert metadata("ns", 1)[0][0] == "2020-01-02 03:04:05+00:00"
    assert '"m":{"k":"2020-01-02T03:04:05.000001+00:00"}' in metadata("ns", 1)[1][1]


@pytest.mark.parametrize("guarded", [False, True])
def test_script_without_a_main_guard_gets_the_remedy(guarded: bool, tmp_path: Path) -> None:
    for number in range(3):
        write_bytes(tmp_path / f"c/{number}.jsonl", LINE)
    call = f"build_index([{str(tmp_path / 'c')!r}], {str(tmp_path / 'ix')!r}, jobs=2)"
    (tmp_path / "script.py").write_text(
        SCRIPT.format(call=f"if __name__ == '__main__':\n    {call}" if guarded else call), encoding="utf-8"
    )
    ran = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=600)
    assert (ran.returncode == 0) == guarded
    if not guarded:
        last = ran.stderr.strip().splitlines()[-1]
        assert "InputError" in last
        assert "if __name__ == '__main__':" in last
        assert ran.stderr.count("Traceback") <= 2, "one error and its cause, whatever the number of processes"


def test_sources_of_an_addition_follow_the_same_rules(tmp_path: Path) -> None:
    build_index([write_bytes(tmp_path / "c.jsonl", LINE)], tmp_path / "ix", jobs=1)
    write_bytes(tmp_path / "more/run::2.NDJSON", b'{"d": {"t": "b"}, "uid": 12345678901234567890123}\n')
    write_bytes(tmp_path / "more/_no.jsonl", LINE)
    told: list[str] = []
    add_to_index(tmp_path / "ix", [tmp_path / "more"], text_field="d.t", id_field="uid", jobs=1, notice=told.append)
    assert told == [f"left out in {tmp_path / 'more'}: _no.jsonl (the name begins with . or _)"]
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.find_documents(text="b").documents[0].id == "12345678901234567890123"
    with pytest.raises(FactcensusError, match="not a regular file"):
        add_to_index(tmp_path / "ix", ["/dev/null"], jobs=1)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a:\\u03é"'), max_size=6),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["", "a", "a:", "text"]), inside),
    max_leaves=6,
)


@given(
    fields=st.dictionaries(st.sampled_from(["id", "source", "meta", "a:b", "lang"]), JSON_VALUES),
    text=st.text(st.sampled_from('a:\\u03é"'), max_size=40),
    ascii_only=st.booleans(),
    repeated=st.sampled_from([None, "id", "lang", "text", "source"]),
)
def test_exactly_the_lines_with_a_repeated_key_are_refused(
    fields: dict[str, Any], text: str, ascii_only: bool, repeated: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    line = json.dumps({**fields, "text": text}, ensure_ascii=ascii_only)
    if repeated in {**fields, "text": ""}:
        line = line[:-1] + f', "{repeated}": "a"' + "}"
    corpus = tmp_path_factory.getbasetemp() / "repeated.jsonl"
    corpus.write_text(line, encoding="utf-8")
    if repeated in {**fields, "text": ""}:
        with pytest.raises(InputError, match=f"the key '{repeated}' is given twice"):
            documents(corpus)
    else:
        assert documents(corpus) == [text]
