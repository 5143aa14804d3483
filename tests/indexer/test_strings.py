"""Exact strings, numbers in any spelling, and patterns: compared with a search of all texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, Deadline, Scope, delete_documents
from factcensus.indexer.cli import main
from factcensus.indexer.cli.documents import _remarks
from factcensus.indexer.counting.boundaries import whole_occurrences
from factcensus.indexer.counting.spellings import spellings_of
from factcensus.indexer.errors import DeadlineError, EmptyQueryError, InputError, UnknownNameError
from factcensus.indexer.storage.manifest import Layout

from .corpora import index_of, make_index
from .strategies import QUICK, hard_text
from .test_distributed_build import tokenizer_of

LAYOUTS: list[Layout] = ["suffix-array", "compact"]
MAIL = "jane.doe@example.org"


def found(index: CountIndex, **asked: Any) -> list[int]:
    return [each.document for each in index.find_documents(**asked, limit=1000).documents]


def marked(index: CountIndex, **asked: Any) -> list[str]:
    """Return all highlighted strings."""
    page = index.find_documents(**asked, limit=1000)
    return [span.text for each in page.documents for passage in each.passages for span in passage if span.mention]


# ---------------------------------------------------------------------------------------------- exact strings

#: Texts with the address, and whether it is there as a whole.
MAILS = {
    f"Write to {MAIL}.": True,
    f"{MAIL}, or phone": True,
    f"<{MAIL}>;{MAIL}": True,
    f"mailto:{MAIL}?subject=x": True,
    f"({MAIL})": True,
    MAIL: True,
    f"http://x/{MAIL}/a": True,
    f"{MAIL}.uk": False,
    f"mary.{MAIL}": False,
    f"x{MAIL}": False,
    f"{MAIL}s": False,
    f"{MAIL}-archive": False,
    f"a+{MAIL}": False,
    f"{MAIL}\u00ad.uk": False,
    f"{MAIL}\u0301": False,
    "Jane.Doe@example.org": False,
    "jane doe@example.org": False,
    "jane.doe@example org": False,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("analyzer", ["words", "words-cased"])
def test_address_is_not_found_in_a_longer_one(layout: Layout, analyzer: str, tmp_path: Path) -> None:
    with make_index(tmp_path, MAILS, layout=layout, analyzer=analyzer, keep_text=True) as index:
        wanted = [number for number, whole in enumerate(MAILS.values()) if whole]
        assert found(index, text=MAIL, verbatim=True) == wanted
        assert set(marked(index, text=MAIL, verbatim=True)) == {MAIL}
        answer = index.count(MAIL, verbatim=True)
        assert (answer.occurrences, answer.documents) == (len(wanted) + 1, len(wanted))
        assert answer.verbatim
        assert answer.exact
        page = index.find_documents(text=MAIL, verbatim=True)
        assert page.verified
        assert page.exact


def test_bytes_are_searched_without_kept_texts(tmp_path: Path) -> None:
    with make_index(tmp_path, MAILS, analyzer="bytes") as index:
        assert found(index, text=MAIL, verbatim=True) == [n for n, whole in enumerate(MAILS.values()) if whole]


@pytest.mark.parametrize(
    ("string", "text", "number"),
    [
        ("C", "C, C++ and C#: a C.", 2),
        ("C++", "C++ C++, C+++ c++ C++x", 2),
        ("a\u00ad", "a\u00adb a\u00ad", 1),
        ("²", "²³ ²", 1),
        ("東京", "東京都の東京", 2),
        ("か", "か\u3099 か", 1),
        ("10", "10²³ 10 100 1.10", 2),
        ("O’Brien", "O’Brien O'Brien O’Brien’s O’Brien’", 2),
        ("+49 30", "call +49 30 or 0+49 30", 2),
        ("a", "a-b a b-a a", 2),
        ("aa", "aa aaa", 1),
        ("a a", "a a a", 2),
        ("\n", "one\ntwo", 1),
    ],
)
def test_ends_of_a_string(string: str, text: str, number: int) -> None:
    assert len(list(whole_occurrences(text, string))) == number


@settings(QUICK, max_examples=60)
@given(
    texts=st.lists(hard_text(20) | st.text("ab1²³½.-@+’ \u0301か\u3099中#\u00ad", max_size=12), min_size=1, max_size=5),
    data=st.data(),
)
def test_index_finds_what_a_search_of_all_texts_finds(texts: list[str], data: st.DataObject) -> None:
    """So the candidates of the index never miss a whole occurrence."""
    texts = [text.encode(errors="replace").decode() for text in texts]
    source = data.draw(st.sampled_from(texts))
    begin = data.draw(st.integers(0, len(source)))
    string = source[begin : data.draw(st.integers(begin, len(source)))]
    with index_of(texts, keep_text=True) as index:
        if not index.analyzer.tokens(string):
            with pytest.raises(EmptyQueryError):
                index.count(string, verbatim=True)
            return
        numbers = [len(list(whole_occurrences(text, string))) for text in texts]
        answer = index.count(string, verbatim=True, by="id")
        assert answer.occurrences == sum(numbers)
        assert found(index, text=string, verbatim=True) == [n for n, number in enumerate(numbers) if number]
        assert answer.groups is not None
        assert [counts.occurrences for counts in answer.groups.values()] == numbers


def test_sub_word_tokens_are_reported_as_incomplete(tmp_path: Path) -> None:
    texts = ["w1 w2", "w1  w2", "w2 w1"]
    with make_index(tmp_path, texts, analyzer=f"hf:{tokenizer_of(tmp_path)}", keep_text=True) as index:
        page = index.find_documents(text="w1 w2", verbatim=True)
        assert [each.document for each in page.documents] == [0]
        assert not page.exact


def test_error_without_texts_names_the_option(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b"]) as index:
        for asked in (
            lambda: index.count("a", verbatim=True),
            lambda: index.find_documents(text="a", verbatim=True),
            lambda: index.find_documents(pattern="a"),
        ):
            with pytest.raises(InputError, match=r"keeps no text.*--keep-text"):
                asked()


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "a", "pattern": "a"},
        {"verbatim": True, "pattern": "a"},
        {"text": "123", "verbatim": True, "normalise": "digits"},
        {"subject": "a", "verbatim": True},
        {"text": "a", "region": "DE"},
        {"text": "123", "normalise": "digits", "region": "DE"},
        {"text": "123", "normalise": "digit"},
        {"text": "12", "normalise": "digits"},
        {"text": "a@b", "normalise": "email"},
        {"text": "030 901820", "normalise": "phone"},
        {"text": "030 901820", "normalise": "phone", "region": "XX"},
        {"text": "no number", "normalise": "phone", "region": "DE"},
        {"text": "+49 3", "normalise": "phone"},
        {"pattern": "(a"},
        {"pattern": "a*"},
        {"pattern": r"(?=a)"},
        {"pattern": "((a{100}){100}){100}"},
        {"pattern": "(.{0,900}a){9}" * 90},
    ],
)
def test_invalid_question_is_an_error(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        make_index(tmp_path_factory.mktemp("ix"), ["a b 123"], keep_text=True) as index,
        pytest.raises((InputError, UnknownNameError)),
    ):
        index.find_documents(**asked)


# ---------------------------------------------------------------------------------------------- numbers and addresses

PHONES = {
    "DE": "+4930901820",
    "US": "+12025550143",
    "GB": "+442079460018",
    "FR": "+33142685300",
    "IT": "+390669812345",
    "IN": "+912223456789",
    "BR": "+551134567890",
    "AU": "+61298765432",
}


def phone_spellings(number: str, region: str) -> Iterator[str]:
    """Yield the number in the formats of the library, from several countries, and with other separators."""
    parsed = phonenumbers.parse(number)
    kinds = phonenumbers.PhoneNumberFormat
    written = {phonenumbers.format_number(parsed, kind) for kind in (kinds.E164, kinds.INTERNATIONAL, kinds.NATIONAL)}
    written |= {
        phonenumbers.format_out_of_country_calling_number(parsed, other) for other in ("DE", "US", "AU", "FR", "JP")
    }
    for each in sorted(written):
        yield each
        for separator in (".", "-", "/", "\u00a0", " - ", ""):
            yield re.sub(r"[\s-]+", separator, each)
    yield phonenumbers.format_number(parsed, kinds.RFC3966)
    if region in ("DE", "GB", "FR", "AU"):
        international = phonenumbers.format_number(parsed, kinds.INTERNATIONAL)
        code, _, rest = international.partition(" ")
        yield f"{code} (0){rest}"
        yield f"{code}(0) {rest}"


@pytest.mark.parametrize("keep_text", [True, False])
@pytest.mark.parametrize("region", PHONES)
def test_phone_number_is_found_in_every_spelling(region: str, keep_text: bool, tmp_path: Path) -> None:
    number = PHONES[region]
    spelled = list(dict.fromkeys(phone_spellings(number, region)))
    assert len(spelled) > 15
    texts = [text for each in spelled for text in (f"Call {each}.", f"({each})", f"Tel.: {each}, Fax")]
    others = [f"Call {number[:-1]}{(int(number[-1]) + 1) % 10}", "Call 5 of 7", f"{number}7", f"+7 {number[-7:]}"]
    with make_index(tmp_path, [*texts, *others], keep_text=keep_text) as index:
        national = phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.NATIONAL)
        for asked in ({"text": number}, {"text": national, "region": region.lower()}):
            page = index.find_documents(**asked, normalise="phone", limit=1000)
            assert [each.document for each in page.documents] == list(range(len(texts)))
            assert page.verified == keep_text


def test_national_spelling_after_the_code_of_another_country_is_another_number(tmp_path: Path) -> None:
    texts = ["(202) 555-0143", "+44 202 555 0143", "0044 202 555 0143", "+1 (202) 555-0143", "9 202 555 0143"]
    with make_index(tmp_path, texts, keep_text=True) as index:
        assert found(index, text="+1 202 555 0143", normalise="phone") == [0, 3, 4]


def test_extension_and_longer_number_are_other_numbers(tmp_path: Path) -> None:
    texts = ["030 901820", "030 901820-12", "030 9018201", "1-030 901820"]
    with make_index(tmp_path, texts, keep_text=True) as index:
        assert found(index, text="030 901820", normalise="phone", region="DE") == [0]


def test_address_is_found_in_its_spellings(tmp_path: Path) -> None:
    spelled = [
        MAIL,
        "JANE.DOE@EXAMPLE.ORG",
        "Jane.Doe@Example.org",
        "jane.doe (at) example.org",
        "jane.doe [at] example [dot] org",
        "jane dot doe at example dot org",
        "jane.doe AT example DOT org",
        "jane.doe@example(dot)org",
        "jane . doe @ example . org",
    ]
    others = [f"{MAIL}.uk", "jane-doe@example.org", "jane doe, example org", "janet.doe@example.org", f"m.{MAIL}"]
    with make_index(tmp_path, [f"Mail {each}, please" for each in [*spelled, *others]], keep_text=True) as index:
        assert found(index, text=MAIL, normalise="email") == list(range(len(spelled)))
        assert marked(index, text=f"mailto:{MAIL.upper()}", normalise="email") == spelled


@pytest.mark.parametrize("layout", LAYOUTS)
def test_number_is_found_with_any_separators(layout: Layout, tmp_path: Path) -> None:
    number = "4929123456789012"
    spelled = [number, "4929 1234 5678 9012", "4929-1234-5678-9012", "4929.12345678.9012", "4 929123456 789012"]
    iban = ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89-3704-0044-0532-0130-00"]
    others = ["4929 1234 5678 9013", "14929 1234 5678 9012", "4929 1234 5678 90123", "4929, see 1234 5678 9012"]
    with make_index(tmp_path, [*spelled, *iban, *others], layout=layout, keep_text=True) as index:
        for asked in (number, spelled[1]):
            assert found(index, text=asked, normalise="digits") == list(range(len(spelled)))
        assert found(index, text=iban[1], normalise="digits") == [5, 6, 7]
        assert marked(index, text=iban[0], normalise="digits") == iban


def test_capitals_of_an_index_of_cased_words_may_be_missed_and_this_is_reported(tmp_path: Path) -> None:
    texts = [
        "DE89 3704",
        "de89 3704",
        "De89 3704",
        f"{MAIL}",
        f"{MAIL.upper()}",
        "Jane.doe@example.org",
        "+49 30 901820",
    ]
    with make_index(tmp_path, texts, analyzer="words-cased", keep_text=True) as index:
        iban = index.find_documents(text="DE89 3704", normalise="digits")
        mail = index.find_documents(text=MAIL, normalise="email")
        assert [[each.document for each in page.documents] for page in (iban, mail)] == [[0, 1], [3, 4]]
        assert not iban.exact
        assert not mail.exact
        assert index.find_documents(text="+4930901820", normalise="phone").exact


@settings(QUICK, max_examples=60)
@given(data=st.data(), digits=st.text("0123456789", min_size=4, max_size=12))
def test_random_divisions_of_a_number_are_found(data: st.DataObject, digits: str) -> None:
    cuts = [data.draw(st.sampled_from(["", " ", "-", ".", "/", " (", ") ", "\u00a0"])) for _ in digits]
    spelled = "".join(a + b for a, b in zip(digits, ["", *cuts][1:], strict=False)).rstrip(" -./(\u00a0)")
    begin, end = spellings_of(digits, "digits", None).spans(f"x {spelled} y")[0]
    assert re.sub(r"\D", "", f"x {spelled} y"[begin:end]) == digits
    with index_of([f"x {spelled} y", "nothing"], keep_text=True) as index:
        assert found(index, text=digits, normalise="digits") == [0]


def test_spellings_need_words(tmp_path: Path) -> None:
    with make_index(tmp_path, ["1234"], analyzer="bytes") as index, pytest.raises(InputError, match="index of words"):
        index.find_documents(text="1234", normalise="digits")


# ---------------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(("analyzer", "layout"), [("words", "suffix-array"), ("words", "compact"), ("bytes", None)])
def test_pattern_finds_what_python_finds(analyzer: str, layout: Layout | None, tmp_path: Path) -> None:
    texts = [f"Zeile {n}: Ångström-{n % 7}.{'x' * (n % 3)}\n" for n in range(200)]
    options: dict[str, Any] = {"analyzer": analyzer, "keep_text": True} | ({"layout": layout} if layout else {})
    with make_index(tmp_path, texts, ["ab"[n % 2] for n in range(200)], shard_tokens=300, **options) as index:
        for pattern in (r"Å[^-]*-[35]\.x", r"(?i)ZEILE 1\d\d:", r"(?m)m-\d\.$", r"x\n\z", "nowhere", "é?Å", "^Z.*ö"):
            wanted = [n for n, text in enumerate(texts) if re.search(pattern.replace(r"\z", r"\Z"), text)]
            assert bool(wanted) == (pattern != "nowhere")
            page = index.find_documents(pattern=pattern, limit=1000)
            assert [each.document for each in page.documents] == wanted
            assert (page.exact, page.searched, page.searched_of) == (True, 200, 200)
        scope = Scope(where="source = 'a'")
        page = index.find_documents(pattern="Å", scope=scope, limit=30, start=20, by="source")
        assert [each.document for each in page.documents] == list(range(40, 100, 2))
        assert (page.total, page.next, page.groups) == (100, 50, {"a": 100, "b": 0})
        assert page.searched_of == 100
        assert marked(index, pattern=r"Å\pL+-6", scope=scope)[0] == "Ångström-6"


def test_search_for_a_pattern_reports_how_far_it_came(tmp_path: Path) -> None:
    with make_index(tmp_path, [f"text {n}" for n in range(50)], keep_text=True) as index:
        deadline = Deadline()
        read = index.shards[0].kept
        assert read is not None
        texts = read.texts

        def stopped(documents: Any) -> Iterator[bytes]:
            for number, text in enumerate(texts(documents)):
                if number == 20:
                    deadline.cancel()
                yield text

        read.texts = stopped  # type: ignore[method-assign]
        page = index.find_documents(pattern=r"text \d", limit=1000, deadline=deadline)
        assert (page.searched, page.searched_of, page.total, page.exact) == (20, 50, 20, False)
        with pytest.raises(DeadlineError):
            index.find_documents(text="text", verbatim=True, deadline=deadline)


def test_pattern_that_python_would_not_finish_takes_linear_time(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a" * 5000], keep_text=True) as index:
        assert index.find_documents(pattern="(a|aa)+(b|bb)+$c").total == 0


# ---------------------------------------------------------------------------------------------- deleting


def test_documents_with_a_string_are_deleted_and_no_others(tmp_path: Path) -> None:
    make_index(tmp_path, [*MAILS, "call 030/901820", "030 901820-12"], keep_text=True).close()
    whole = sum(MAILS.values())
    planned = delete_documents(tmp_path / "ix", text=MAIL, verbatim=True, dry_run=True)
    assert planned.documents == whole
    assert planned.named[0].title == f"Write to {MAIL}."
    assert delete_documents(tmp_path / "ix", text=MAIL, verbatim=True).documents == whole
    phone = {"text": "+49 30 901820", "normalise": "phone"}
    assert delete_documents(tmp_path / "ix", **phone).documents == 1  # type: ignore[arg-type]
    again = delete_documents(tmp_path / "ix", **phone)  # type: ignore[arg-type]
    assert (again.documents, again.already_deleted) == (0, 1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert not found(index, text=MAIL, verbatim=True)
        assert not found(index, pattern="901820$")[1:]
        assert index.count("901820").documents == 1
    with pytest.raises(InputError, match="with a text"):
        delete_documents(tmp_path / "ix", ids=["d1"], verbatim=True)


# ---------------------------------------------------------------------------------------------- the command line


def test_command_says_how_documents_were_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_index(tmp_path / "kept", [*MAILS, "call 030/901820"], keep_text=True).close()
    make_index(tmp_path / "plain", [*MAILS, "call 030/901820"]).close()
    kept, plain = str(tmp_path / "kept/ix"), str(tmp_path / "plain/ix")

    def said(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    assert "verified in the texts" in said("documents", kept, "--text", MAIL, "--verbatim")
    assert "[jane.doe@example.org]" in said("documents", kept, "--text", MAIL, "--verbatim")
    phone = ("--text", "030 901820", "--normalise", "phone", "--region", "DE")
    assert "by token sequences only: the index keeps no text" in said("documents", plain, *phone)
    assert "passages are normalised words" in said("documents", plain, "--text", "call")
    assert "passages are normalised words" not in said("documents", kept, "--text", "call")
    assert f"all {len(MAILS) + 1} texts searched" in said("documents", kept, "--pattern", r"\d{3}/\d+")
    assert f"{MAIL!r} as written" in said("count", kept, MAIL, "--verbatim")
    assert main(["documents", plain, "--text", MAIL, "--verbatim"]) == 2
    assert "--keep-text" in capsys.readouterr().err
    with CountIndex.open(kept) as index:
        page = replace(index.find_documents(pattern="call"), exact=False, searched=3, searched_of=19)
    assert _remarks(page) == ", only 3 of 19 texts searched before the deadline"
