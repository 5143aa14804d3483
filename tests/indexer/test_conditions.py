"""Names of columns and metadata fields, and conditions, which are a single safe expression."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import CountIndex, Scope, build_index, delete_documents
from factcensus.indexer.counting.filters import condition
from factcensus.indexer.errors import InputError, UnknownNameError
from factcensus.indexer.storage.fields import field_name

from .corpora import LAYOUTS, write_corpus

KEYS = [
    "a.b",
    "a..b",
    ".",
    "x\ny",
    "\t",
    "\0",
    "n\0n",
    'q"r',
    '"q"',
    "it's",
    "~",
    "/",
    "~1",
    "\\",
    "$",
    "*",
    "",
    "é",
    "0",
]
ROWS = [
    {
        "id": "1",
        "text": "a",
        "source": "wiki",
        "lang": "en",
        "year": 1990,
        "a": {"b": "nested", "c": {"d": 7}},
        "tokens": "many",
        "metadata": {"title": "T", "lang": "fr"},
        "record": None,
        "map": {"k.v": "one"},
        "odd": {key: f"value {number}" for number, key in enumerate(KEYS)},
        **{key: f"value {number}" for number, key in enumerate(KEYS)},
    },
    {"id": "2", "text": "a", "source": "web", "lang": "de", "year": 2000, "a": {"b": "second"}},
]


@pytest.fixture(scope="module", params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("it's a [folder] ? *")
    build_index([write_corpus(place / "c.jsonl", ROWS)], place / "ix", layout=request.param, jobs=1)
    return place / "ix"


@pytest.fixture(scope="module")
def index(folder: Path) -> Iterator[CountIndex]:
    with CountIndex.open(folder) as opened:
        yield opened


def values(index: CountIndex, by: str) -> set[str]:
    return set(index.count("a", by=by).groups)


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "source": {"wiki", "web"},
        "tokens": {"1"},
        "metadata.tokens": {"many", ""},
        '"tokens"': {"many", ""},
        "metadata.record": {""},
        "metadata.lang": {"fr", ""},
        '"lang"': {"en", "de"},
        "metadata.year": {"1990", "2000"},
        "lang": {"en", "de"},
        "a.c.d": {"7", ""},
        '"a"."b"': {"nested", "second"},
        "map.k.v": {"one", ""},
        'map."k.v"': {"one", ""},
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",  # sets have no fixed order
)
def test_columns_and_fields_are_found_by_name(index: CountIndex, name: str, expected: set[str]) -> None:
    assert values(index, name) == expected
    for value in expected:
        found = index.count("a", scope=Scope(where=condition({name: value}))).documents
        assert found == index.count("a", by=name).groups[value].documents


def test_key_with_a_dot_precedes_the_nested_key_in_each_document(index: CountIndex) -> None:
    assert values(index, "a.b") == {"value 0", "second"}
    for value in ("value 0", "second"):
        for where in (condition({"a.b": value}), f"a.b = '{value}'", f"metadata.a.b = '{value}'"):
            assert index.count("a", scope=Scope(where=where)).documents == 1


@pytest.mark.parametrize("number", range(1, len(KEYS)), ids=[ascii(key) for key in KEYS[1:]])
def test_keys_with_any_characters_are_found(index: CountIndex, number: int) -> None:
    key = KEYS[number]
    for name in {field_name((key,))} | ({key} - {"", '"q"'}):
        assert values(index, name) == {f"value {number}", ""}, name
    assert values(index, field_name(("odd", key))) == {f"value {number}", ""}
    if not {"\0", '"'} & set(key):
        assert index.count("a", scope=Scope(where=condition({key: f"value {number}"}))).documents == 1


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("sorce", "source"),
        ("langg", "lang"),
        ("a.c.e", "a.c.d"),
        ("metadata.titel", "metadata.title"),
        ("metadata.yaer", None),
    ],
)
def test_unknown_name_error_suggests_the_most_similar_name(index: CountIndex, name: str, nearest: str | None) -> None:
    quoted = '"' + name + '"'
    asked = [
        lambda: index.count("a", by=name),
        lambda: index.count("a", scope=Scope(where=condition({name: "x"}))),
        lambda: index.count("a", scope=Scope(where=f"{name} = 'x'")),
        lambda: index.count("a", scope=Scope(where=f"source = 'wiki' OR lower({quoted}) IS NULL")),
    ]
    for ask in asked:
        with pytest.raises(UnknownNameError, match=f"unknown column or metadata field '{name}'") as raised:
            ask()
        assert nearest is None or f"did you mean {nearest!r}" in str(raised.value)
    with pytest.raises(UnknownNameError, match="unknown metadata field"):
        index.count("a", scope=Scope(where=f"metadata ->> '$.{name}' = 'x'"))


@pytest.mark.parametrize(
    ("where", "documents"),
    [
        ("source = 'wiki'", 1),
        ("Source = 'wiki' AND NOT lang = 'x'", 1),
        ("lang IN ('en', 'de') AND CAST(year AS INTEGER) BETWEEN 1995 AND 2005", 1),
        ("a.c.d = '7' OR metadata.title = 'T' -- a comment", 1),
        ("(metadata -> '$.a') ->> 'b' = 'second'", 1),
        ("json_extract_string(metadata, '$.lang') LIKE 'e%'", 1),
        ("CASE WHEN lang = 'en' THEN tokens = 1 ELSE false END", 1),
        ("coalesce(metadata.title, '') = ''", 1),
        ("regexp_matches(lang, '^[ed]') AND starts_with(source, 'w')", 2),
        ("json_exists(metadata, '$.nobody')", 0),
        ("text_digest > 0 AND id IS NOT NULL", 2),
        ("TRY_CAST(lang AS DOUBLE) > 1", 0),
    ],
)
def test_condition_is_one_expression_over_columns_and_fields(index: CountIndex, where: str, documents: int) -> None:
    assert index.count("a", scope=Scope(where=where)).documents == documents


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("{} = 7", ["7", "7.0"]),
        ("7 = {}", ["7", "7.0"]),
        ("{} IN (7, 8)", ["7", "7.0"]),
        ("{} NOT IN (7, 6)", ["007", "7.4", "6.6", "12345678901234567890123", "12345678901234567890124", "-1", "-0.6"]),
        ("{} <> 7 AND {} <> -1", ["007", "7.4", "6.6", "12345678901234567890123", "12345678901234567890124", "-0.6"]),
        ("{} = -1", ["-1"]),
        ("{} = 12345678901234567890123", ["12345678901234567890123"]),
        ("{} IS NOT DISTINCT FROM 7", ["7"]),
        ("CASE {} WHEN 7 THEN true END", ["7", "7.0"]),
        ("{} = 7.0", ["7", "007", "7.0"]),
        ("{} = 7.4 OR 6.6 = {}", ["7.4", "6.6"]),
        ("{} IN (7.4, 7)", ["7", "007", "7.0", "7.4"]),
        ("length({}) = 1 AND tokens = 1 AND (tokens = 2) = false", ["7"]),
        ("record IN (0, 2)", ["7", "7.0"]),
        ("7 IN ({})", ["7"]),
        ("nullif({}, 7) IS NULL", ["7"]),
        ("nullif({}, 7.4) IS NULL OR nullif(6.6, {}) IS NULL", ["7.4", "6.6"]),
        ("7.4 IN ({}, '6')", ["7.4"]),
        ("7.3 IN ({})", []),
    ],
)
def test_number_equals_texts_written_like_it(where: str, ids: list[str], tmp_path: Path) -> None:
    written = ["7", "007", "7.0", "7.4", "6.6", "12345678901234567890123", "12345678901234567890124", "-1", "-0.6"]
    rows = [{"id": name, "text": "a", "again": name} for name in written]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        for field in ("id", "again", "(metadata ->> '$.again')"):
            scope = Scope(where=where.replace("{}", field))
            assert [each.id for each in index.find_documents(text="a", scope=scope).documents] == [
                name for name in written if name in ids
            ]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("score = 0.5", ["0.5", "0.50"]),
        ("0.5 = score", ["0.5", "0.50"]),
        ("score <> 0.5", ["0.54", "n/a", "", "nan"]),
        ("score IN (0.5, 0.54)", ["0.5", "0.50", "0.54"]),
        ("score NOT IN (0.5, 7)", ["0.54", "n/a", "", "nan"]),
        ("0.5 IN (score)", ["0.5", "0.50"]),
        ("nullif(score, 0.5) IS NULL", ["0.5", "0.50", None]),
        ("CASE score WHEN 0.5 THEN true END", ["0.5", "0.50"]),
        ("score IS DISTINCT FROM 0.5", ["0.54", "n/a", "", "nan", None]),
    ],
)
def test_text_that_is_not_a_number_equals_no_fraction(where: str, ids: list[str | None], tmp_path: Path) -> None:
    scores = ["0.5", "0.50", "0.54", "n/a", "", "nan", None]
    rows = [{"id": score or repr(score), "text": "a", "score": score} for score in scores]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        found = index.find_documents(text="a", scope=Scope(where=where)).documents
        assert [each.id for each in found] == [score or repr(score) for score in scores if score in ids]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (1990, [1990, 1990.0, "1990"]),
        (1990.0, [1990, 1990.0, "1990"]),
        (1990.4, [1990.4]),
        (10**22, [1e22, 10**22]),
        (1e22, [1e22, 10**22]),
        (1e-7, [1e-7]),
        ("1990", [1990, "1990"]),
        (True, [True]),
    ],
)
def test_filter_by_a_number_finds_it_however_it_is_written(
    value: float | str, stored: list[float | str], tmp_path: Path
) -> None:
    numbers = [1990, 1990.0, "1990", "01990", 1990.4, 1e22, 10**22, 1e-7, True, None]
    rows = [{"id": str(place), "text": "a", "n": number} for place, number in enumerate(numbers)]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        found = index.find_documents(text="a", scope=Scope(where=condition({"n": value}))).documents
        assert [repr(numbers[int(each.id)]) for each in found] == [
            repr(number) for number in numbers if repr(number) in map(repr, stored)
        ]
        assert index.count("a", scope=Scope(where=condition({"tokens": 1.0}))).documents == len(numbers)


REFUSED = [
    "read_text('/etc/passwd') IS NULL",
    "(SELECT content FROM read_text('/etc/passwd')) IS NOT NULL",
    "EXISTS (FROM read_blob('/etc/passwd'))",
    "source IN (SELECT 'wiki')",
    "true) ; COPY (SELECT 1) TO '{tmp}/written' ; SELECT (true",
    "true); ATTACH '{tmp}/written'; SELECT (true",
    "true) FROM read_csv('/etc/passwd') WHERE (true",
    "true) UNION ALL (SELECT true",
    "true; COPY (SELECT 1) TO '{tmp}/written'",
    "count(*) > 0",
    "row_number() OVER () > 0",
    "main.lower(lang) = 'en'",
    "getenv('HOME') IS NULL",
    "nextval('x') > 0",
    "query('SELECT 1') > 0",
    "repeat('x', 10000000000) = ''",
    "list_transform([1], x -> x + 1) IS NULL",
    "id = $1",
    "id = ?",
    "*",
    "COLUMNS('.*') IS NULL",
    "shard = 0",
    "row = 0",
    "gone.shard = 0",
    "documents IS NULL",
    "lang = 'en' ORDER BY 1",
    "lang = 'en' LIMIT 1",
    "",
    "  ",
    "--",
    "'a\0' = 'a'",
    "source =",
    "lang = 'en') OR (lang = 'de'",
    "true] = [true",
    "lang > 5",
    "NOT " * 5000 + "true",
    "true) WINDOW w AS (ORDER BY id",
    "id = '\udcff'",
    "metadata ->> '$.' = 'x'",
]


@pytest.mark.parametrize("where", REFUSED, ids=lambda where: ascii(where[:60]))
def test_condition_with_other_elements_is_refused(folder: Path, tmp_path: Path, where: str) -> None:
    where = where.replace("{tmp}", str(tmp_path))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with CountIndex.open(folder) as index, pytest.raises(InputError):
        index.count("a", scope=Scope(where=where))
    with pytest.raises(InputError):
        delete_documents(folder, where=where)
    assert list(tmp_path.iterdir()) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_lone_surrogate_is_neither_a_name_nor_damage(folder: Path, index: CountIndex) -> None:
    with pytest.raises(UnknownNameError, match="unknown column or metadata field"):
        index.count("a", by="\udcff")
    with pytest.raises(InputError, match="unknown id"):
        delete_documents(folder, ids=["1", "\udcff"])


def test_connection_cannot_read_or_write_other_files(folder: Path, tmp_path: Path) -> None:
    """Even if a condition passed the check of its syntax."""
    import duckdb

    from factcensus.indexer.storage import documents

    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    for query in (
        "FROM read_text('/etc/passwd')",
        f"FROM '{tmp_path}/other.parquet'",
        f"COPY (SELECT 1) TO '{tmp_path}/written.csv'",
        f"ATTACH '{tmp_path}/written.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
    ):
        with documents._documents({0: folder / "documents.0.parquet"}, {}) as connection:
            assert connection.execute("SELECT count(*) FROM documents").fetchall() == [(2,)]
            with pytest.raises(duckdb.Error):
                connection.execute(query)
    assert [path.name for path in tmp_path.iterdir()] == ["other.parquet"]


def test_type_error_names_the_field(index: CountIndex) -> None:
    with pytest.raises(InputError, match="lang"):
        index.count("a", scope=Scope(where="CAST(lang AS INTEGER) = 1"))


def test_fields_are_found_if_every_document_has_different_ones(tmp_path: Path) -> None:
    """For example maps with numbers as keys: only the names for suggestions are limited."""
    rows = [{"text": "a", "map": {f"key{n}": n}, "lang": "en"} for n in range(3000)]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert set(index.count("a", by="map.key2999").groups) == {"2999", ""}
        with pytest.raises(UnknownNameError, match="did you mean 'lang'"):
            index.count("a", by="lagn")
