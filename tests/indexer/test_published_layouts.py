"""Indexes built by infini-gram's indexer, in all its layouts and token widths, opened read-only.

The indexer of the PyPI package runs unchanged, with a local tokenizer instead of one from the hub. Two things fail (in
version 2.6.0): its sorting step requests 34 GB for token ids of four bytes, so the slow oracle sorts that table; and
its v6 step passes the name "u16" to NumPy, which NumPy does not know.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from factcensus.indexer import CountIndex, Entity, Scope
from factcensus.indexer.analyzers import FixedAnalyzer
from factcensus.indexer.errors import IndexFormatError, InputError, NoIndexError
from factcensus.indexer.infini_gram.language_model import NgramModel
from factcensus.indexer.infini_gram.published import read_published
from factcensus.indexer.storage.layout import entry_bytes
from factcensus.indexer.system.places import Place
from servers import web_server

from . import reference
from .corpora import Record, engine_folder, write_corpus
from .infini_gram_indexing import try_indexing

infini_gram = pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

WIDTH = {"u8": 1, "u16": 2, "u32": 4}
QUERIES = ["Paris", " Paris", " capital of", "é", "e", " of the", "zzz", " \u4e2d\u6587", " the"]

#: The program that runs infini-gram's indexer; argv is its module, the tokenizer file and its arguments.
DRIVER = """
import importlib, sys, types
import numpy
from tokenizers import Tokenizer

module, file, *sys.argv[1:] = sys.argv[1:]

class Local:
    def __init__(self, *_, **__):
        self.tokenizer = Tokenizer.from_file(file)

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

quiet = types.SimpleNamespace(set_verbosity=lambda _: None)
sys.modules["transformers"] = types.SimpleNamespace(
    AutoTokenizer=types.SimpleNamespace(from_pretrained=Local), utils=types.SimpleNamespace(logging=quiet)
)
indexing = importlib.import_module("infini_gram." + module)
if module == "indexing_v6":
    named = {"u8": numpy.uint8, "u16": numpy.uint16, "u32": numpy.uint32}
    array = lambda ids, dtype: numpy.array(ids, named[dtype] if isinstance(dtype, str) else dtype)
    indexing.np = types.SimpleNamespace(**{**vars(numpy), "array": array})
