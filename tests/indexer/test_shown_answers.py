"""How the commands and notebooks show answers: order of groups, titles, plurals, and texts that were left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, build_index
from factcensus.indexer.cli import main
from factcensus.indexer.numbers import counted

DOCUMENTS = [
    {"id": "a", "source": "books", "text": "Paris, France.", "metadata": {"title": "A walk", "url": "https://a"}},
    {"id": "b", "source": "wiki", "text": "Paris is in France.", "metadata": {"url": "https://b"}},
    {"id": "c", "source": "wiki", "text": "France: Paris", "title": "Paris"},
    {"id": "d", "source": "web", "text": "nothing"},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS), encoding="utf-8")
    build_index([path], tmp_path / "index", jobs=1, keep_text=True)
    return tmp_path


def first_words(text: str) -> list[str]:
    """Return the first word of each row of a table, below its heading."""
    return [line.split()[0] for line in text.splitlines()[2:]]


def test_groups_are_sorted_by_documents_and_those_without_any_are_left_out(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = str(corpus / "index")
    assert main(["count", index, "Paris", "--by", "source"]) == 0
    assert first_words(capsys.readouterr().out) == ["all", "wiki", "books"]
    assert main(["cooc", index, "--subject", "Paris", "--object", "France", "--by", "source"]) == 0
    assert first_words(capsys.readouterr().out) == ["all", "wiki", "books"]
    with CountIndex.open(index) as opened:
        answers = opened.count("Paris", by="source"), opened.cooccurrence("Paris", "France", by="source")
    for answer in answers:
        shown = answer._repr_html_()
        assert shown.index("wiki") < shown.index("books")
        assert "web" not in shown


def test_training_steps_stay_in_their_order(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = corpus / "order.csv"
    order.write_text("id,step\na,0\nb,12\nc,25\nd,30\n", encoding="utf-8")
    assert main(["count", str(corpus / "index"), "Paris", "--by", "step:10", "--order", str(order)]) == 0
    assert first_words(capsys.readouterr().out) == ["all", "10", "20", "30", "40"]


def test_documents_are_shown_with_titles_also_nested_ones(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["documents", str(corpus / "index"), "--text", "Paris"]) == 0
    heads = [line.split("  ") for line in capsys.readouterr().out.splitlines() if line.startswith("document ")]
    assert [head[3] for head in heads] == ["A walk", "https://b", "Paris"]
    with CountIndex.open(corpus / "index") as index:
        found = index.find_documents(text="Paris")
    assert [each.title for each in found.documents] == ["A walk", None, "Paris"]
    assert "<td>A walk</td>" in found._repr_html_()


def test_a_deletion_names_documents_by_nested_titles(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "delete", str(corpus / "index"), "--text", "Paris", "--dry-run"]) == 0
    assert "a  A walk" in capsys.readouterr().out


def test_a_page_without_documents_says_so(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = str(corpus / "index")
    assert main(["documents", index, "--text", "absent"]) == 0
    assert capsys.readouterr().out.startswith("no documents in index")
    assert main(["documents", index, "--text", "Paris", "--start", "9"]) == 0
    assert capsys.readouterr().out.startswith("no documents from 10 on, of 3 in index")


def test_the_last_part_of_a_nested_field_is_enough_for_a_suggestion(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["count", str(corpus / "index"), "Paris", "--by", "url"]) == 2
    assert "did you mean 'metadata.url'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["slice", "--shards", "0"], ["convert", "--layout", "compact"]])
def test_texts_that_are_left_out_are_reported(
    corpus: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["index", command[0], str(corpus / "index"), *command[1:]]
    assert main([*made, "--out", str(corpus / "without")]) == 0
    assert "the original texts were left out; give --keep-text" in capsys.readouterr().err
    assert main([*made, "--out", str(corpus / "with"), "--keep-text"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(number, "fact") for number in (0, 1, 2000)] == ["0 facts", "1 fact", "2,000 facts"]
    assert counted(3, "stratum", "strata") == "3 strata"
