"""Text to tokens: the analyzers compared with the documented rules."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, build_index
from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.analyzers.definition import exact_tokens
from factcensus.indexer.analyzers.unicode_tables import Normalization
from factcensus.indexer.errors import FactcensusError, InputError, UnknownNameError

from . import reference
from .characters import EVERYWHERE, all_characters, characters_for_many_contexts
from .corpora import index_of
from .strategies import HARD, QUICK, hard_text

WORD_ANALYZERS = ("words", "words-cased")

#: Texts with known tokens: (text, tokens of `words`, tokens of `words-cased`).
BY_HAND = [
    ("St. Louis", ["st", "louis"], ["St", "Louis"]),
    ("St Louis", ["st", "louis"], ["St", "Louis"]),
    ("O’Brien", ["o", "brien"], ["O", "Brien"]),
    ("O'Brien", ["o", "brien"], ["O", "Brien"]),
    ("_Paris_", ["paris"], ["Paris"]),
    ("C++, C# and A+", ["c++", "c#", "and", "a+"], ["C++", "C#", "and", "A+"]),
    ("a+b", ["a", "b"], ["a", "b"]),
    ("a+ b", ["a+", "b"], ["a+", "b"]),
    ("a++b c#d", ["a", "b", "c", "d"], ["a", "b", "c", "d"]),
    ("C+#", ["c+#"], ["C+#"]),
    ("C++中 C++ー", ["c++", "中", "c++", "ー"], ["C++", "中", "C++", "ー"]),
    ("C++-x", ["c++", "x"], ["C++", "x"]),
    ("+1 #2 ++", ["1", "2"], ["1", "2"]),
    ("C+\u200d+", ["c++"], ["C++"]),
    ("中+ か#", ["中", "か"], ["中", "か"]),
    ("東京タワー", ["東", "京", "タ", "ワ", "ー"], ["東", "京", "タ", "ワ", "ー"]),
    ("東京2020年", ["東", "京", "2020", "年"], ["東", "京", "2020", "年"]),
    ("ไทย๒", ["ไ", "ท", "ย", "๒"], ["ไ", "ท", "ย", "๒"]),
    ("서울시", ["서울시"], ["서울시"]),
    ("서울", ["서울"], ["서울"]),
    ("Straße STRASSE", ["strasse", "strasse"], ["Straße", "STRASSE"]),
    ("ΣΊΣΥΦΟΣ σίσυφος", ["σίσυφοσ", "σίσυφοσ"], ["ΣΊΣΥΦΟΣ", "σίσυφος"]),
    ("Ｐａｒｉｓ ﬁn", ["paris", "fin"], ["Ｐａｒｉｓ", "ﬁn"]),
    ("x² ½", ["x", "2", "1", "2"], ["x", "2", "1", "2"]),
    ("10²³ x²+1 ²\u00ad³", ["10", "23", "x", "2", "1", "23"], ["10", "23", "x", "2", "1", "23"]),
    (
        "5¼½+ 3⅒ ⅟8",
        ["5", "1", "4", "1", "2", "3", "1", "10", "1", "8"],
        ["5", "1", "4", "1", "2", "3", "1", "10", "1", "8"],
    ),
    ("Apple™ ™Apple SM℠ 🅪", ["apple", "apple", "sm"], ["Apple", "Apple", "SM"]),
    ("Na⁺ Cl⁻ SO₄²⁻ C++⁺", ["na", "cl", "so4", "2", "c++"], ["Na", "Cl", "SO₄", "2", "C++"]),
    ("Nº 1ª xⁿ ᵃ", ["no", "1a", "xn", "a"], ["Nº", "1ª", "xⁿ", "ᵃ"]),
    ("讀㆒書㆖", ["讀", "書"], ["讀", "書"]),
    ("Disney´s a¨b c¸ ͺ ΅", ["disney", "s", "a", "b", "c"], ["Disney", "s", "a", "b", "c"]),
    ("か゛ ﹰ ﱞ", ["か"], ["か"]),
    ("Nukuʻalofa Oʼneill ʾIyaˈ", ["nuku", "alofa", "o", "neill", "iya"], ["Nuku", "alofa", "O", "neill", "Iya"]),
    ("Ꞌa\ua78cb ŉ ẚ", ["a", "b", "n", "a"], ["a", "b", "ŉ", "ẚ"]),
    ("ˮa bˀ ˉ", ["ˮa", "bˀ", "ˉ"], ["ˮa", "bˀ", "ˉ"]),
    ("❤\ufe0fParis 葛\U000e0100城", ["paris", "葛", "城"], ["Paris", "葛", "城"]),
    ("a\u3164b\u115fc\uffa0d\u034fe\u17b5f", ["abcdef"], ["abcdef"]),
    ("a\u2065b\ufff0c\U000e0ffed", ["abcd"], ["abcd"]),
    ("a\u0600b\ufff9c", ["a", "b", "c"], ["a", "b", "c"]),
    ("1\ufe0f\u20e3st а\u0488б", ["1st", "аб"], ["1st", "аб"]),
    ("\u0645\u064f\u062d\u064e\u0645\u0640\u0651\u062f", ["\u0645\u062d\u0645\u062f"], ["\u0645\u062d\u0645\u062f"]),
    ("\u05e9\u05c1\u05b8\ufb2a\u05be\u05d9\u05b0", ["\u05e9\u05e9", "\u05d9"], ["\u05e9\u05e9", "\u05d9"]),
    ("Москва\u0301 за\u0301мок", ["москва", "замок"], ["Москва", "замок"]),
    ("ѓ г\u0301 к\u0301 г\u00ad\u0301", ["ѓ", "ѓ", "ќ", "г"], ["ѓ", "ѓ", "ќ", "г"]),
    ("а\u0301\u0301 а\u0308\u0301 ё\u0301", ["а", "ӓ", "ё"], ["а", "ӓ", "ё"]),
    (
        "а\u0323\u0301 а\u0300\u0301 а\u0488\u0301",
        ["а\u0323\u0301", "а\u0300\u0301", "а"],
        ["а\u0323\u0301", "а\u0300\u0301", "а"],
    ),
    ("a\u0301 α\u0301", ["á", "ά"], ["á", "ά"]),
    ("Sḵwx\u0331wú7mesh", ["sḵwx\u0331wú7mesh"], ["Sḵwx\u0331wú7mesh"]),
    ("スーパーPC", ["ス", "ー", "パ", "ー", "pc"], ["ス", "ー", "パ", "ー", "PC"]),
    ("ア\u3099〆㈠", ["ア", "\u3099", "〆", "一"], ["ア", "\u3099", "〆", "㈠"]),
    ("CO₂", ["co2"], ["CO₂"]),
    ("co\u00adoperate", ["cooperate"], ["cooperate"]),
    ("zero\u200bwidth", ["zero", "width"], ["zero", "width"]),
    ("Zoe\u0308 Zoë", ["zoë", "zoë"], ["Zoë", "Zoë"]),
    ("3.14", ["3", "14"], ["3", "14"]),
    ("a\u0378b", ["a", "b"], ["a", "b"]),
    ("", [], []),
    ("— … !?", [], []),
]


@pytest.mark.parametrize(("text", "folded", "cased"), BY_HAND, ids=[repr(text) for text, _, _ in BY_HAND])
def test_tokens_given_by_hand(text: str, folded: list[str], cased: list[str]) -> None:
    assert reference.words(text) == folded, "the oracle itself"
    assert reference.words_cased(text) == cased, "the oracle itself"
    assert get_analyzer("words").tokens(text) == folded
    assert get_analyzer("words-cased").tokens(text) == cased


def check_tokens(analyzer: str, text: str) -> None:
    """Check that the analyzer and the oracle give the same tokens."""
    assert get_analyzer(analyzer).tokens(text) == reference.ANALYZERS[analyzer](text)


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
@settings(QUICK, max_examples=500)
@given(text=hard_text())
def test_tokens_of_any_text_equal_the_oracle(analyzer: str, text: str) -> None:
    check_tokens(analyzer, text)


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_tokens_of_all_ascii_pairs_follow_the_definition(analyzer: Normalization) -> None:
    """Most queries are ASCII, which has a separate, faster path."""
    characters = [chr(c) for c in range(128)]
    for first in characters:
        for end in ("", "a", "+b", "# "):
            text = "\n".join(f"{first}{second}{end}" for second in characters)
            assert get_analyzer(analyzer).tokens(text) == exact_tokens(text, analyzer)


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
@settings(QUICK, max_examples=500)
@given(text=st.text(st.characters(max_codepoint=127)) | st.text("aB1+#. _") | hard_text())
@example(text="a" + "+#" * 5_000 + "b")
def test_tokens_follow_the_definition(analyzer: Normalization, text: str) -> None:
    assert get_analyzer(analyzer).tokens(text) == exact_tokens(text, analyzer)


@pytest.mark.full
@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
@settings(QUICK, max_examples=20_000)
@given(text=hard_text(max_size=60))
def test_tokens_of_very_many_texts_equal_the_oracle(analyzer: str, text: str) -> None:
    check_tokens(analyzer, text)


@pytest.mark.parametrize("name", sorted(HARD))
@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_tokens_of_all_pairs_of_hard_characters_equal_the_oracle(analyzer: str, name: str) -> None:
    tokens, oracle = get_analyzer(analyzer).tokens, reference.ANALYZERS[analyzer]
    characters = sorted(set(HARD[name]))
    for first in characters:
        text = " . ".join(f"{first}{second}{end}" for second in characters for end in ("", "a", "+"))
        if tokens(text) != oracle(text):  # find the smallest text that shows the error
            for second in characters:
                for end in ("", "a", "+"):
                    assert tokens(f"{first}{second}{end}") == oracle(f"{first}{second}{end}")
        assert tokens(text) == oracle(text)


def _disagreements(analyzer: str, characters: Sequence[str], texts_of: Callable[[str], str]) -> list[str]:
    """Return the characters for which analyzer and oracle differ."""
    tokens, oracle = get_analyzer(analyzer).tokens, reference.ANALYZERS[analyzer]
    found = []
    for start in range(0, len(characters), 500):
        block = characters[start : start + 500]
        text = " . ".join(texts_of(character) for character in block)
        if tokens(text) != oracle(text):
            wrong = [hex(ord(c)) for c in block if tokens(texts_of(c)) != oracle(texts_of(c))]
            found += wrong or [f"somewhere from {block[0]!r} on"]
    return found


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_tokens_of_every_eleventh_character_in_context_equal_the_oracle(analyzer: str) -> None:
    assert _disagreements(analyzer, all_characters()[::11], lambda c: f"{c} a{c}b{c}+ а{c}\u0301 1{c}²") == []


@pytest.mark.full
@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_tokens_of_every_character_in_context_equal_the_oracle(analyzer: str) -> None:
    """Every character occurs in one context, and those that may matter to their neighbours in all of them."""
    assert _disagreements(analyzer, all_characters(), EVERYWHERE.format) == []
    marks = "e{0}\u0301 \u0301{0}\u0327 {0}\u0345 {0}{0}"
    scripts = "{0}+{0} #{0}# 中{0}ก{0} \u1100{0}\u1161"
    neighbours = "1{0}² а{0}\u0301 а\u0301{0}+ {0}\u00ad\u0301 ²{0}³{0} ¼{0} C++{0} ʼ{0}´\u0301"
    for context in (marks, scripts, neighbours):
        assert _disagreements(analyzer, characters_for_many_contexts(), context.format) == []


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
@settings(QUICK, max_examples=500)
@given(text=hard_text())
@example(text="а\u0301\u0301\u0301 ŉ 10²+ ㍿")
def test_tokens_of_tokens_are_the_same(analyzer: str, text: str) -> None:
    """A displayed token can be used as a query.

    The exception is a vowel sign on a tatweel between a letter and a mark that composes with it. NFKC decomposes the
    sign and the last step removes it, but letter and mark are not composed afterwards.
    """
    text = "".join(c for c in text if "\u0640" not in unicodedata.normalize("NFKC", c) or c == "\u0640")
    tokens = get_analyzer(analyzer).tokens(text)
    assert get_analyzer(analyzer).tokens(" ".join(tokens)) == tokens


@settings(QUICK, max_examples=200)
@given(text=hard_text())
@example(text="\u1fb3\u0345")
def test_canonically_equivalent_texts_have_the_same_tokens(text: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    for analyzer in WORD_ANALYZERS:
        assert get_analyzer(analyzer).tokens(composed) == get_analyzer(analyzer).tokens(decomposed)


@settings(QUICK, max_examples=200)
@given(text=st.text(st.characters(max_codepoint=0x24F) | st.sampled_from("ßẞΑαΣσςЖж"), max_size=20))
def test_upper_and_lower_case_have_the_same_words(text: str) -> None:
    # The upper case of some characters does not fold back (dotless i, long s with combining marks): those for which
    # casefold itself says so are left out.
    text = "".join(c for c in text if c.upper().casefold() == c.casefold() == c.lower().casefold())
    tokens = get_analyzer("words").tokens
    assert tokens(text.upper()) == tokens(text) == tokens(text.lower())


@settings(QUICK, max_examples=200)
@given(text=st.text(max_size=20))
def test_bytes_has_one_token_per_byte(text: str) -> None:
    assert len(get_analyzer("bytes").tokens(text)) == len(text.encode("utf-8"))


def test_bytes_shows_ascii_unchanged() -> None:
    assert get_analyzer("bytes").tokens("Pa ris") == ["P", "a", " ", "r", "i", "s"]


def check_indexed_text(analyzer: str, texts: list[str]) -> None:
    """Check that an index has the tokens of the oracle: every slice of two tokens has the right count."""
    analyse = reference.ANALYZERS[analyzer]
    documents = [reference.Document(analyse(text)) for text in texts]
    with index_of(texts, analyzer=analyzer) as index:
        for text in texts:
            for query in {text, text[: len(text) // 2], text[len(text) // 2 :], *text[:8]}:
                ngram = analyse(query)
                if not ngram:
                    with pytest.raises(InputError):
                        index.count(query)
                else:
                    answer = index.count(query)
                    numbers = {"occurrences": answer.occurrences, "documents": answer.documents}
                    assert numbers == reference.count(documents, ngram)


@pytest.mark.parametrize("analyzer", ["words", "words-cased", "bytes"])
@settings(QUICK, max_examples=12)
@given(texts=st.lists(hard_text(), min_size=1, max_size=12))
def test_indexed_text_is_analysed_like_the_query(analyzer: str, texts: list[str]) -> None:
    check_indexed_text(analyzer, texts)


@pytest.mark.full
@pytest.mark.parametrize("analyzer", ["words", "words-cased", "bytes"])
@settings(QUICK, max_examples=600)
@given(texts=st.lists(hard_text(), min_size=1, max_size=30))
def test_much_indexed_text_is_analysed_like_the_query(analyzer: str, texts: list[str]) -> None:
    check_indexed_text(analyzer, texts)


@pytest.mark.parametrize("width", [9, 40])
def test_long_words_and_long_texts_are_not_cut(width: int) -> None:
    """A word of 100,000 letters is one token, and tokens around buffer limits are whole."""
    word = "ab" * 50_000
    text = f"x {word} " + " ".join("é" * (n % width + 1) for n in range(20_000)) + f" {word}"
    assert get_analyzer("words").tokens(text) == reference.words(text)
    with index_of([text]) as index:
        assert index.count(word).occurrences == 2
        assert index.count("x " + word).occurrences == 1


def test_analyzer_label_has_its_version_and_unicode_version() -> None:
    """The label is in every answer; the Unicode version is part of the analyzer version."""
    for name in WORD_ANALYZERS:
        label = get_analyzer(name).label
        assert label.startswith(name)
        assert label != name
        assert "14" in label
    assert len({get_analyzer(name).label for name in (*WORD_ANALYZERS, "bytes")}) == 3


def test_words_have_four_bytes_per_token_and_bytes_one() -> None:
    assert get_analyzer("words").token_dtype == "u32"
    assert get_analyzer("words-cased").token_dtype == "u32"
    assert get_analyzer("bytes").token_dtype == "u8"


def test_unknown_analyzer_error_lists_known_analyzers() -> None:
    with pytest.raises(UnknownNameError) as raised:
        get_analyzer("wrods")
    message = str(raised.value)
    assert all(name in message for name in ("wrods", "words", "words-cased", "bytes", "hf:"))


def test_missing_tokenizer_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FactcensusError, match=r"absent\.json"):
        get_analyzer(f"hf:{tmp_path / 'absent.json'}")


def test_index_refuses_a_different_analyzer(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "a b"}\n', encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1)
    with pytest.raises(FactcensusError):
        CountIndex.open(tmp_path / "ix", analyzer="bytes")