indexing.main()
"""


def corpus() -> list[Record]:
    """Write documents with several forms of metadata, including empty ones and one of a single character."""
    chance = random.Random(3)
    words = ["Paris", "France", "Berlin", "the", "of", "capital", "is", "é", "中文", "C++", "naïve"]
    made: list[Record] = []
    for number in range(120):
        rare = "".join(chance.choices("bcdfghjklmnpqrstvwxz", k=6))
        text = " ".join([*chance.choices(words, k=chance.randrange(25)), rare, *chance.choices(words, k=3)])
        made.append({"id": f"d{number}", "text": text, "source": "wiki" if number % 3 else "wéb", "year": number})
    return [*made, {"text": ""}, {"id": 7, "text": "x", "meta": {"pile_set_name": "ArXiv"}}, {"text": ""}]


CORPUS = corpus()
TEXTS = [record["text"] for record in CORPUS]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with engine_folder() as path:
        yield path


def byte_level_tokenizer(texts: Sequence[str], types: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer that knows frequent words and spells rare ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=types, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer_file(folder: Path) -> Path:
    byte_level_tokenizer(TEXTS, 330).save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


class Published:
    """A cache that builds each kind of index once."""

    def __init__(self, folder: Path, tokenizer_file: Path) -> None:
        self.folder = folder
        self.tokenizer_file = tokenizer_file
        self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
        write_corpus(folder / "data" / "c.jsonl", CORPUS)

    def analyzer(self, dtype: str) -> str:
        return "bytes" if dtype == "u8" else f"hf:{self.tokenizer_file}"

    def ids(self, text: str, dtype: str) -> list[int]:
        if dtype == "u8":
            return reference.utf8_bytes(text)
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def layout(self, name: str) -> Path:
        module, dtype, options = LAYOUTS[name]
        return self.build(name, module, dtype, *options)

    def build(self, name: str, module: str, dtype: str, *options: str, data: str = "data") -> Path:
        out = self.folder / name
        if out.exists():
            return out
        tokenizer = [] if dtype == "u8" or "--raw" in options else ["--tokenizer", "gpt2"]
        wanted = (option for option in options if option != "--raw")
        program = ("-c", DRIVER, module, self.tokenizer_file)
        ran = try_indexing(self.folder / data, out, "--token_dtype", dtype, *tokenizer, *wanted, program=program)
        if dtype == "u32":
            assert "memory allocation of 34359738368 bytes failed" in ran.stderr or ran.returncode == 0
            for tokens in list(out.glob("tokenized*")):
                sort_table(tokens, WIDTH[dtype])
        else:
            assert ran.returncode == 0, ran.stderr
        return out


def sort_table(tokenized: Path, width: int) -> None:
    """Write the table of a shard, sorted by the slow oracle."""
    stream = tokenized.read_bytes()
    k = entry_bytes(len(stream))
    offsets = sorted(range(0, len(stream), width), key=lambda offset: stream[offset:])
    content = b"".join(offset.to_bytes(k, "little") for offset in offsets)
    tokenized.with_name(tokenized.name.replace("tokenized", "table")).write_bytes(content)


@pytest.fixture(scope="module")
def published(folder: Path, tokenizer_file: Path) -> Published:
    return Published(folder, tokenizer_file)


#: Name, module of the indexer, token width, options.
LAYOUTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "v4-u8": ("indexing", "u8", ("--shards", "12", "--add_metadata", "--add_unigram")),
    "v4-u16": ("indexing", "u16", ()),
    "v4-u16-meta": ("indexing", "u16", ("--shards", "12", "--add_metadata")),
    "v4-u32": ("indexing", "u32", ("--shards", "2", "--add_metadata")),
    "v6-u8": ("indexing_v6", "u8", ("--add_metadata", "--add_unigram")),
    "v6-u16": ("indexing_v6", "u16", ()),
    "v6-u32": ("indexing_v6", "u32", ("--add_metadata",)),
}


def engine_of(folders: Sequence[Path], dtype: str, version: int = 4) -> Any:
    """Open infini-gram's engine on index folders, without the prefetching that crashes it."""
    most = 256 ** WIDTH[dtype] - 1
    return infini_gram.InfiniGramEngine(
        index_dir=[str(folder) for folder in folders],
        eos_token_id=most - 1,
        vocab_size=most,
        version=version,
        token_dtype=dtype,
        ds_prefetch_depth=0,
        sa_prefetch_depth=0,
        od_prefetch_depth=0,
    )


def documents_of_infini_gram(engine: Any) -> list[tuple[int, ...]]:
    """Return the token ids of all documents, by the numbers of the engine."""
    number = engine.get_total_doc_cnt()
    return [tuple(engine.get_doc_by_ix(doc_ix=i, max_disp_len=10**6)["token_ids"]) for i in range(number)]


def check_counts(index: CountIndex, engine: Any, documents: Sequence[reference.Document], ids: Any) -> None:
    """Compare every count of an open index with the engine and with brute force."""
    assert engine.count(input_ids=[])["count"] == sum(len(each.tokens) for each in documents) + len(documents)
    for query in QUERIES:
        answer = index.count(query)
        expected = reference.count(documents, ids(query))
        assert {name: getattr(answer, name) for name in expected} == expected, query
        assert engine.count(input_ids=ids(query)) == {"count": expected["occurrences"], "approx": False}
    for subject, object_ in [(" Paris", " France"), (" the", " of the"), ("é", " capital")]:
        # A name has several token sequences; test_variants.py shows that these are right.
        forms = [cast(FixedAnalyzer, index.analyzer).name_ids(name) for name in (subject, object_)]
        expected = reference.fact(documents, *forms, [3])
        answer = index.cooccurrence(Entity(subject), Entity(object_), window=3)
        assert answer.cooccurrence.as_json() == {
            "documents": expected["cooccurrence_documents_w3"],
            "pairs": expected["cooccurrence_pairs_w3"],
        }
    info = index.info()
    assert info.documents == len(documents)
    assert info.tokens == sum(len(each.tokens) for each in documents)


