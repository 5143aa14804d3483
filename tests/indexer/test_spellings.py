"""Spellings of numbers and addresses: a slow, obvious search of every text, and unusual ways to write them."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex
from factcensus.indexer.counting.folding import fold
from factcensus.indexer.counting.spellings import spellings_of
from factcensus.indexer.errors import InputError

from .corpora import index_of, make_index
from .strategies import QUICK, hard_text

MAIL = "jane.doe@example.org"
#: Everything that may be between two digits, at most four of them.
SEPARATORS = set(
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000\u200b.-()[]/·_\u2212"
) | {chr(code) for code in (*range(0x2000, 0x200B), *range(0x2010, 0x2016))}
CONNECTORS = set(".-_+@&'’\u2010\u2011")
INVISIBLE = "\u00ad\u200d\u2060\u202a\u202c\ufe0f\u20e3"


def found(index: CountIndex, **asked: Any) -> list[int]:
    return [each.document for each in index.find_documents(**asked, limit=1000).documents]


def digit(character: str) -> str | None:
    """Return a digit of any script as 0-9."""
    value = None if character in "²³¹⁴" else unicodedata.digit(character, None)
    return None if value is None else str(value)


def has_number(text: str, numbers: set[str]) -> bool:
    """Return whether one of the numbers is in a text, with separators, and not next to another letter or digit."""
    seen = [digit(each) or each for each in text if each not in INVISIBLE]

    def continued(at: int, step: int) -> bool:
        if not 0 <= at < len(seen):
            return False
        if seen[at].isalnum() and seen[at] not in "²³¹⁴中":  # the last is a word by itself
            return True
        return seen[at] in CONNECTORS and 0 <= at + step < len(seen) and seen[at + step].isdecimal()

    for begin in range(len(seen)):
        written, separators = "", 0
        for at in range(begin, len(seen)):
            if seen[at].isdecimal():
                written, separators = written + seen[at], 0
                if written in numbers and not continued(begin - 1, -1) and not continued(at + 1, 1):
                    return True
            elif written and seen[at] in SEPARATORS and separators < 4:
                separators += 1
            else:
                break
    return False


PIECES = [*"1234", "12", "34", "1234", "3\ufe0f\u20e3", *" -./)[\n\t,x_", " (", "    ", "     "]
PIECES += [*"\u00a0\u200b\u00ad\u202aé中¹😀א"]
#: The digits of a text: all of one script, or ASCII digits and full-width ones, which are the same to an index.
SCRIPTS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "๐๑๒๓๔๕๖๗๘๙", "01２３456789"]


@st.composite
def numbers_in_texts(draw: st.DrawFn) -> str:
    text = "".join(draw(st.lists(st.sampled_from(PIECES), max_size=9)))
    return text.translate(dict(zip(range(ord("0"), ord("9") + 1), draw(st.sampled_from(SCRIPTS)), strict=True)))


@settings(QUICK, max_examples=150)
@given(texts=st.lists(numbers_in_texts(), min_size=1, max_size=8))
def test_number_is_found_exactly_where_a_slow_search_finds_it(texts: list[str]) -> None:
    wanted = [number for number, text in enumerate(texts) if has_number(text, {"1234"})]
    spellings = spellings_of("12-34", "digits", None)
    assert [number for number, text in enumerate(texts) if spellings.spans(text)] == wanted
    with index_of([*texts, "end"], keep_text=True) as index:
        assert found(index, text="1234", normalise="digits") == wanted


@settings(QUICK, max_examples=100)
@given(hard_text(30) | numbers_in_texts())
def test_folded_text_leads_back_to_the_original(text: str) -> None:
    text = text.encode(errors="replace").decode()
    folded = fold(text)
    assert fold(folded.text).text == folded.text
    ends = 0
    for at, character in enumerate(folded.text):
        begin, end = folded.original(at, at + 1)
        assert 0 <= begin < end <= len(text)
        assert begin >= ends or folded.original(at - 1, at) == (begin, end)
        assert character in fold(text[begin:end]).text
        ends = end


#: Texts with the number +49 30 901820, and whether it is there.
PHONES = {
    "Tel.030 901820": True,
    "Fax-030/901820": True,
    "030 901820.Please call": True,
    "tel_030901820_home": True,
    "０３０ ９０１８２０": True,
    "+٤٩ ٣٠ ٩٠١٨٢٠": True,
    "۰۳۰-۹۰۱۸۲۰": True,
    "\u202a+49 30 901820\u202c": True,
    "+49\u00a030\u00a0901820": True,
    "+49\u00ad30\u2060901820": True,
    "030\u200b901820": True,
    "0\ufe0f\u20e33\ufe0f\u20e30\ufe0f\u20e3 901820": True,
    "+49 [0] 30 901820": True,
    "030 901820¹": True,
    "030（901820）": True,
    "030\n901820": True,
    "030901820x12": True,
    "030 901820 ext. 12": True,
    "030 901820ext12": True,
    "001 49 30 901820": True,
    "0014930901820": True,
    "030 901820😀": True,
    "טל 030-901820": True,
    "030 901820-12": False,
    "030 901820.12": False,
    "030 9018203": False,
    "0300901820": False,
    "1.030 901820": False,
    "٣030 901820": False,
    "030 901820٣": False,
    "030 901820é": False,
    "030, 901820": False,
    "+43 030 901820": False,
    "+٤٣ 030 901820": False,
    "030 901820xyz": False,
    "030 901820x12y": False,
}


@pytest.mark.parametrize("analyzer", ["words", "words-cased"])
@pytest.mark.parametrize("query", ["+49 30 901820", "٠٣٠ ٩٠١٨٢٠", "０３０／９０１８２０"])
def test_phone_number_is_found_in_unusual_spellings(analyzer: str, query: str, tmp_path: Path) -> None:
    with make_index(tmp_path, [f"a {text} b" for text in PHONES], analyzer=analyzer, keep_text=True) as index:
        numbers = found(index, text=query, normalise="phone", region="DE")
        texts = list(PHONES)
        assert [texts[number] for number in numbers] == [text for text, there in PHONES.items() if there]


@pytest.mark.parametrize(
    ("number", "spelled"),
    [
        ("+54 9 11 2345 6789", ["+54 9 11 2345-6789", "+54 11 2345-6789", "011 15-2345-6789", "0054 9 11 23456789"]),
        ("+52 55 1234 5678", ["+52 1 55 1234 5678", "+52 55 1234 5678", "55 1234 5678"]),
        ("+7 495 123-45-67", ["8 (495) 123-45-67", "+7(495)123-45-67", "8-10-7-495-123-45-67", "٧ ٤٩٥ ١٢٣ ٤٥ ٦٧"]),
    ],
)
def test_numbers_of_some_countries_have_more_spellings(number: str, spelled: list[str], tmp_path: Path) -> None:
    with make_index(tmp_path, [*spelled, "nothing"], keep_text=True) as index:
        assert found(index, text=number, normalise="phone") == list(range(len(spelled)))


@pytest.mark.parametrize("number", ["+1 202 555 0143 ext. 5", "+1 202 555 0143x5", "tel:+1-202-555-0143;ext=5"])
def test_extension_in_a_query_is_not_ignored(number: str) -> None:
    with pytest.raises(InputError, match="extension 5"):
        spellings_of(number, "phone", None)


def test_address_is_found_in_unusual_spellings(tmp_path: Path) -> None:
    spelled = [
        "jane.doe＠example.org",
        "ｊａｎｅ．ｄｏｅ＠ｅｘａｍｐｌｅ．ｏｒｇ",
        "jane.doe_at_example.org",
        "jane.doe -at- example -dot- org",
        "jane.doe *at* example *dot* org",
        "jane.doe@exam\u00adple.org",
        "jane\u200b.doe\u200b@example.org",
        "\u202ajane.doe@example.org\u202c",
        "JANE.DOE\u00a0@\u00a0EXAMPLE.ORG",
        "jane[.]doe[@]example[.]org",
        "jane.doe@example.org\nnext",
    ]
    others = ["jane.doe@example.org.Thanks", "x_jane.doe@example.org", "jane.doe@exam ple.org"]
    with make_index(tmp_path, [f"a {each}" for each in [*spelled, *others]], keep_text=True) as index:
        assert found(index, text=MAIL, normalise="email") == list(range(len(spelled)))


@pytest.mark.parametrize("query", ["josé@müller.de", "JOSE\u0301@MU\u0308LLER.DE", "josé@xn--mller-kva.de"])
def test_accents_and_international_domains_are_found_in_both_forms(query: str, tmp_path: Path) -> None:
    texts = [
        "josé@müller.de",
        "jose\u0301@mu\u0308ller.de",
        "JOSÉ@MÜLLER.DE",
        "josé@xn--mller-kva.de",
        "jose@muller.de",
        "josé@mller-kva.de",
    ]
    with make_index(tmp_path, texts, keep_text=True) as index:
        assert found(index, text=query, normalise="email") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "query", "begin", "end"),
    [
        ("email", MAIL, "jane", "doe example org"),
        ("digits", "12345678", "1234", "5678"),
        ("phone", "+4930901820", "030", "901820"),
    ],
)
@pytest.mark.parametrize("filling", [" ", "\n", "\u200b", "\u00ad", ".", "(", "- "])
def test_search_of_a_hostile_text_takes_linear_time(kind: str, query: str, begin: str, end: str, filling: str) -> None:
    """A repetition without a bound needs hours for these texts."""
    spellings = spellings_of(query, kind, None)
    started = time.process_time()
    spellings.spans(f"{begin}{filling * 300_000}{end} " + begin * 1000)
    assert time.process_time() - started < 30
