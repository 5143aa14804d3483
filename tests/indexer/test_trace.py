"""The maximal spans of a text that occur in the corpus, against a search of every span of the text."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import Deadline, Scope, delete_documents
from factcensus.indexer.answers import TraceAnswer
from factcensus.indexer.cli import main
from factcensus.indexer.counting.trace import MOST_TOKENS, maximal_spans
from factcensus.indexer.errors import DeadlineError, InputError
from factcensus.indexer.index import CountIndex

from .corpora import index_of, make_index
from .strategies import QUICK

WORDS = st.sampled_from(["a", "b", "c", "new"])
TEXT = st.lists(WORDS, max_size=14).map(" ".join)


def spans_by_search(texts: list[str], tokens: list[str], least: int) -> list[tuple[int, int]]:
    """Return the maximal spans by trying every one."""
    corpus = [f" {' '.join(text.split())} " for text in texts]
    size = len(tokens)
    found = [
        (start, end)
        for start in range(size)
        for end in range(start + least, size + 1)
        if any(f" {' '.join(tokens[start:end])} " in text for text in corpus)
    ]
    return [
        (start, end)
        for start, end in found
        if not any((low, high) != (start, end) and low <= start and end <= high for low, high in found)
    ]


@settings(QUICK, max_examples=150)
@given(
    texts=st.lists(TEXT, min_size=1, max_size=6),
    output=TEXT,
    least=st.integers(1, 4),
    tokens=st.integers(5, 30),
    layout=st.sampled_from(["suffix-array", "compact"]),
)
def test_spans_equal_a_search_of_every_span(
    texts: list[str], output: str, least: int, tokens: int, layout: str
) -> None:
    with index_of(texts, shard_tokens=tokens, layout=layout) as index:
        words = output.split()
        found = maximal_spans(index, ids_of(index, output), least_tokens=least)
        assert found == spans_by_search(texts, words, least)


def ids_of(index: CountIndex, text: str) -> list[int]:
    """Return the ids of the tokens of a text, -1 for unknown ones."""
    return index.lexicon.ids(text, index.analyzer.tokens(text))


@pytest.mark.parametrize("layout", ["suffix-array", "compact"])
def test_deleted_documents_and_others_out_of_scope_do_not_count(layout: str, tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "a dog lay on the mat today"]
    output = "a cat sat on the mat today"
    index = make_index(tmp_path, texts, layout=layout)
    ids = ids_of(index, output)
    assert maximal_spans(index, ids) == [(1, 6), (3, 7)]
    assert maximal_spans(index, ids, scope=Scope(documents=(0, 1))) == [(1, 6)]
    index.close()
    delete_documents(tmp_path / "ix", ids=["d0"])
    with CountIndex.open(tmp_path / "ix") as current:
        assert maximal_spans(current, ids_of(current, output)) == [(3, 7)]


def test_a_long_copy_of_a_document_is_one_span(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(3000)]
    index = make_index(tmp_path, [" ".join(words)])
    ids = ids_of(index, " ".join(["new", *words, "new", *words[:100]]))
    assert maximal_spans(index, ids) == [(1, 3001), (3002, 3102)]


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    index = make_index(tmp_path, ["a b c d"])
    with pytest.raises(InputError, match="at least 1 token, got 0"):
        maximal_spans(index, [0], least_tokens=0)
    with pytest.raises(InputError, match="20,001 tokens"):
        maximal_spans(index, [0] * (MOST_TOKENS + 1))
    stopped = Deadline()
    stopped.cancel()
    with pytest.raises(DeadlineError):
        maximal_spans(index, ids_of(index, "a b c d"), deadline=stopped)


def test_an_answer_has_counts_and_the_first_documents(tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "a cat sat on the mat, and the cat sat on the mat", "nothing here"]
    with make_index(tmp_path, texts) as index:
        answer = index.trace("Yesterday THE CAT sat on the mat!", documents=1)
    assert (answer.covered, answer.total, len(answer.tokens)) == (6, 1, 7)
    (span,) = answer.spans
    assert (span.start, span.end, span.text) == (1, 7, "the cat sat on the mat")
    assert (span.occurrences, span.documents) == (2, 2)
    (document,) = span.found
    assert (document.document, document.id) == (0, "d0")
    assert [[(part.text, part.mention) for part in passage] for passage in document.passages] == [
        [("the cat sat on the mat", "text")]
    ]
    assert TraceAnswer.from_json(answer.as_json()) == answer


def test_only_the_longest_spans_are_kept_in_the_order_of_the_text(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b c d", "e f g h i j", "k l m n o"]) as index:
        answer = index.trace("a b c d x e f g h i j x k l m n o", limit=2)
    assert answer.total == 3
    assert [span.text for span in answer.spans] == ["e f g h i j", "k l m n o"]
    assert answer.covered == 15, "all spans count"


def test_the_command_reads_a_text_from_its_argument_a_file_or_stdin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_index(tmp_path, ["the cat sat on the mat"]).close()
    text, file = "my cat sat on the mat", tmp_path / "output.txt"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    for arguments in ([text], ["--file", str(file)], ["--file", "-"]):
        assert main(["trace", str(tmp_path / "ix"), *arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["spans"][0]["text"] == "cat sat on the mat"
    assert main(["trace", str(tmp_path / "ix"), text]) == 0
    assert "[cat sat on the mat]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either TEXT or --file FILE"),
        (["a", "--file", "b"], "give either TEXT or --file FILE"),
        (["!!!"], "finds no token"),
        (["a", "--by", "source"], "unknown option '--by'"),
    ],
)
def test_wrong_use_of_the_command_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_index(tmp_path, ["a b c d"]).close()
    assert main(["trace", str(tmp_path / "ix"), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_documents_are_found_for_a_text_an_entity_or_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_index(tmp_path, ["Lima, Peru", "Peru alone", "Lima"], ["wiki", "web", "web"]).close()

    def found(*arguments: str) -> list[str]:
        assert main(["documents", str(tmp_path / "ix"), *arguments, "--json"]) == 0
        return [each["id"] for each in json.loads(capsys.readouterr().out)["documents"]]

    assert found("--text", "Lima Peru") == ["d0"]
    assert found("--subject", "Peru") == ["d0", "d1"]
    assert found("--subject", "Perú", "--subject-alias", "Peru", "--object", "Lima") == ["d0"]
    assert found("--subject", "Peru", "--limit", "1", "--start", "1") == ["d1"]
    assert main(["documents", str(tmp_path / "ix"), "--subject", "Peru", "--limit", "1"]) == 0
    printed = capsys.readouterr().out
    assert "documents 1 to 1 of 2" in printed
    assert "document 0  d0  wiki  2 tokens" in printed
    assert "lima [peru]" in printed
    assert "more: --start 1" in printed
    assert main(["documents", str(tmp_path / "ix"), "--subject", "Peru", "--window", "1"]) == 2
    assert "no effect without --object" in capsys.readouterr().err


def test_values_of_a_column_are_sorted_and_those_without_occurrences_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_index(tmp_path, ["a", "a", "a", "b"], ["web", "wiki", "wiki", "books"]).close()
    assert main(["count", str(tmp_path / "ix"), "a", "--by", "source"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["all", "wiki", "web"]
    assert main(["count", str(tmp_path / "ix"), "a", "--by", "source", "--top", "1", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["by_source"]) == ["wiki"]
