"""Suggestions for misspelt names."""

from __future__ import annotations

import pytest

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import nearest, suggestion, unknown_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("winodw", "window"),
        ("Windows", "window"),
        ("subject_alias", "subject-alias"),
        ("sorce", "source"),
        ("by", "by"),
        ("nonsense", None),
        ("", None),
    ],
)
def test_nearest_name_ignores_case_and_word_separators(name: str, expected: str | None) -> None:
    assert nearest(name, ["by", "window", "subject-alias", "source"]) == expected


def test_suggestion_is_the_most_similar_name_or_a_list_of_known_names() -> None:
    assert suggestion("winodw", ["by", "window"]) == "; did you mean 'window'?"
    assert suggestion("zzz", ["by", "window", "by"]) == "; known: by, window"
    assert suggestion("zzz", []) == ""
    assert suggestion("zzz", (f"column {number}" for number in range(1000))).endswith("column 39 and 960 more")


def test_unknown_name_is_an_input_error_that_repeats_the_name() -> None:
    error = unknown_name("query parameter", "winodw", ["by", "window"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown query parameter 'winodw'; did you mean 'window'?"


def test_long_name_is_cut_in_the_message() -> None:
    assert len(str(unknown_name("field", "x" * 100_000, ["by"]))) < 150
