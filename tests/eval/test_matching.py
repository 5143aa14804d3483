from __future__ import annotations

import pytest

from factcensus.eval.asking.matching import Match, match_answer, rouge_l, words


@pytest.mark.parametrize(
    ("continuation", "accepted", "exact", "contains"),
    [
        ("Paris", ["Paris"], True, True),
        ("paris.", ["Paris"], True, True),
        ("It is Paris, of course", ["Paris"], False, True),
        ("Parisian", ["Paris"], False, False),  # word boundaries
        ("New", ["New York"], False, False),
        ("York New", ["New York"], False, False),
        ("in New  York.", ["New York"], False, True),
        ("new jersey york", ["New York"], False, False),  # next to one another
        ("St. Louis", ["st louis"], True, True),
        ("the Big Apple", ["New York", "Big Apple"], False, True),  # an alias counts
        ("東京です", ["東京"], False, True),
        ("C++", ["C"], False, False),
        ("", ["Paris"], False, False),
        ("Paris", ["!?", "Paris"], True, True),
    ],
)
def test_answers_match_whole_words(continuation: str, accepted: list[str], exact: bool, contains: bool) -> None:
    assert match_answer(continuation, accepted) == Match(exact=exact, contains=contains)


def test_answer_without_words_cannot_match() -> None:
    assert match_answer("Paris", ["?!", ""]) is None
    assert match_answer("Paris", []) is None


def test_rouge_l_by_hand() -> None:
    """Longest common subsequence "new city" of answer "new york city" and continuation "new big city hall"."""
    score = rouge_l("new big city hall", "New York City")
    assert score is not None
    assert score.recall == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


def test_rouge_l_reads_every_script_and_is_none_without_words() -> None:
    score = rouge_l("東京", "東京")
    assert score is not None
    assert score.recall == 1.0, "rouge-score's own tokenizer gives 0 here"
    assert rouge_l("Paris", "?!") is None
    nothing = rouge_l("", "Paris")
    assert nothing is not None
    assert nothing.recall == 0.0


def test_words_survive_a_lone_surrogate() -> None:
    assert words("Paris \ud800") == ("paris",)
