"""Tokenization of queries, and responses of the query types, on each kind of index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving
from tokenizers import Tokenizer, models, pre_tokenizers
from toys import TOY, build, byte_level_tokenizer, sentencepiece_tokenizer

from factcensus.api.infini_gram.tokens import end_of_document, query_of_text, separator_of
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, delete_documents

pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

Maker = Callable[[Path], str]


def gpt2_like(path: Path) -> str:
    return byte_level_tokenizer(path, TOY)


def llama_like(path: Path) -> str:
    return sentencepiece_tokenizer(path, TOY)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, CountIndex]]]:
    """Serve one index of the toy documents for each kind of token ids."""
    folder = tmp_path_factory.mktemp("kinds")
    analyzers = {
        "gpt2": gpt2_like(folder / "gpt2.json"),
        "llama": llama_like(folder / "llama.json"),
        "words": "words",
        "bytes": "bytes",
    }
    folders = [build(folder / name, TOY, name, analyzer=analyzer) for name, analyzer in analyzers.items()]
    opened = {path.name: CountIndex.open(path) for path in folders}
    with serving(Settings(indexes=tuple(folders))) as url:
        yield url, opened
    for index in opened.values():
        index.close()


def ask(url: str, index: str, query_type: str, query: str | list[Any], **options: Any) -> dict[str, Any]:
    key = "query" if isinstance(query, str) else "query_ids"
    reply = httpx.post(url, json={"index": index, "query_type": query_type, key: query, **options})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def test_a_byte_level_tokenizer_gets_a_space_before_each_term(served: Any) -> None:
    index = served[1]["gpt2"]
    for text in ("Paris", "capital of France", "a"):
        assert query_of_text(text, index).ids == index.analyzer.ids(f" {text}")
    query = query_of_text("Paris OR France AND capital", index)
    assert query.ids == [
        [index.analyzer.ids(" Paris"), index.analyzer.ids(" France")],
        [index.analyzer.ids(" capital")],
    ]
    assert query_of_text("", index).ids == []
    assert query_of_text(" Paris", index).ids == index.analyzer.ids("  Paris")


def test_a_bare_first_space_of_a_sentencepiece_tokenizer_is_dropped(served: Any) -> None:
    index = served[1]["llama"]
    assert query_of_text("Paris", index).tokens == index.analyzer.tokens("Paris")
    assert query_of_text("Paris", index).tokens[0].startswith("▁")
    assert index.analyzer.tokens("\n")[0] == "▁"
    assert query_of_text("\n", index).tokens == index.analyzer.tokens("\n")[1:] == ["<0x0A>"]
    assert query_of_text("", index).ids == []


def test_a_text_matches_after_a_space_and_ids_match_every_form(served: Any) -> None:
    url, indexes = served
    # For a byte-level tokenizer, "Paris" at the start of a document is a different token.
    behind, first = (indexes["gpt2"].analyzer.ids(text) for text in (" Paris", "Paris"))
    assert ask(url, "gpt2", "count", "Paris")["count"] == 2
    assert ask(url, "gpt2", "count", [[behind, first]])["count"] == 3
    assert ask(url, "llama", "count", "Paris")["count"] == 3


def test_other_tokenizers_get_the_text_unchanged(tmp_path: Path) -> None:
    words = {"Paris": 0, "France": 1, "<unk>": 2}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "plain.json"))
    with CountIndex.open(build(tmp_path, ["Paris France"], analyzer=f"hf:{tmp_path / 'plain.json'}")) as index:
        assert query_of_text("Paris France", index).ids == [0, 1]
        assert end_of_document(index) == separator_of(index) == 65535


def test_bytes_may_be_written_in_hexadecimal(served: Any) -> None:
    index = served[1]["bytes"]
    assert query_of_text(r"\x50\xfFé\x5", index).ids == [0x50, 0xFF, 0xC3, 0xA9, *rb"\x5"]


def test_the_end_of_a_document_has_the_id_of_the_tokenizer(served: Any) -> None:
    url, indexes = served
    assert [end_of_document(indexes[name]) for name in ("gpt2", "llama", "bytes")] == [0, 2, 0]
    for name, end in (("gpt2", "<|endoftext|>"), ("llama", "</s>")):
        last = indexes[name].analyzer.ids(TOY[1])[-3:]
        answer = ask(url, name, "ntd", last)
        assert answer["result_by_token_id"][str(end_of_document(indexes[name]))]["token"] == end


def test_next_tokens_show_the_byte_level_space_marker_as_a_space(served: Any) -> None:
    url, indexes = served
    prompt = indexes["gpt2"].analyzer.ids(" capital")
    tokens = [each["token"] for each in ask(url, "gpt2", "ntd", prompt)["result_by_token_id"].values()]
    assert tokens == [" of"]
    assert ask(url, "llama", "ntd", "capital")["result_by_token_id"].popitem()[1]["token"] == "▁of"


@pytest.mark.parametrize("name", ["gpt2", "llama", "bytes", "words"])
def test_every_query_type_works_on_every_kind_of_index(served: Any, name: str) -> None:
    url, indexes = served
    index = indexes[name]
    count = ask(url, name, "count", "capital of")
    assert (count["count"], count["doc_count"], count["approx"]) == (3, 3, False)
    prob = ask(url, name, "prob", "capital of France")
    assert prob["cont_cnt"] == 2
    for query_type in ("infgram_prob", "ntd", "infgram_ntd"):
        answer = ask(url, name, query_type, "capital of")
        assert answer["prompt_cnt"] == 3 or query_type == "infgram_prob"
        assert answer.get("approx", False) is False
        if query_type.endswith("ntd"):
            assert sum(each["cont_cnt"] for each in answer["result_by_token_id"].values()) == answer["prompt_cnt"]
        if query_type.startswith("infgram"):
            assert answer["suffix_len"] == len(answer["token_ids"]) - (query_type == "infgram_prob")
            assert answer["longest_suffix"].strip().startswith("capital")
    found = ask(url, name, "find", "capital of")
    ((low, high),) = found["segment_by_shard"]
    assert high - low == found["cnt"] == 3
    clauses = ask(url, name, "find_cnf", "Germany AND capital of OR of capital")
    assert (clauses["cnt"], clauses["doc_count"]) == (1, 1)
    for document in (
        ask(url, name, "get_doc_by_rank", "capital of", s=0, rank=low),
        ask(url, name, "get_doc_by_ptr", "Germany AND capital of", s=0, ptr=clauses["ptrs_by_shard"][0][0]),
        ask(url, name, "search_docs", "capital of")["documents"][0],
    ):
        text = "".join(text for text, _ in document["spans"])
        shown = TOY[document["doc_ix"]]
        assert text == (index.text(index.token_ids(shown)) if name == "words" else shown)
        assert any(label is not None and "capital of" in text for text, label in document["spans"])
        assert document["blocked"] is False


def test_word_ids_are_those_of_the_index_and_unknown_words_are_minus_one(served: Any) -> None:
    url, indexes = served
    answer = ask(url, "words", "count", "PARIS unheard")
    assert answer["tokens"] == ["paris", "unheard"]
    assert answer["token_ids"] == [indexes["words"].token_ids("paris")[0], -1]
    assert (answer["count"], answer["doc_count"]) == (0, 0)
    assert ask(url, "words", "prob", "capital unheard")["prob"] == 0
    assert ask(url, "words", "infgram_ntd", "unheard capital of")["suffix_len"] == 2
    both = ask(url, "words", "count", "unheard OR paris AND friends")
    assert (both["count"], both["doc_count"]) == (1, 1)
    assert ask(url, "words", "find_cnf", "unheard AND paris")["ptrs_by_shard"] == []
    by_ids = ask(url, "words", "count", [*indexes["words"].token_ids("paris")])
    assert (by_ids["count"], by_ids["tokens"]) == (4, ["paris"])


def test_a_text_without_words_is_an_error(served: Any) -> None:
    url, _ = served
    assert "no token" in ask(url, "words", "count", "?!")["error"]
    assert "non-empty" in ask(url, "words", "count", "paris AND ?!")["error"]
    assert ask(url, "words", "count", "")["count"] == 24 + len(TOY)


def test_a_deleted_document_is_not_counted_and_is_blocked(tmp_path: Path) -> None:
    folder = build(tmp_path, TOY, "less")
    delete_documents(folder, ids=["d0"])
    with serving(Settings(indexes=(folder,))) as url:
        assert ask(url, "less", "count", "")["count"] == 138 - 47
        assert ask(url, "less", "count", "Paris")["count"] == 1
        assert ask(url, "less", "prob", "Paris")["cont_cnt"] == 1
        assert ask(url, "less", "count", "Paris AND France")["count"] == 1
        found = ask(url, "less", "find", "Paris")
        assert found["cnt"] == 1
        shown = [
            ask(url, "less", "get_doc_by_rank", "Paris", s=0, rank=rank)
            for rank in range(*found["segment_by_shard"][0])
        ]
        assert sorted((each["doc_ix"], each["blocked"], len(each["spans"])) for each in shown) == [
            (0, True, 0),
            (0, True, 0),
            (1, False, 3),
        ]
        assert "compact" in ask(url, "less", "ntd", "Pari")["error"]
