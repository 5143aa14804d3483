"""Original texts in an index: the same in every way of building it, shown in passages, and gone when they should be."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import (
    CountIndex,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    slice_index,
    verify_index,
)
from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.answers import FoundDocument
from factcensus.indexer.building.convert import convert_index
from factcensus.indexer.errors import IndexFormatError, InputError, VerificationError
from factcensus.indexer.storage import kept
from factcensus.indexer.storage.kept import KeptTexts, write_kept
from factcensus.indexer.storage.manifest import Layout

from .corpora import content, index_of, make_index, records, write_corpus
from .strategies import QUICK, Corpus, corpora, hard_text
from .test_distributed_build import tokenizer_of

LAYOUTS: list[Layout] = ["suffix-array", "compact"]


def texts_in(folder: Path) -> list[str]:
    """Return all kept texts, those of deleted documents included."""
    with CountIndex.open(folder) as index:
        return [
            text.decode()
            for shard in index.shards
            if shard.kept is not None
            for text in shard.kept.texts(range(shard.documents))
        ]


def shown(document: FoundDocument) -> list[str]:
    return ["".join(span.text for span in passage) for passage in document.passages]


# ---------------------------------------------------------------------------------------------- the file


@settings(QUICK, max_examples=60)
@given(sizes=st.lists(st.sampled_from([0, 1, 7, 40, 63, 64, 65, 128, 129, 500]), max_size=20), data=st.data())
def test_every_text_is_read_back_from_blocks_of_any_form(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    texts = [bytes((n + i) % 251 for i in range(size)) for n, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("kept") / "kept.0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "BLOCK_BYTES", 64)
        patch.setattr(kept, "MOST_BLOCK_BYTES", 128)
        write_kept(path, iter(texts))
    found = KeptTexts(path, len(texts))
    assert list(found.texts(range(len(texts)))) == texts
    some = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=6)) if texts else []
    assert [found.text(each) for each in some] == [texts[each] for each in some]


def test_block_of_ordinary_documents_is_small_and_whole(tmp_path: Path) -> None:
    texts = [b"%d " % n * 400 for n in range(100)]
    write_kept(tmp_path / "kept.0", texts)
    found = KeptTexts(tmp_path / "kept.0", len(texts))
    decompressed: list[int] = []
    read = found._block

    def counted(number: int) -> bytes:
        block = read(number)
        decompressed.append(len(block))
        return block

    found._block = counted  # type: ignore[method-assign]
    for number, text in enumerate(texts):
        assert found.text(number) == text
    assert len(decompressed) == len(texts), "one block for each document"
    assert max(decompressed) < 2 * kept.BLOCK_BYTES


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, -8), slice(0, 8), slice(8, None)])
def test_truncated_file_is_refused(tmp_path: Path, cut: slice) -> None:
    path = tmp_path / "kept.0"
    write_kept(path, [b"a text", b"", b"another"])
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(IndexFormatError, match=r"kept\.0 is damaged"):
        KeptTexts(path, 3)


# ---------------------------------------------------------------------------------------------- passages


@pytest.mark.parametrize("name", ["words", "words-cased"])
@settings(QUICK, max_examples=300)
@given(text=hard_text(40))
def test_characters_of_a_word_give_the_word(name: str, text: str) -> None:
    analyzer = get_analyzer(name)
    text = text.encode(errors="replace").decode()
    tokens = analyzer.tokens(text)
    spans = analyzer.spans(text, range(len(tokens)))
    assert sorted(spans) == list(range(len(tokens)))
    for number, token in enumerate(tokens):
        begin, end = spans[number]
        assert token in analyzer.tokens(text[begin:end])
        assert number == 0 or spans[number - 1] <= (begin, end)


@settings(QUICK, max_examples=40)
@given(words=st.lists(st.sampled_from(["a", "b-c", "O’Brien", "東京", "C++", "x" * 700, "¼", "\n"]), max_size=900))
def test_characters_of_words_are_found_in_long_texts(words: list[str]) -> None:
    analyzer, text = get_analyzer("words"), " ".join(words)
    tokens = analyzer.tokens(text)
    spans = analyzer.spans(text, range(len(tokens)))
    assert all(token in analyzer.tokens(text[slice(*spans[n])]) for n, token in enumerate(tokens))


def test_unknown_word_number_is_an_error() -> None:
    for name in ("words", "words-cased"):
        with pytest.raises(ValueError, match="has no word 2"):
            get_analyzer(name).spans("two words", [0, 2])


@settings(QUICK, max_examples=40)
@given(corpus=corpora(max_entities=2))
def test_passages_are_parts_of_the_text_around_the_same_mentions(corpus: Corpus) -> None:
    analyzer = get_analyzer(corpus.analyzer)
    with index_of(corpus.texts, corpus.sources, **corpus.options, keep_text=True) as index:
        assert index.keeps_text
        for forms in corpus.entities:
            page = index.find_documents(text=forms[0], limit=50)
            assert page.total == index.count(forms[0]).documents
            for document in page.documents:
                assert document.original
                if corpus.analyzer == "bytes":
                    continue  # context of bytes, which may cut a character
                assert all(passage in corpus.texts[document.document] for passage in shown(document))
                wanted = analyzer.tokens(forms[0])
                mentions = [span.text for passage in document.passages for span in passage if span.mention]
                assert mentions
                assert all(set(wanted) & set(analyzer.tokens(mention)) for mention in mentions)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_passages_show_punctuation_and_capitals(layout: Layout, tmp_path: Path) -> None:
    text = "“Well,” said Jean-Luc O’Brien, “we’ll meet in St. Louis!”  " * 3
    with make_index(tmp_path, [text, "st louis"], layout=layout, keep_text=True) as index:
        (first,) = index.find_documents(subject="O'Brien", object="St Louis").documents
        assert first.original
        assert "Jean-Luc O’Brien, “we’ll meet in St. Louis!”" in shown(first)[0]
        assert {span.text for span in first.passages[0] if span.mention == "object"} == {"St. Louis"}
        assert index.trace("we'll meet in St. Louis", documents=2).spans[0].found[0].original


def test_passages_of_an_index_without_texts_are_marked_as_normalised(tmp_path: Path) -> None:
    with make_index(tmp_path, ["St. Louis!"]) as index:
        (document,) = index.find_documents(text="louis").documents
        assert not document.original
        assert shown(document) == ["st louis"]
        assert not index.keeps_text
        assert not index.info().keeps_text


def test_passages_of_a_tokenizer_show_the_text(tmp_path: Path) -> None:
    analyzer = f"hf:{tokenizer_of(tmp_path)}"
    with make_index(tmp_path, ["w1   Unknown!\n w2 w3"], analyzer=analyzer, keep_text=True) as index:
        (document,) = index.find_documents(text="w2").documents
        assert shown(document) == ["w1   Unknown!\n w2 w3"]


# ---------------------------------------------------------------------------------------------- building and changing


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for file in range(3):
        texts = [f"Text {n} of FILE {file}; “secret-{file}-{n}”!" for n in range(30)]
        rows = [{**row, "id": f"{file}-{n}"} for n, row in enumerate(records(texts))]
        write_corpus(tmp_path / f"corpus/{file}.jsonl", rows)
    return tmp_path / "corpus"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_number_of_jobs_gives_the_same_bytes(layout: Layout, corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"layout": layout, "keep_text": True, "shard_tokens": 250}
    for jobs in (1, 3):
        build_index(corpus, tmp_path / f"ix{jobs}", jobs=jobs, **options)
    assert content(tmp_path / "ix1") == content(tmp_path / "ix3")
    assert len(texts_in(tmp_path / "ix1")) == 90
    verify_index(tmp_path / "ix1", full=True)


def test_added_documents_keep_their_text_and_compaction_equals_a_build(corpus: Path, tmp_path: Path) -> None:
    build_index(corpus / "0.jsonl", tmp_path / "ix", keep_text=True)
    add_to_index(tmp_path / "ix", [corpus / "1.jsonl", corpus / "2.jsonl"])
    compact_index(tmp_path / "ix", tmp_path / "small")
    build_index(corpus, tmp_path / "whole", keep_text=True)
    assert (tmp_path / "small/kept.0").read_bytes() == (tmp_path / "whole/kept.0").read_bytes()
    assert texts_in(tmp_path / "ix") == texts_in(tmp_path / "whole")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_deleted_text_is_in_no_answer_and_after_compaction_in_no_file(
    layout: Layout, corpus: Path, tmp_path: Path
) -> None:
    build_index(corpus, tmp_path / "ix", keep_text=True, layout=layout)
    delete_documents(tmp_path / "ix", ids=["1-7"])
    with CountIndex.open(tmp_path / "ix") as index:
        found = index.find_documents(text="text 7", limit=50).documents
        assert found
        assert not any("secret-1-7”" in passage for document in found for passage in shown(document))
    assert any("secret-1-7”" in text for text in texts_in(tmp_path / "ix")), "the files have it until compaction"
    compact_index(tmp_path / "ix")
    left = texts_in(tmp_path / "ix")
    assert len(left) == 89
    assert not any("secret-1-7”" in text for text in left)
    verify_index(tmp_path / "ix", full=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_after_compaction_no_file_has_a_word_name_or_field_of_a_deleted_document(
    layout: Layout, tmp_path: Path
) -> None:
    """Every file is searched as it is, with its blocks decompressed, and with all pages of its Parquet tables."""
    rows = [
        {"id": f"n{i}", "text": f"common{i} words {i % 7}", "source": f"s{i % 3}", "url": f"u{i}"} for i in range(60)
    ]
    secret = {"id": "secretid", "text": "Secrettext secretword", "source": "secretsource", "url": "secreturl"}
    (tmp_path / "c").mkdir()
    for name, part in (("0.jsonl", [*rows[:40], secret, *rows[40:]]), ("secretfile.jsonl", [secret])):
        (tmp_path / "c" / name).write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    build_index(tmp_path / "c", tmp_path / "ix", keep_text=True, layout=layout, shard_tokens=100)
    names = b"secretid", b"Secrettext", b"secrettext", b"secretword", b"secretsource", b"secreturl", b"secretfile"
    delete_documents(tmp_path / "ix", ids=["secretid"])
    before = b"".join(map(everything_in, sorted((tmp_path / "ix").iterdir())))
    assert {name for name in names if name in before} >= {b"Secrettext", b"secretsource", b"secreturl", b"secretfile"}
    compact_index(tmp_path / "ix")
    for path in sorted((tmp_path / "ix").iterdir()):
        content = everything_in(path)
        assert not [name for name in names if name in content], path.name


def everything_in(path: Path) -> bytes:
    """Return the bytes of a file, those of all zstd frames in it, and those of all its strings if it is a table."""
    content = path.read_bytes()
    parts, at = [content], 0
    while (at := content.find(b"\x28\xb5\x2f\xfd", at)) >= 0:
        with suppress(zstandard.ZstdError):
            parts.append(zstandard.ZstdDecompressor().decompressobj().decompress(content[at:]))
        at += 4
    if path.suffix == ".parquet":
        for table in (pq.read_table(path), pq.read_metadata(path)):
            parts.append(repr(table.to_pylist() if isinstance(table, pa.Table) else table.to_dict()).encode())
    return b"\0".join(parts)


def test_slices_and_conversions_have_the_text_only_if_asked(corpus: Path, tmp_path: Path) -> None:
    build_index(corpus, tmp_path / "ix", keep_text=True, shard_tokens=250)
    build_index(corpus, tmp_path / "compact", keep_text=True, shard_tokens=250, layout="compact")
    convert_index(tmp_path / "ix", "compact", tmp_path / "with", keep_text=True)
    assert content(tmp_path / "with") == content(tmp_path / "compact")
    convert_index(tmp_path / "ix", "compact", tmp_path / "without")
    slice_index(tmp_path / "ix", (1, 2), tmp_path / "slice")
    slice_index(tmp_path / "ix", (1, 2), tmp_path / "slice-with", keep_text=True)
    for name, keeps in {"with": True, "without": False, "slice": False, "slice-with": True}.items():
        assert any(path.name.startswith("kept.") for path in (tmp_path / name).iterdir()) == keeps
        verify_index(tmp_path / name)
        with CountIndex.open(tmp_path / name) as index:
            assert index.info().keeps_text == keeps
            assert index.find_documents(text="file").documents[0].original == keeps
    for make in (
        lambda: slice_index(tmp_path / "slice", (1, 1), tmp_path / "no", keep_text=True),
        lambda: convert_index(tmp_path / "without", "suffix-array", tmp_path / "no", keep_text=True),
    ):
        with pytest.raises(InputError):
            make()


def test_texts_that_an_index_does_not_keep_cannot_be_carried_over(corpus: Path, tmp_path: Path) -> None:
    build_index(corpus, tmp_path / "ix")
    with pytest.raises(InputError, match="--keep-text"):
        slice_index(tmp_path / "ix", (0, 0), tmp_path / "no", keep_text=True)
    with pytest.raises(InputError, match="--keep-text"):
        convert_index(tmp_path / "ix", "compact", tmp_path / "no", keep_text=True)


def test_bytes_of_an_index_of_bytes_are_the_text_already(corpus: Path, tmp_path: Path) -> None:
    for name, keep_text in (("one", False), ("two", True)):
        build_index(corpus, tmp_path / name, analyzer="bytes", keep_text=keep_text)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    with CountIndex.open(tmp_path / "one") as index:
        assert index.info().keeps_text
        assert index.info().kept_bytes_per_text_byte is None


def test_size_of_the_texts_is_reported(corpus: Path, tmp_path: Path) -> None:
    build_index(corpus, tmp_path / "ix", keep_text=True)
    size = (tmp_path / "ix/kept.0").stat().st_size
    with CountIndex.open(tmp_path / "ix") as index:
        info = index.info()
    assert info.text_bytes is not None
    assert info.kept_bytes_per_text_byte == round(size / info.text_bytes, 4)


def test_verification_compares_texts_with_their_digests(corpus: Path, tmp_path: Path) -> None:
    """A manifest with checksums of other texts is found too."""
    from dataclasses import replace

    from factcensus.indexer.storage.layout import hash_file
    from factcensus.indexer.storage.manifest import FileRecord, Manifest

    build_index(corpus, tmp_path / "ix", keep_text=True)
    texts = [text.encode() for text in texts_in(tmp_path / "ix")]
    texts[5] = texts[5].upper()
    path = tmp_path / "ix/kept.0"
    write_kept(path, texts)
    manifest = Manifest.read(tmp_path / "ix")
    files = {**manifest.files, "kept.0": FileRecord(path.stat().st_size, hash_file(path))}
    replace(manifest, files=files).write(tmp_path / "ix")
    with pytest.raises(VerificationError, match=r"kept\.0 has another text for document 5"):
        verify_index(tmp_path / "ix")
