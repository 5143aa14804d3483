"""The n-gram language model, compared with counts over Python lists; with suffix arrays, infini-gram's engine counts.

The engine runs in this process, so input that would crash it must not reach it. Tests of such input say so.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from factcensus.indexer import CountIndex, compact_index, delete_documents
from factcensus.indexer.answers import EndOfDocument, NextToken, NextTokensAnswer, Tokens
from factcensus.indexer.cli import main
from factcensus.indexer.errors import (
    EmptyQueryError,
    FactcensusError,
    IndexChangedError,
    IndexerError,
    IndexFormatError,
    InputError,
    MissingExtraError,
)
from factcensus.indexer.infini_gram.engine_counts import next_counts
from factcensus.indexer.infini_gram.language_model import MOST_SUPPORT, NgramModel
from factcensus.indexer.storage.manifest import Layout

from .corpora import ENGINE_PATH_TRAPS, LAYOUTS, both_layouts, index_folder, index_of, make_index
from .strategies import QUICK

pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

END = None  # the end of a document as a next token


class Oracle:
    """The same numbers, computed from the token ids of the documents."""

    def __init__(self, index: CountIndex) -> None:
        self.documents = [
            shard.tokens(*shard.document_span(document)).tolist()
            for shard in index.shards
            for document in range(shard.documents)
            if document not in shard.deleted
        ]

    def next(self, prompt: Sequence[int]) -> Counter[int | None]:
        """Return the token after each occurrence of a prompt."""
        found: Counter[int | None] = Counter()
        for document in self.documents:
            padded = [*document, END]
            for start in range(len(document) + (not prompt)):
                if document[start : start + len(prompt)] == [*prompt] and start + len(prompt) <= len(document):
                    found[padded[start + len(prompt)]] += 1
        return found

    def longest_suffix(self, prompt: Sequence[int]) -> list[int]:
        """Return the longest suffix of a prompt that occurs."""
        return next([*prompt[at:]] for at in range(len(prompt) + 1) if at == len(prompt) or self.next(prompt[at:]))


def distribution(answer: NextTokensAnswer) -> Counter[int | None]:
    """Return the answer of the oracle."""
    counts: Counter[int | None] = Counter({each.id: each.count for each in answer.next})
    counts[END] = answer.end_of_document.count
    return +counts


def check(model: NgramModel, oracle: Oracle, prompt: Sequence[int], token: int) -> None:
    """Compare the exact answers of all four queries with the oracle."""
    for infini in (False, True):
        context = oracle.longest_suffix(prompt) if infini else [*prompt]
        expected = oracle.next(context)
        occurrences = expected.total()
        prob = (model.infgram_prob if infini else model.prob)([*prompt, token])
        assert (prob.prompt_count, prob.count, prob.exact) == (occurrences, expected[token], True)
        assert prob.probability == (expected[token] / occurrences if occurrences else None)
        ntd = model.infgram_ntd if infini else model.ntd
        for max_support in (MOST_SUPPORT, None):
            answer = ntd(prompt, max_support=max_support)
            assert distribution(answer) == expected
            assert (answer.prompt_count, answer.exact, answer.max_error) == (occurrences, True, 0)
            assert answer.distinct == len(expected.keys() - {END})
            assert [each.count for each in answer.next] == sorted((expected - Counter({END: 10**9})).values())[::-1]
            if infini:
                assert answer.suffix == prob.suffix
                assert answer.suffix.ids == context


def word_level_tokenizer(folder: Path, types: int) -> str:
    """Write an ``hf:`` tokenizer with the tokens w0, w1, … separated by spaces."""
    tokenizer = Tokenizer(models.WordLevel({f"w{n}": n for n in range(types)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return f"hf:{folder / 'tokenizer.json'}"


WIKI = ["the capital of France is Paris", "Paris is the capital of France", "of France, of Germany", ""]


@pytest.fixture
def wiki(tmp_path: Path) -> Iterator[CountIndex]:
    with make_index(tmp_path, WIKI) as index:
        yield index


@pytest.fixture(params=LAYOUTS)
def each_wiki(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CountIndex]:
    with make_index(tmp_path, WIKI, layout=request.param) as index:
        yield index


# ---------------------------------------------------------------------------------------------- the numbers


@QUICK
@given(st.data())
def test_probabilities_equal_those_counted_in_the_documents(data: st.DataObject) -> None:
    """Includes several shards, empty documents, prompts at ends of documents and shards, and absent prompts."""
    analyzer, letters = data.draw(st.sampled_from([("words", "abc"), ("bytes", "ab ")]))
    texts = data.draw(st.lists(st.lists(st.sampled_from(letters), max_size=8).map(" ".join), min_size=1, max_size=12))
    if not any(text.strip() for text in texts):
        texts.append("a")
    shard_tokens = data.draw(st.sampled_from([None, 4, 20]))
    layout = data.draw(st.sampled_from(LAYOUTS if analyzer == "words" else LAYOUTS[:1]))
    with (
        index_of(texts, analyzer=analyzer, shard_tokens=shard_tokens, layout=layout) as index,
        NgramModel.open(index) as model,
    ):
        oracle = Oracle(index)
        known = sorted({token for document in oracle.documents for token in document})
        tokens = st.sampled_from(known)
        for _ in range(4):
            prompt = data.draw(st.lists(tokens, min_size=1, max_size=4))
            check(model, oracle, prompt, data.draw(tokens))


@both_layouts
@pytest.mark.parametrize("types", [300, 65_535, 70_000])
def test_tokenizers_of_every_width_work(types: int, layout: Layout, tmp_path: Path) -> None:
    """u16; u16 with all ids in use, so that the end-of-document id of the engine is a token; u32."""
    last = f"w{types - 1}"
    texts = [f"w1 {last} w2", f"w2 {last}", f"{last} {last} w1 w2", "w2", f"w1 {last}"]
    with (
        make_index(tmp_path, texts, analyzer=word_level_tokenizer(tmp_path, types), layout=layout) as index,
        NgramModel.open(index) as model,
    ):
        oracle = Oracle(index)
        for prompt in ([1], [2], [types - 1], [1, types - 1], [types - 1, 1], [5]):
            for token in (1, types - 1):
                check(model, oracle, prompt, token)
        assert model.ntd("w1").next[0] == NextToken(types - 1, last, count=2, probability=2 / 3)


@pytest.mark.parametrize(
    ("analyzer", "layout"), [("words", "suffix-array"), ("words", "compact"), ("bytes", "suffix-array")]
)
def test_prompt_that_ends_the_last_document_and_another_one_keeps_its_next_tokens(
    analyzer: str, layout: Layout, tmp_path: Path
) -> None:
    """The engine alone reports that the document ends with probability 1."""
    texts = ["q a", "q b", "q b", "q c", "x q", "y q", "q d", "z q"]
    with make_index(tmp_path, texts, analyzer=analyzer, layout=layout) as index, NgramModel.open(index) as model:
        oracle = Oracle(index)
        prompt = list(index.token_ids("q") or ())
        assert oracle.next(prompt)[END] == 3
        check(model, oracle, prompt, prompt[0])
        assert model.ntd("q").end_of_document == EndOfDocument(count=3, probability=3 / 8)


@QUICK
@given(
    texts=st.lists(st.text("abcdefgh", min_size=1, max_size=40).map(" ".join), min_size=1, max_size=8),
    max_support=st.integers(1, 30),
    shard_tokens=st.sampled_from([None, 60]),
)
def test_estimates_are_marked_and_within_their_error_bound(
    texts: list[str], max_support: int, shard_tokens: int | None
) -> None:
    with index_of(texts, shard_tokens=shard_tokens) as index, NgramModel.open(index) as model:
        oracle = Oracle(index)
        for prompt in ([0], [1], [10**6]):  # the last token does not occur, so the suffix is empty
            if prompt[0] >= 10**6:
                answer, expected = model.infgram_ntd("unheardof", max_support=max_support), oracle.next([])
            elif not any(prompt[0] in document for document in oracle.documents):
                continue
            else:
                answer, expected = model.ntd(prompt, max_support=max_support), oracle.next(prompt)
            assert answer.prompt_count == expected.total()
            found = distribution(answer)
            if answer.exact:
                assert found == expected
            else:
                assert expected.total() > max_support
                assert answer.sampled_every * max_support >= expected.total()
                off = {token: abs(found[token] - expected[token]) for token in found | expected}
                assert max(off.values()) <= answer.max_error
                assert off.get(END, 0) == 0


@both_layouts
def test_long_lists_are_cut_to_the_most_frequent(layout: Layout, tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b a b a b a c a d"], layout=layout) as index, NgramModel.open(index) as model:
        answer = model.ntd("a", most=2)
        assert [(each.token, each.count) for each in answer.next] == [("b", 3), ("c", 1)]
        assert answer.distinct == 3


def test_answers_show_tokens_as_ids_and_as_words(each_wiki: CountIndex) -> None:
    with NgramModel.open(each_wiki) as model:
        ids = [*(each_wiki.token_ids("the capital of France") or ())]
        words = ["the", "capital", "of", "france"]
        assert model.prob("the capital of France").as_json() == {
            "index": "ix",
            "analyzer": each_wiki.analyzer.label,
            "prompt": {"ids": ids[:-1], "tokens": words[:-1]},
            "token": {"id": ids[-1], "token": words[-1]},
            "prompt_count": 2,
            "count": 2,
            "probability": 1.0,
            "exact": True,
        }
        assert model.prob(ids) == model.prob("the capital of France")
        assert model.ntd(ids[2:3]).next[0] == NextToken(ids[3], "france", count=3, probability=0.75)


def test_words_not_in_the_corpus_have_probability_zero(each_wiki: CountIndex) -> None:
    with NgramModel.open(each_wiki) as model:
        prob = model.prob("zebra of France")
        assert (prob.prompt_count, prob.count, prob.probability) == (0, 0, None)
        assert prob.prompt == Tokens([None, *(each_wiki.token_ids("of") or ())], ["zebra", "of"])
        assert model.prob("of zebra").probability == 0.0
        assert (model.prob("of zebra").id, model.prob("of zebra").token) == (None, "zebra")
        assert model.infgram_prob("zebra of France").suffix.tokens == ["of"]
        assert model.infgram_prob("zebra of France").count == 3
        unknown = model.infgram_ntd("of zebra")
        assert unknown.suffix.tokens == []
        assert distribution(unknown) == Oracle(each_wiki).next([])
        assert model.ntd("zebra").next == []


def test_threads_get_the_same_answers(each_wiki: CountIndex) -> None:
    with NgramModel.open(each_wiki) as model, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.infgram_ntd("zebra of"), range(40)))
        assert answers == answers[:1] * 40


# ---------------------------------------------------------------------------------------------- what is refused


def test_queries_without_a_prompt_are_refused(each_wiki: CountIndex) -> None:
    with NgramModel.open(each_wiki) as model:
        for ask in (model.prob, model.infgram_prob, model.ntd, model.infgram_ntd):
            for nothing in ("", " ., ", []):
                with pytest.raises(EmptyQueryError):
                    ask(nothing)
        for ask in (model.prob, model.infgram_prob):
            with pytest.raises(InputError, match=r"'Paris'.*factcensus count"):
                ask("Paris")


@pytest.mark.parametrize("wrong", [-1, 2**32 - 1, 2**32, 2**40, 10_000, True, 1.0, "a", None])
def test_ids_not_in_the_index_are_refused_by_value(wrong: Any, each_wiki: CountIndex) -> None:
    """2**32 - 1 separates documents, and 10,000 is not in this vocabulary."""
    with NgramModel.open(each_wiki) as model:
        for ask in (model.prob, model.infgram_prob, model.ntd, model.infgram_ntd):
            for ids in ([0, wrong], [wrong, 0]):
                with pytest.raises(InputError, match=rf"{wrong!r}.*ix.* 0 to \d+$"):
                    ask(ids)


def test_separator_of_a_byte_index_is_refused_as_an_id(tmp_path: Path) -> None:
    with make_index(tmp_path, ["ab"], analyzer="bytes") as index, NgramModel.open(index) as model:
        assert model.prob([97, 98]).probability == 1.0
        with pytest.raises(InputError, match=r"255.* 0 to 254"):
            model.ntd([255])


@pytest.mark.parametrize("wrong", [0, -1, 1001, 10**9, True, 2.5, "3"])
def test_limits_out_of_range_are_refused_by_value(wrong: Any, each_wiki: CountIndex) -> None:
    with NgramModel.open(each_wiki) as model:
        for ask in (model.ntd, model.infgram_ntd):
            with pytest.raises(InputError, match=rf"max_support.*1000.*{wrong!r}"):
                ask("of", max_support=wrong)
            if wrong not in (1001, 10**9):
                with pytest.raises(InputError, match=rf"most.*{wrong!r}"):
                    ask("of", most=wrong)


def test_closed_model_and_closed_index_are_errors(each_wiki: CountIndex) -> None:
    model = NgramModel.open(each_wiki)
    with model:
        assert model.prob("of France").count == 3
    with pytest.raises(IndexerError, match="ix is closed"):
        model.prob("of France")
    with NgramModel.open(each_wiki) as model:
        each_wiki.close()
        with pytest.raises(IndexerError, match="closed"):
            model.ntd("of")


@both_layouts
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_corpus_without_a_token_has_no_language_model_or_an_empty_one(
    texts: list[str], layout: Layout, tmp_path: Path
) -> None:
    try:
        index = make_index(tmp_path, texts, layout=layout)
    except FactcensusError:
        return  # nothing to index
    with index:
        if not any(shard.size for shard in index.shards):
            with pytest.raises(InputError, match="no document"):
                NgramModel.open(index)
            return
        with NgramModel.open(index) as model:
            assert model.ntd("a").prompt_count == 0


@QUICK
@given(st.data())
def test_compact_layout_does_not_count_deleted_documents(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), min_size=1, max_size=8))
    with index_folder(["a b", *texts], layout="compact", shard_tokens=data.draw(st.sampled_from([None, 5]))) as folder:
        deleted = data.draw(st.sets(st.integers(0, len(texts)), min_size=1))
        delete_documents(folder, ids=[f"d{number}" for number in sorted(deleted)])
        with CountIndex.open(folder) as index, NgramModel.open(index) as model:
            tokens = st.sampled_from(range(index.info().types))
            for _ in range(3):
                check(model, Oracle(index), data.draw(st.lists(tokens, min_size=1, max_size=3)), data.draw(tokens))


def test_both_layouts_give_the_same_answers(tmp_path: Path) -> None:
    texts = [" ".join(random.Random(seed).choices("aaabbcdefg", k=200)) + " b" for seed in range(30)]
    prompts = ["a", "a b", "b c d", "zebra a", "g g g g", "zebra"]
    answers = []
    for layout in LAYOUTS:
        with (
            make_index(tmp_path / layout, texts, layout=layout, shard_tokens=1500) as index,
            NgramModel.open(index) as model,
        ):
            asked = [ask(f"{prompt} a") for prompt in prompts for ask in (model.prob, model.infgram_prob)]
            asked += [ask(p, max_support=None, most=5) for p in prompts for ask in (model.ntd, model.infgram_ntd)]
            answers.append([each.as_json() for each in asked])
            often = model.ntd("a")
            assert often.exact == (layout == "compact"), "the engine samples frequent prompts"
            assert often.prompt_count > MOST_SUPPORT
    assert answers[0] == answers[1]


def test_compact_layout_needs_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "infini_gram.engine", None)
    with make_index(tmp_path, ["a b", "a c"], layout="compact") as index, NgramModel.open(index) as model:
        assert model.prob("a c").probability == 0.5


def test_index_with_deleted_documents_is_refused_until_it_is_compacted(tmp_path: Path) -> None:
    make_index(tmp_path, ["a b", "a c", "a c"]).close()
    delete_documents(tmp_path / "ix", ids=["d1"])
    with CountIndex.open(tmp_path / "ix") as index, pytest.raises(InputError, match="factcensus index compact"):
        NgramModel.open(index)
    compact_index(tmp_path / "ix", tmp_path / "small", jobs=1)
    with CountIndex.open(tmp_path / "small") as index, NgramModel.open(index) as model:
        assert model.prob("a c").probability == 0.5


@pytest.mark.parametrize("change", ["compacted", "replaced"])
def test_engine_refuses_an_index_replaced_after_opening(change: str, tmp_path: Path) -> None:
    """The engine opens files by path, so it would crash or count in another index."""
    with make_index(tmp_path, ["a b a", "b c"]) as index, NgramModel.open(index) as before:
        if change == "compacted":
            compact_index(tmp_path / "ix", jobs=1)
        else:
            make_index(tmp_path / "other", ["x y x", "y z"]).close()
            (tmp_path / "ix").rename(tmp_path / "old")
            (tmp_path / "other" / "ix").rename(tmp_path / "ix")
        assert before.prob("a b").count == 1, "it has the files open"
        with pytest.raises(IndexChangedError, match="open it again"):
            NgramModel.open(index)
        with index.reopen() as now, NgramModel.open(now) as after:
            assert after.prob("a b" if change == "compacted" else "x y").count == 1


def test_missing_engine_names_the_extra(wiki: CountIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "infini_gram.engine", None)
    with pytest.raises(MissingExtraError, match=r"factcensus\[engine\]"):
        NgramModel.open(wiki)


@pytest.mark.parametrize("query", ["count", "get_total_doc_cnt"])
def test_engine_with_different_counts_is_refused(query: str, wiki: CountIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    from infini_gram.engine import InfiniGramEngine

    original = getattr(InfiniGramEngine, query)

    def off_by_one(self: Any, **arguments: Any) -> Any:
        answer = original(self, **arguments)
        return {**answer, "count": answer["count"] + 1} if isinstance(answer, dict) else answer + 1

    monkeypatch.setattr(InfiniGramEngine, query, off_by_one)
    with pytest.raises(IndexFormatError, match=r"infini-gram.* counts .*factcensus index verify"):
        NgramModel.open(wiki)


def test_error_of_the_engine_is_raised(wiki: CountIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    from infini_gram.engine import InfiniGramEngine

    with NgramModel.open(wiki) as model:
        monkeypatch.setattr(InfiniGramEngine, "ntd", lambda *_, **__: {"error": "no such thing"})
        with pytest.raises(IndexerError, match="no such thing"):
            model.ntd("of")


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("trap", ENGINE_PATH_TRAPS)
def test_words_in_the_path_of_an_index_do_not_mislead_the_engine(trap: str, tmp_path: Path) -> None:
    """Given the folder itself, the engine treats every file as the kind named in the path, and crashes."""
    place = tmp_path / f"my {trap}s" / f"{trap}.0"
    place.mkdir(parents=True)
    with make_index(place, ["a b", "a b", "a c"]) as index, NgramModel.open(index) as model:
        assert model.prob("a b").probability == 2 / 3


def test_foreign_files_in_an_index_folder_are_not_shown_to_the_engine(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b", "a b", "a c"]) as index:
        for name in ("tokenized.0.bak", "table_of_contents.txt", "old-offset.0", "unigram.0", "metadata.0"):
            (index.folder / name).write_bytes(b"\xff\xffforeign")
        with NgramModel.open(index) as model:
            assert model.prob("a b").probability == 2 / 3


def test_nothing_is_left_in_the_folder_for_temporary_files(wiki: CountIndex, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    tempfile.tempdir, before = str(scratch), tempfile.tempdir
    try:
        with NgramModel.open(wiki) as model:
            assert list(scratch.iterdir()) == []
            assert model.prob("of France").count == 3
    finally:
        tempfile.tempdir = before


def test_temporary_folder_with_a_misleading_path_is_refused(wiki: CountIndex, tmp_path: Path) -> None:
    scratch = tmp_path / "tables"
    scratch.mkdir()
    tempfile.tempdir, before = str(scratch), tempfile.tempdir
    try:
        with pytest.raises(InputError, match=r"'table'.*TMPDIR"):
            NgramModel.open(wiki)
    finally:
        tempfile.tempdir = before


def test_index_under_a_relative_path_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_index(tmp_path, ["a b", "a c"]).close()
    monkeypatch.chdir(tmp_path)
    with CountIndex.open("ix") as index, NgramModel.open(index) as model:
        assert model.prob("a b").probability == 0.5


@both_layouts
def test_more_than_ten_shards_are_all_queried(layout: Layout, tmp_path: Path) -> None:
    texts = [f"a b{n} a b{n % 3}" for n in range(13)]
    with make_index(tmp_path, texts, shard_tokens=4, layout=layout) as index:
        assert len(index.shards) > 10
        with NgramModel.open(index) as model:
            check(model, Oracle(index), [*(index.token_ids("a") or ())], (index.token_ids("b1") or (0,))[0])


# ---------------------------------------------------------------------------------------------- command line


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Run one command in this process and return exit code, stdout and stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in argv])
    return code, *capsys.readouterr()


@both_layouts
def test_commands_print_what_the_library_answers(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    with index_folder(["a b a b a c", "b a"], layout=layout) as folder:
        with CountIndex.open(folder) as index, NgramModel.open(index) as model:
            expected = {
                ("prob", "a b"): model.prob("a b"),
                ("prob", "zebra a b", "--infini"): model.infgram_prob("zebra a b"),
                ("ntd", "a"): model.ntd("a"),
                ("ntd", "zebra a", "--infini", "--most", 1): model.infgram_ntd("zebra a", most=1),
                ("ntd", "a", "--max-support", 2): model.ntd("a", max_support=2),
                ("ntd", "a", "--exact"): model.ntd("a", max_support=None),
            }
        for (kind, *arguments), answer in expected.items():
            code, out, err = run(capsys, "ngram", kind, folder, *arguments, "--json")
            assert (code, json.loads(out), err) == (0, answer.as_json(), "")
        code, out, _ = run(capsys, "ngram", "ntd", folder, "a", "--most", 1)
        assert code == 0
        assert [line.split() for line in out.splitlines()[1:3]] == [
            ["next", "count", "probability"],
            ["b", "2", "0.500000"],
        ]
        assert "1 more" in out
        exactness = "estimates" if layout == "suffix-array" else "exact"
        assert exactness in run(capsys, "ngram", "ntd", folder, "a", "--max-support", 2)[1]
        assert "0.500000" in run(capsys, "ngram", "prob", folder, "a b")[1]
        assert "–" in run(capsys, "ngram", "prob", folder, "zebra b")[1]


def test_commands_refuse_wrong_input_with_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with index_folder(["a b"]) as folder:
        for arguments in (["prob", folder, "a"], ["ntd", folder, "…"], ["ntd", folder, "a", "--max-support", "1001"]):
            code, out, err = run(capsys, "ngram", *arguments)
            assert (code, out) == (2, "")
            assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["prob", "ntd"])
def test_every_command_has_help_with_a_worked_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "ngram", command, "--help")
    assert code == 0
    assert f"factcensus ngram {command} " in out.partition("example")[2]


def test_table_out_of_order_raises_an_error_instead_of_an_endless_search(tmp_path: Path) -> None:
    with make_index(tmp_path, ["abcab", "abab", "cabb"], analyzer="bytes") as index:
        (shard,) = index.shards
        intact, refused = shard.table.copy(), 0
        assert next_counts([shard], [ord("b")], 0xFF) == {ord("a"): 1, ord("b"): 1, ord("c"): 1}
        for seed in range(200):
            rows = list(range(len(intact)))
            random.Random(seed).shuffle(rows)
            shard.table = intact[rows]
            try:
                next_counts([shard], [ord("b")], 0xFF)
            except IndexFormatError:
                refused += 1
        assert refused
