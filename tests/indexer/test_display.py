"""Text in columns of a terminal: names in every script are aligned, and none of them disturbs its neighbours."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from factcensus.eval.report.printed import aligned
from factcensus.indexer import build_index
from factcensus.indexer.cli import main
from factcensus.indexer.numbers import also_rows
from factcensus.indexer.system.display import cut, display_width, isolated, on_one_line, pad_left, pad_right
from factcensus.indexer.system.text_tables import format_table

NAMES = ["Paris", "北京", "서울", "नई दिल्ली", "é", "e\u0301", "👩‍👩‍👧", "❤️", "القاهرة", "ไทย", "🇩🇪", "ﾊﾟ", ""]
#: Names in many scripts, without what a terminal may show in its own way.
TEXTS = st.lists(st.sampled_from(NAMES), max_size=4).map(" ".join)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Paris", 5),
        ("北京", 4),
        ("서울", 4),
        ("e\u0301", 1),
        ("👩‍👩‍👧", 2),
        ("❤️", 2),
        ("القاهرة", 7),
        ("🇩🇪", 2),
        ("a\u200bb", 2),
    ],
)
def test_width_is_that_of_a_terminal(text: str, columns: int) -> None:
    assert display_width(text) == columns


@given(text=TEXTS, columns=st.integers(0, 30))
def test_padded_texts_fill_their_columns_and_cut_texts_fit_in_them(text: str, columns: int) -> None:
    for padded in (pad_left(text, columns), pad_right(text, columns)):
        assert padded.strip() == text.strip()
        assert display_width(padded) == max(columns, display_width(text))
    short = cut(text, columns)
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
    assert display_width(short) <= max(columns, 1)


def test_a_text_is_never_cut_within_a_character() -> None:
    for columns in range(1, 6):
        assert cut("👩‍👩‍👧e\u0301👍🏽", columns) in ("…", "👩‍👩‍👧…", "👩‍👩‍👧e\u0301…", "👩‍👩‍👧e\u0301👍🏽")


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_tables_are_aligned_in_every_script(style: str) -> None:
    lines = format_table([[name, 1234567] for name in NAMES], ["name", "facts"], style).splitlines()
    assert len({wcswidth(line) for line in lines}) == 1
    assert len({wcswidth(line) for line in aligned([["name", "facts"], *([name, "1"] for name in NAMES)])}) == 1


def test_names_from_right_to_left_are_isolated_in_plain_text_only() -> None:
    rows = [["القاهرة", 7, 12], ["Kairo", 1, 2]]
    assert "\u2068القاهرة\u2069    7   12" in format_table(rows, ["", "n", "m"])
    assert "\u2068" not in format_table(rows, ["", "n", "m"], "markdown") + format_table(rows, ["", "n", "m"], "latex")
    assert [isolated(name) for name in ("Kairo", "北京", "é")] == ["Kairo", "北京", "é"]


@given(text=st.text())
def test_a_cell_cannot_move_the_cursor_or_turn_its_neighbours(text: str) -> None:
    line = on_one_line(f"a{text}\x1b[31m\r\n\u202e\u2066b")
    assert line.startswith("a")
    assert not any(unicodedata.category(character) == "Cc" for character in line)
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(line)


def test_results_on_a_terminal_have_no_control_characters_of_the_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "id": "a\x1b]0;b\x07",
        "source": "s\x1b[2J",
        "title": "\x9b1m",
        "text": "Lima \x1b[31m\u202e Peru\x08 الليما",
    }
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "index", jobs=1, keep_text=True)
    index, before = str(tmp_path / "index"), ["--subject", "Lima", "--object"]
    for command in (
        ["documents", index, "--text", "Lima"],
        ["trace", index, "Lima \x1b[31m\u202e Peru", "--least-tokens", "1"],
        ["count", index, "Lima", "--by", "source"],
        ["cooc", index, *before, "الليما", "--window", "1", "--by", "source"],
        ["index", "delete", index, "--id", row["id"], "--dry-run"],
    ):
        assert main(command) == 0
        printed = capsys.readouterr().out
        assert not [each for each in printed if unicodedata.category(each) == "Cc" and each != "\n"], command
        assert "\u202e" not in printed
        if command[0] == "cooc":
            assert printed.startswith("Lima and \u2068الليما\u2069 at most 1 token apart, in index")


def test_further_rows_are_listed_up_to_five() -> None:
    assert [also_rows([*range(2, 2 + number)]) for number in (0, 1, 2, 7)] == [
        "",
        " (also in row 2)",
        " (also in rows 2, 3)",
        " (also in rows 2, 3, 4, 5, 6 and 2 more)",
    ]
