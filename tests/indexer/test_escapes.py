"""Numbers and addresses with escapes of HTML, URLs and program code: those that are found, near misses, an oracle."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, delete_documents
from factcensus.indexer.cli import main
from factcensus.indexer.counting.escapes import unescape
from factcensus.indexer.counting.spellings import spellings_of
from factcensus.indexer.storage.manifest import Layout

from .corpora import LAYOUTS, index_of, make_index
from .strategies import QUICK, hard_text
from .test_spellings import MAIL, has_number

PHONE = "+49 30 901820"
#: Each kind with a query, and the texts in which it is found, and in which it is not.
SPELLED: dict[str, tuple[str, list[str], list[str]]] = {
    "email": (
        MAIL,
        [
            "jane.doe%40example.org",
            "jane%2Edoe%40example%2eorg",
            "mailto:jane.doe%40example.org?subject=x",
            "mailto%3Ajane.doe%40example.org",
            "u=%22jane.doe@example.org%22",
            "%3Cjane.doe@example.org%3E",
            "jane.doe%2540example.org",
            "jane.doe%20at%20example.org",
            "j%61n%65.doe@example.org",
            "jane.doe&#64;example.org",
            "jane.doe&#064;example.org",
            "jane.doe&#x40;example.org",
            "jane&period;doe&commat;example&period;org",
            "jane.doe&amp;#64;example.org",
            "".join(f"&#{ord(character)};" for character in MAIL),
            "".join(f"&#x{ord(character):X};" for character in MAIL),
            "jane.doe&nbsp;(at)&nbsp;example&nbsp;(dot)&nbsp;org",
            "jane.doe&lt;at&gt;example.org",
            "jane.doe&#8203;@exam&shy;ple.org",
            r"jane.doe\u0040example.org",
            r"jane.doe\\x40example.org",
            r"one\njane.doe@example.org\ntwo",
            r"DOMAIN\jane.doe@example.org",
            "jane.doe (at) example (punkt) org",
            "jane.doe [arroba] example.org",
            "jane.doe@example。org",
            "jane.doe@example&#12290;org",
            "jane.doe&#65312;example.org",
            "jane.doe&emsp;@example.org",
            "JANE.DOE%40EXAMPLE.ORG",
            r"\u201cjane.doe@example.org\u201d",
            r"\u8bddjane.doe@example.org",
            r"\xa9jane.doe@example.org",
        ],
        [
            r"\u00e4jane.doe@example.org",
            "jane.doe@example.org%2Euk",
            "x%2Ejane.doe@example.org",
            "jane.doe&#64;example.org&#46;uk",
            "x&#46;jane.doe@example.org",
            "jane.doe&#65;example.org",
            "jane.doe%41example.org",
            "jane.doe 40example.org",
            "jane.doe 64 example.org",
            "jane.doe &commat example.org",
            r"jane.doe\u0041example.org",
            "jane&#46;doe example.org",
        ],
    ),
    "phone": (
        PHONE,
        [
            "T030901820",
            "Tel030 901820",
            "Tel.030901820",
            "FAX030/901820",
            "M+4930901820",
            "+49(0)30901820",
            "０３０－９０１８２０",
            "03\u00ad09\u200d018\u200b20",
            "tel:%2B4930901820",
            "tel%3A030901820",
            "030%20901820",
            "030%2F901820",
            "030%C2%A0901820",
            "%2B49%20%280%2930%20901820",
            "9%20030901820",
            "030&nbsp;901820",
            "030&amp;nbsp;901820",
            "030&#160;90&#160;18&#160;20",
            "030&#xA0;901820",
            "030&#8209;901820",
            "030&#150;901820",
            "030&ndash;901820",
            "030&#x2F;901820",
            "030&shy;901820",
            "&#43;4930901820",
            "(030&#41; 901820",
            r"030\u00a0901820",
            r"\n030901820\n",
            "100%2030901820 or 030901820",
            "WhatsApp030901820",
            "030901820Ext12",
            "030&emsp;901820",
            "030&#8195;901820",
            "030%E3%80%80901820",
            "030&#65293;901820",
            "030&#8236;901820",
            "030&amp;nbsp;&amp;ndash;901820",
            r"\u201c030901820\u201d",
            r"\u8bdd030901820",
        ],
        [
            r"\u00e4030901820",
            "RB030901820",
            "AT030901820",
            "ISBN030901820",
            "1T030901820",
            "030901820Tel",
            "030 160 901820",
            "030 20901820",
            "030%2C20901820",
            "030&#161;901820",
            "030&#3;901820",
            "030&901820",
            "%2B43%20030901820",
            "030901820%2D12",
            "1%2E030901820",
        ],
    ),
    "digits": (
        "4929 1234 5678",
        ["4929&nbsp;1234&nbsp;5678", "4929%201234%205678", "492912345678%20", "4929&#8211;1234–5678"],
        ["T492912345678", "4929%2C1234%2C5678", "1%2E492912345678", "4929 20 1234 5678"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("analyzer", ["words", "words-cased"])
@pytest.mark.parametrize("kind", SPELLED)
def test_spellings_with_escapes_are_found_and_near_misses_are_not(kind: str, analyzer: str, layout: Layout) -> None:
    query, spelled, others = SPELLED[kind]
    texts = [f"a {each} b" for each in [*spelled, *others]]
    spellings = spellings_of(query, kind, None)
    with index_of(texts, keep_text=True, analyzer=analyzer, layout=layout) as index:
        page = index.find_documents(text=query, normalise=kind, limit=1000)
    assert [text for text in texts if spellings.spans(text)] == texts[: len(spelled)]
    assert [texts[each.document] for each in page.documents] == texts[: len(spelled)]
    assert all(any(span.mention for span in passage) for each in page.documents for passage in each.passages)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", SPELLED)
def test_command_and_deletion_find_the_same_documents(
    kind: str, layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query, spelled, others = SPELLED[kind]
    make_index(tmp_path, [*spelled, *others], keep_text=True, layout=layout).close()
    folder = tmp_path / "ix"
    assert main(["documents", str(folder), "--text", query, "--normalise", kind, "--limit", "100", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in shown["documents"]] == [f"d{number}" for number in range(len(spelled))]
    assert delete_documents(folder, text=query, normalise=kind).documents == len(spelled)
    with CountIndex.open(folder) as index:
        assert not index.find_documents(text=query, normalise=kind).documents
        assert index.manifest is not None
        assert index.manifest.documents == len(others)


@pytest.mark.parametrize("escaped", [True, False])
def test_index_without_texts_reports_that_escaped_spellings_may_be_missed(escaped: bool) -> None:
    """Its words do not show whether 160 is a number or a space."""
    texts = ["030 901820", "030&#160;901820" if escaped else "160", "T030901820"]
    with index_of(texts) as index:
        page = index.find_documents(text=PHONE, normalise="phone")
    assert [each.document for each in page.documents] == [0, 2]
    assert (page.verified, page.exact) == (False, not escaped)


#: Escapes and their meaning.
PIECES = {each: each for each in [*"1234", "12", "34", "1234", " ", "-", "(", "x", ",", "."]}
PIECES |= {
    "&nbsp;": "\u00a0",
    "&#160;": "\u00a0",
    "&#8209;": "\u2011",
    "&shy;": "\u00ad",
    "&#x2d;": "-",
    "&comma;": ",",
}
PIECES |= {
    "%20": " ",
    "%2D": "-",
    "%C2%A0": "\u00a0",
    "%2C": ",",
    "%78": "x",
    "%252F": "/",
    r"\u2013": "–",
    r"\n": "\n",
}


@settings(QUICK, max_examples=150)
@given(drawn=st.lists(st.lists(st.sampled_from(list(PIECES)), max_size=9), min_size=1, max_size=8))
def test_number_is_found_exactly_where_a_slow_search_of_the_meaning_finds_it(drawn: list[list[str]]) -> None:
    for pieces in drawn:
        assume(all(len(list(run)) <= 4 for escape, run in groupby(pieces, lambda each: len(each) > 2) if escape))
    texts = ["".join(pieces) for pieces in drawn]
    meant = ["".join(map(PIECES.__getitem__, pieces)) for pieces in drawn]
    wanted = [number for number, text in enumerate(meant) if has_number(text, {"1234"})]
    assert [unescape(text).text for text in texts] == meant
    assert [number for number, text in enumerate(texts) if spellings_of("1234", "digits", None).spans(text)] == wanted
    with index_of([*texts, "end"], keep_text=True) as index:
        page = index.find_documents(text="1234", normalise="digits", limit=1000)
        assert page.exact
        assert [each.document for each in page.documents] == wanted


@settings(QUICK, max_examples=60)
@given(data=st.data(), analyzer=st.sampled_from(["words", "words-cased"]))
def test_address_is_found_with_any_characters_escaped(data: st.DataObject, analyzer: str) -> None:
    def escaped(character: str) -> str:
        code = ord(character)
        forms = [
            character,
            character,
            f"&#{code};",
            f"&#x{code:x};",
            f"%{code:02X}",
            f"\\u{code:04x}",
            f"&amp;#{code};",
        ]
        return data.draw(st.sampled_from(forms))

    text = f"x {''.join(map(escaped, MAIL))} y"
    assert unescape(text).text == f"x {MAIL} y"
    with index_of([text, "nothing"], keep_text=True, analyzer=analyzer) as index:
        page = index.find_documents(text=MAIL, normalise="email")
        assert [each.document for each in page.documents] == [0]
        assert "".join(span.text for span in page.documents[0].passages[0]) == text


@settings(QUICK, max_examples=100)
@given(hard_text(30) | st.lists(st.sampled_from(list(PIECES)), max_size=9).map("".join))
def test_text_without_escapes_leads_back_to_the_original(text: str) -> None:
    plain = unescape(text)
    assert len(plain.text) <= len(text)
    ends = 0
    for at, character in enumerate(plain.text):
        begin, end = plain.original(at, at + 1)
        assert begin == ends
        assert end > begin
        assert text[begin:end] == character or unescape(text[begin:end]).text == character
        ends = end


def test_number_of_divisions_tried_is_limited_and_the_answer_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from factcensus.indexer.counting import divisions

    texts = ["1 2 3 4 5 160 20 3 160 4 20 201 202 2020345", "1&nbsp;2345", "1-2345"]
    with index_of(texts, keep_text=True) as index:
        found: dict[str, Any] = {"text": "12345", "normalise": "digits"}
        assert index.find_documents(**found).exact
        monkeypatch.setattr(divisions, "MOST_TRIED", 3)
        page = index.find_documents(**found)
        assert [each.document for each in page.documents] == [0, 2]
        assert not page.exact
