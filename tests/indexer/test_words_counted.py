"""Words that are easy to miss, counted in an index and in a scan, and never with another analyzer version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, add_to_index, build_index, compact_index, delete_documents, scan_facts
from factcensus.indexer.analyzers import words
from factcensus.indexer.cli import main
from factcensus.indexer.errors import IndexFormatError

from . import reference
from .corpora import fact_table, index_of, records, write_corpus

#: Text, query, and the number of occurrences of the query.
CASES = {
    "signs on either side": ("®Sony ™Sony Sony™ Sony℠ Sony®", "sony", 5),
    "variation selector after a sign": ("☎\ufe0fRoma ♥\ufe0eRoma", "roma", 2),
    "footnotes": ("Curie² won, Curie¹⁸ lost", "Curie", 2),
    "number of a footnote": ("Curie¹⁸ lost 18", "18", 2),
    "units": ("40 m² and 7 m³", "m", 2),
    "charges": ("K⁺ or Ca²⁺", "Ca", 1),
    "fraction after a number": ("7½ miles, 7¾ miles", "7", 2),
    "a fraction is its two numbers": ("¾ 3/4 3⁄4", "¾", 3),
    "subscript": ("CO₂ and co2", "CO2", 2),
    "ordinal letters": ("Nº 5, 1ª", "No", 1),
    "okina, apostrophe and quotation mark": ("Oʻahu O'ahu O’ahu O‘ahu", "Oʻahu", 4),
    "Ukrainian apostrophe": ("Знам\u02bcянка Знам'янка", "Знам’янка", 2),
    "stress mark": ("Толсто\u0301й или Толстой", "Толстой", 2),
    "stress mark after a letter with a mark": ("ме\u0308\u0301д", "мёд", 1),
    "letters that are composed with an acute": ("ќерка", "керка", 0),
    "harakat and tatweel": ("عُمَر عـــمر", "عمر", 2),
    "Arabic presentation forms": ("ﻋﻤﺮ", "عمر", 1),
    "niqqud and cantillation": ("דָּוִד דָּוִ֖ד", "דוד", 2),
    "prolonged sound mark before Latin": ("カレーLサイズ", "L", 1),
    "prolonged sound mark in half width": ("ｶﾚｰ", "カレー", 1),
    "signs before a script of single characters": ("C#入門 F#は", "C#", 1),
    "keycap": ("1\ufe0f\u20e30\ufe0f\u20e3", "10", 1),
    "joiner": ("क्\u200dष", "क्ष", 1),
    "direction marks": ("\u200eRoma\u200f \u2068Roma\u2069", "Roma", 2),
    "spacing accent": ("Disney´s", "Disney", 1),
    "zero-width space": ("ab\u200bcd", "ab cd", 1),
    "combining macron below": ("Ḵwa\u0331", "Ḵwa\u0331", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_words_are_found(case: str, tmp_path: Path) -> None:
    check(*CASES[case], tmp_path)


SHARED_CASES = Path(__file__).resolve().parents[3] / "shared/cases/words.jsonl"


@pytest.mark.skipif(not SHARED_CASES.is_file(), reason=f"there are no cases at {SHARED_CASES}")
def test_given_cases_have_the_given_counts(tmp_path: Path) -> None:
    for number, line in enumerate(SHARED_CASES.read_text(encoding="utf-8").splitlines()):
        case = json.loads(line)
        check(case["text"], case["query"], case["occurrences"], tmp_path / str(number))


def check(text: str, query: str, occurrences: int, folder: Path) -> None:
    """Check that index, scan and oracle give the same count of the query in the text."""
    assert reference.occurrences(reference.words(text), reference.words(query)) == occurrences
    with index_of([text]) as index:
        assert index.count(query).occurrences == occurrences
    corpus = write_corpus(folder / "c.jsonl", records([text]))
    table = scan_facts([corpus], fact_table([((query,), ("x",))]))
    assert table["subject_mentions"].to_pylist() == [occurrences]


# ---------------------------------------------------------------------------------------------- versions


@pytest.fixture
def old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an index made with version 1 of the analyzer."""
    corpus = write_corpus(tmp_path / "c.jsonl", records(["a b", "b a"]))
    with monkeypatch.context() as patch:
        patch.setattr(words, "WORDS_VERSION", 1)
        build_index([corpus], tmp_path / "ix", jobs=1)
    return tmp_path / "ix"


def test_index_shows_the_version_of_its_analyzer() -> None:
    with index_of(["a b"]) as index:
        assert index.info().analyzer == "words/2+unicode-14.0.0"
        assert index.count("a").analyzer == "words/2+unicode-14.0.0"
    with index_of(["a b"], analyzer="words-cased") as index:
        assert index.info().analyzer == "words-cased/2+unicode-14.0.0"


def test_index_of_another_version_is_refused_by_every_function(old_index: Path) -> None:
    before = {path.name: path.read_bytes() for path in old_index.iterdir()}
    corpus = old_index.with_name("c.jsonl")
    for use in (
        lambda: CountIndex.open(old_index),
        lambda: add_to_index(old_index, [corpus], jobs=1),
        lambda: compact_index(old_index, jobs=1),
        lambda: compact_index(old_index, old_index.with_name("new"), jobs=1),
        lambda: delete_documents(old_index, ids=["d0"]),
    ):
        with pytest.raises(IndexFormatError, match=r"words/1\+unicode.*words/2\+unicode.*'factcensus index build'"):
            use()
    assert {path.name: path.read_bytes() for path in old_index.iterdir() if path.name in before} == before
    assert not old_index.with_name("new").exists()


@pytest.mark.parametrize(
    "command",
    [
        "index info {ix}",
        "index verify {ix}",
        "index add {ix} {corpus}",
        "index compact {ix}",
        "index delete {ix} --id d0",
        "count {ix} a",
        "cooc {ix} --subject a --object b",
        "facts count {facts} --index {ix} --out {out}",
        "serve {ix} --port 0",
    ],
)
def test_index_of_another_version_is_refused_by_every_command(
    command: str, old_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\na,b\n", encoding="utf-8")
    names = {"ix": old_index, "corpus": tmp_path / "c.jsonl", "facts": facts, "out": tmp_path / "counts.csv"}
    assert main([word.format(**names) for word in command.split()]) in (1, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "words/1+unicode" in err
    assert "'factcensus index build'" in err
    assert not names["out"].exists()


def test_list_names_an_index_of_another_version(old_index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "list", str(old_index.parent)]) == 0
    assert "'factcensus index build'" in capsys.readouterr().err