# ---------------------------------------------------------------------------------------------- what opens


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_in_every_layout_equal_the_engine_and_brute_force(layout: str, published: Published) -> None:
    out, dtype = published.layout(layout), LAYOUTS[layout][1]
    documents = [reference.Document(tuple(published.ids(text, dtype))) for text in TEXTS]
    with CountIndex.open(out, analyzer=published.analyzer(dtype)) as index:
        assert {shard.token_bytes for shard in index.shards} == {WIDTH[dtype]}
        check_counts(index, engine_of([out], dtype), documents, lambda text: published.ids(text, dtype))


@pytest.mark.parametrize(("layout", "kind"), [(layout, "s3") for layout in LAYOUTS] + [("v4-u16-meta", "web")])
def test_index_at_a_url_answers_like_the_folder(
    layout: str,
    kind: str,
    published: Published,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("factcensus.indexer.remote.search.WINDOW_BYTES", 256)  # as if the table were large
    monkeypatch.setattr("factcensus.indexer.remote.search.WINDOW_ROWS", 32)
    monkeypatch.setattr("factcensus.indexer.remote.opening.WINDOW_BYTES", 256)
    out, dtype = published.layout(layout), LAYOUTS[layout][1]
    with ExitStack() as stack:
        if kind == "s3":
            url = f"{request.getfixturevalue('bucket')}/{layout}"
            for file in (path for path in out.rglob("*") if path.is_file()):
                (Place.of(url) / file.relative_to(out).as_posix()).upload(file)
        else:
            url = f"{stack.enter_context(web_server(published.folder)).url}/{layout}"
        local = stack.enter_context(CountIndex.open(out, analyzer=published.analyzer(dtype)))
        for _ in range(2):  # with an empty cache folder, and with a full one
            remote = stack.enter_context(CountIndex.open(url, analyzer=published.analyzer(dtype)))
            for query in QUERIES:
                assert remote.count(query) == local.count(query)
                assert remote.find_documents(text=query, limit=7) == local.find_documents(text=query, limit=7)
            for window in (None, 3):
                pair = Entity(" Paris", [" Berlin"]), Entity(" France")
                assert remote.cooccurrence(*pair, window=window) == local.cooccurrence(*pair, window=window)
            scope = Scope(documents=(10, 90))
            assert remote.count(" the", scope=scope) == local.count(" the", scope=scope)
            assert replace(remote.info(), bytes=0) == replace(local.info(), bytes=0)
        if dtype != "u8":
            with pytest.raises(InputError, match="does not name its tokenizer"):
                CountIndex.open(url)


@pytest.mark.parametrize("layout", ["v4-u8", "v4-u16-meta", "v6-u8"])
def test_documents_have_the_numbers_of_the_engine_and_their_metadata(layout: str, published: Published) -> None:
    """With twelve shards, the order of the engine is tokenized.0, .1, .10, .11, .2, …"""
    out, dtype = published.layout(layout), LAYOUTS[layout][1]
    engine = engine_of([out], dtype)
    by_number = documents_of_infini_gram(engine)
    with CountIndex.open(out, analyzer=published.analyzer(dtype)) as index:
        for query in (" Paris", " capital of", "x"):
            found = index.find_documents(text=query, limit=1000)
            ids = tuple(published.ids(query, dtype))
            assert [each.document for each in found.documents] == [
                number
                for number, document in enumerate(by_number)
                if any(document[i : i + len(ids)] == ids for i in range(len(document)))
            ]
            for each in found.documents:
                record = CORPUS[each.record]
                assert tuple(published.ids(record["text"], dtype)) == by_number[each.document]
                meta = json.loads(engine.get_doc_by_ix(doc_ix=each.document, max_disp_len=1)["metadata"])
                assert (each.path, each.record) == (meta["path"], meta["linenum"]) == ("c.jsonl", each.record)
                assert each.id == (None if "id" not in record else str(record["id"]))
                source = record.get("source") or record.get("meta", {}).get("pile_set_name", "unknown")
                assert each.source == source
                kept = {key: record[key] for key in record.keys() - {"id", "text", "source"}}
                assert each.metadata == kept


def test_documents_without_metadata_are_shown(published: Published) -> None:
    out = published.layout("v4-u16")
    with CountIndex.open(out, analyzer=published.analyzer("u16")) as index:
        (first, *_) = index.find_documents(text=" Paris").documents
        assert (first.id, first.source, first.path, first.metadata) == (None, None, None, {})


@pytest.mark.parametrize("layouts", [("v4-u16", "v6-u16"), ("v6-u16", "v4-u16-meta", "v4-u16")])
def test_several_folders_are_one_corpus(layouts: tuple[str, ...], published: Published) -> None:
    """The engine accepts several folders, and the published indexes of a model have several."""
    folders = [published.layout(layout) for layout in layouts]
    engine = engine_of(folders, "u16")
    documents = [reference.Document(tuple(published.ids(text, "u16"))) for text in TEXTS * len(layouts)]
    with CountIndex.open(folders, name="both", analyzer=published.analyzer("u16")) as index:
        check_counts(index, engine, documents, lambda text: published.ids(text, "u16"))
        by_number = documents_of_infini_gram(engine)
        found = index.find_documents(text=" capital of", limit=1000).documents
        ids = tuple(published.ids(" capital of", "u16"))
        assert [each.document for each in found] == [
            number
            for number, document in enumerate(by_number)
            if any(document[i : i + len(ids)] == ids for i in range(len(document)))
        ]
        with NgramModel.open(index) as model:
            assert model.prob(" capital of").prompt_count == index.count(" capital").occurrences


def test_several_folders_at_urls_are_one_corpus(
    published: Published, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    folders = [published.layout(layout) for layout in ("v6-u16", "v4-u16-meta")]
    for folder in folders:
        for file in (path for path in folder.rglob("*") if path.is_file()):
            (Place.of(bucket) / file.relative_to(published.folder).as_posix()).upload(file)
    urls = [f"{bucket}/{folder.name}" for folder in folders]
    analyzer = published.analyzer("u16")
    with CountIndex.open(folders, analyzer=analyzer) as local, CountIndex.open(urls, analyzer=analyzer) as remote:
        for query in QUERIES:
            assert remote.count(query) == local.count(query)
            assert remote.find_documents(text=query, limit=1000) == local.find_documents(text=query, limit=1000)
        pair = Entity(" Paris", [" Berlin"]), Entity(" France")
        assert remote.cooccurrence(*pair, window=3) == local.cooccurrence(*pair, window=3)
        usage = remote.usage()
        assert usage is not None
        assert usage.opening.rounds <= 2 + 2, "the folders are listed one after another, the shards are read together"


def test_folder_of_shard_folders_is_one_corpus(published: Published) -> None:
    """v6 has one folder per shard."""
    parts = [CORPUS[:50], CORPUS[50:90], CORPUS[90:]]
    parent = published.folder / "v6-parts"
    for number, part in enumerate(parts):
        write_corpus(published.folder / f"data-{number}" / "c.jsonl", part)
        published.build(f"v6-parts/{number}", "indexing_v6", "u16", "--add_metadata", data=f"data-{number}")
    documents = [reference.Document(tuple(published.ids(text, "u16"))) for text in TEXTS]
    engine = engine_of([parent / str(number) for number in range(len(parts))], "u16")
    with CountIndex.open(parent, analyzer=published.analyzer("u16")) as index:
        check_counts(index, engine, documents, lambda text: published.ids(text, "u16"))
        records = [each.record for each in index.find_documents(text=" Paris", limit=1000).documents]
        assert records != sorted(records), "lines are counted from 0 in each part"


def test_language_model_reads_a_published_index(published: Published) -> None:
    out = published.layout("v6-u16")
    with CountIndex.open(out, analyzer=published.analyzer("u16")) as index, NgramModel.open(index) as model:
        answer = model.prob(" capital of")
        assert answer.count == index.count(" capital of").occurrences > 0


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("module", "options"), [("indexing", ("--version", "5")), ("indexing_v6", ("--reversed",))])
def test_reversed_documents_are_refused(module: str, options: tuple[str, ...], published: Published) -> None:
    """The engine opens them as version 5; as version 4, every n-gram would be counted backwards."""
    out = published.build(f"backwards-{module}", module, "u16", *options)
    forwards, as_four = (engine_of([out], "u16", version) for version in (5, 4))
    ngram = published.ids(" capital of", "u16")
    assert forwards.count(input_ids=ngram)["count"] == as_four.count(input_ids=ngram[::-1])["count"] > 0
    with pytest.raises(InputError, match="are reversed"):
        CountIndex.open(out, analyzer=published.analyzer("u16"))


def test_bytes_indexed_with_the_default_width_are_refused(published: Published) -> None:
    """Without --tokenizer and --token_dtype, the indexer sorts pairs of bytes, wherever a document begins."""
    write_corpus(published.folder / "data-odd" / "c.jsonl", [{"text": text} for text in ("Paris", "a Paris", "ab")])
    out = published.build("raw", "indexing", "u16", "--raw", data="data-odd")
    paris = [int.from_bytes(pair, "little") for pair in (b"Pa", b"ri")]
    assert engine_of([out], "u16").count(input_ids=paris) == {"count": 1, "approx": False}, "of two"
    with pytest.raises(IndexFormatError, match=r"tokenized\.0 has tokens of one byte.*--token_dtype u8"):
        read_published([out])


def test_another_tokenizer_is_refused(published: Published, tmp_path: Path) -> None:
    out = published.layout("v4-u16")
    chance = random.Random(5)
    # The tokens of these tokenizers merge further.
    words = ["".join(chance.choices("ab", k=chance.randrange(1, 12))) for _ in range(2000)]
    for types in (300, 330):
        tokenizer = byte_level_tokenizer([" ".join(words)], types)
        tokenizer.save(str(tmp_path / f"other-{types}.json"))
    with pytest.raises(InputError, match=r"token id \d+, but hf:other-300 has only 300 ids; give the tokenizer"):
        CountIndex.open(out, analyzer=f"hf:{tmp_path / 'other-300.json'}")
    with pytest.raises(InputError, match="not tokenized with hf:other-330"):
        CountIndex.open(out, analyzer=f"hf:{tmp_path / 'other-330.json'}")


def test_tokenizer_must_be_named_and_fit_the_ids(published: Published) -> None:
    out = published.layout("v4-u16")
    with pytest.raises(InputError, match="--analyzer hf:"):
        CountIndex.open(out)
    with pytest.raises(InputError, match="vocabulary"):
        CountIndex.open(out, analyzer="words")


def test_folders_of_different_widths_are_refused(published: Published) -> None:
    folders = [published.layout(name) for name in ("v4-u8", "v4-u16")]
    with pytest.raises(IndexFormatError, match="1 and 2 bytes"):
        read_published(folders)


def copy_of(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["table.3", "offset.3", "metaoff.3"])
def test_unfinished_index_error_names_the_file(name: str, published: Published, tmp_path: Path) -> None:
    copy = copy_of(published.layout("v4-u8"), tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(IndexFormatError, match=name.replace(".", r"\.")):
        read_published([copy])


def test_offset_within_a_document_is_refused(published: Published, tmp_path: Path) -> None:
    copy = copy_of(published.layout("v4-u16"), tmp_path / "copy")
    content = bytearray((copy / "offset.0").read_bytes())
    content[80:88] = (int.from_bytes(content[80:88], "little") + 2).to_bytes(8, "little")
    (copy / "offset.0").write_bytes(content)
    with pytest.raises(IndexFormatError, match=r"document 10 of offset\.0"):
        read_published([copy])


@pytest.mark.parametrize("left", [0, 1, 2])
def test_offsets_of_fewer_documents_are_refused(left: int, published: Published, tmp_path: Path) -> None:
    """The remaining documents would absorb the others: the same occurrences, but too few documents."""
    copy = copy_of(published.layout("v4-u16"), tmp_path / "copy")
    (copy / "offset.0").write_bytes((copy / "offset.0").read_bytes()[: 8 * left])
    with pytest.raises(IndexFormatError, match=rf"offset\.0 has {left} documents"):
        read_published([copy])


def test_repeated_documents_cannot_be_excluded_without_records_of_them(published: Published) -> None:
    with (
        CountIndex.open(published.layout("v4-u8")) as index,
        pytest.raises(InputError, match="does not record repeated documents"),
    ):
        index.count("a", scope=Scope(duplicates=False))


def test_metadata_of_fewer_documents_is_refused(published: Published, tmp_path: Path) -> None:
    copy = copy_of(published.layout("v4-u8"), tmp_path / "copy")
    (copy / "metaoff.0").write_bytes((copy / "metaoff.0").read_bytes()[:-8])
    with pytest.raises(IndexFormatError, match=r"metaoff\.0"):
        read_published([copy])


def test_offsets_in_characters_are_refused(published: Published, tmp_path: Path) -> None:
    """v4 offsets would look like this if the metadata were not ASCII."""
    copy = copy_of(published.layout("v4-u16-meta"), tmp_path / "copy")
    ascii_lines = (copy / "metadata.0").read_text(encoding="ascii").splitlines()
    lines = [json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in ascii_lines]
    (copy / "metadata.0").write_text("".join(lines), encoding="utf-8")
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    (copy / "metaoff.0").write_bytes(b"".join(start.to_bytes(8, "little") for start in starts))
    metadata = read_published([copy])[0].metadata
    assert metadata is not None
    with pytest.raises(IndexFormatError, match=r"metadata\.0.*document"):
        metadata.rows(range(len(lines)))


def test_metadata_in_another_format_is_shown_unchanged(published: Published, tmp_path: Path) -> None:
    copy = copy_of(published.layout("v6-u8"), tmp_path / "copy")
    forms = ["c.jsonl,{n}\n", '["c.jsonl", {n}]\n', '{{"path": "c", "linenum": {n}, "metadata": "x"}}\n', "\n"]
    lines = [forms[n % len(forms)].format(n=n).encode() for n in range(len(CORPUS))]
    (copy / "metadata").write_bytes(b"".join(lines))
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
    (copy / "metaoff").write_bytes(b"".join(start.to_bytes(8, "little") for start in starts))
    metadata = read_published([copy])[0].metadata
    assert metadata is not None
    rows = metadata.rows(range(len(lines)))
    assert [row["metadata"] for row in rows] == [line.decode().strip() for line in lines]
    assert {row["id"] for row in rows} == {None}


def test_folder_without_a_shard_is_refused(published: Published, tmp_path: Path) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    for place in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(NoIndexError, match=place.name):
            read_published([published.layout("v4-u16"), place])


def test_foreign_files_are_left_alone(published: Published, tmp_path: Path) -> None:
    source = published.layout("v4-u16")
    copy = copy_of(source, tmp_path / "copy")
    for name in ("tokenized.0.zst", "tokenized.txt", "table_of_contents.md", "my-tokenized.1"):
        (copy / name).write_bytes(b"foreign")
    assert [(each.folder, each.suffix) for each in read_published([copy])] == [(copy, ".0")]


def test_shards_are_in_the_order_of_the_engine(published: Published) -> None:
    out = published.layout("v4-u8")
    shards = read_published([out])
    assert [each.suffix for each in shards] == sorted(f".{number}" for number in range(12))
    assert [each.shard.first_document for each in shards] == [
        sum(each.shard.documents for each in shards[:number]) for number in range(12)
    ]
