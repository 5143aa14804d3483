"""Descriptions, figures and comparisons of counts tables, against scipy and against counts worked out by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from factcensus.indexer import CountIndex, build_index
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.text_tables import STYLES, format_table
from factcensus.indexer.tables.comparison import compare
from factcensus.indexer.tables.description import describe
from factcensus.indexer.tables.files import write_table
from factcensus.indexer.tables.plots import _edges, plot_comparison, plot_counts
from factcensus.indexer.tables.strata import counts_of, stratify

from .strategies import QUICK

PAIRS = st.lists(
    st.tuples(st.integers(0, 5) | st.integers(0, 10**6), st.integers(0, 5) | st.integers(0, 10**6)),
    min_size=2,
    max_size=40,
)


def counts_table(counts: list[int], **columns: object) -> pa.Table:
    """Return a counts table of facts ``s0``–``o0``, ``s1``–``o1``, …"""
    size = len(counts)
    return pa.table(
        {
            "subject": [f"s{row}" for row in range(size)],
            "object": [f"o{row}" for row in range(size)],
            "cooccurrence_documents": pa.array(counts, pa.int64()),
            **columns,
        }
    )


def test_a_description_has_the_quantiles_zeros_and_strata_of_a_table() -> None:
    found = describe(stratify(counts_table([0, 0, 3, 10, 200]), bins="log10"))
    assert (found.facts, found.zeros) == (5, 2)
    assert found.quantiles == {0.0: 0, 0.1: 0, 0.25: 0, 0.5: 3, 0.75: 10, 0.9: 10, 1.0: 200}
    assert [(each.label, each.facts) for each in found.strata] == [("0", 2), ("1–9", 1), ("10–99", 1), ("100+", 1)]
    assert found.ambiguous == ()


def test_rows_that_repeat_a_fact_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.concat_tables([counts_table([1, 2])] * 2)
    assert (describe(table).facts, describe(table).repeated, describe(counts_table([1, 2])).repeated) == (4, 2, 0)
    write_table(table, tmp_path / "a.csv")
    assert main(["facts", "describe", str(tmp_path / "a.csv")]) == 0
    assert re.search(r"^repeated rows among them +2$", capsys.readouterr().out, re.MULTILINE)


def test_a_name_that_is_an_alias_of_another_entity_is_ambiguous() -> None:
    table = counts_table([1, 2, 3]).set_column(0, "subject", [["Bush", "George W. Bush", "Lima"]])
    table = table.append_column("subject_aliases", pa.array([["Bush "], ["bush", "Dubya"], None]))
    (found,) = describe(table).ambiguous
    assert (found.name, found.role, found.facts) == ("Bush", "subject", 2)
    assert found.reason == "a name or alias of 2 entities: Bush, George W. Bush"


def test_a_name_in_more_than_one_percent_of_the_documents_is_ambiguous() -> None:
    table = counts_table([1, 1], subject_documents=[11, 10], object_documents=[0, 0])
    assert describe(table).ambiguous == ()
    (found,) = describe(table, documents=1000).ambiguous
    assert (found.name, found.reason) == ("s0", "in 1.1% of all documents; it may also be a common word")


@settings(QUICK, max_examples=100)
@given(pairs=PAIRS)
def test_the_rank_correlation_equals_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    found = compare(counts_table(first), counts_table(second))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found.rank_correlation is None
        return
    assert found.rank_correlation == pytest.approx(stats.spearmanr(first, second).statistic)
    if found.interval is not None:
        assert found.interval[0] <= found.rank_correlation <= found.interval[1]
    assert found.equal == sum(one == two for one, two in pairs)
    assert len(found.differences) == len(pairs) - found.equal


def test_the_interval_is_that_of_bonett_and_wright() -> None:
    found = compare(counts_table([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), counts_table([2, 1, 4, 3, 6, 5, 8, 7, 10, 9]))
    assert found.rank_correlation == pytest.approx(1 - 6 * 10 / (10 * 99))
    # tanh(atanh(0.939394) -+ 1.959964 * sqrt((1 + 0.939394 ** 2 / 2) / 7))
    assert found.interval == pytest.approx((0.68768, 0.98950), abs=1e-5)


def test_facts_are_matched_by_their_names_and_not_by_their_position() -> None:
    first = counts_table([1, 2, 0])
    second = counts_table([5, 2, 1, 7]).take([3, 2, 1, 0])
    found = compare(first, second)
    assert (found.facts, found.only_first, found.only_second, found.equal) == (3, 0, 1, 1)
    assert (found.first_zeros, found.second_zeros) == (1, 0)
    assert [(each.subject, each.first, each.second) for each in found.differences] == [("s0", 1, 5), ("s2", 0, 1)]


def test_two_columns_of_one_table_are_compared() -> None:
    table = counts_table([1, 2, 3], cooccurrence_documents_w10=[0, 1, 3])
    found = compare(table, table, second_by="cooccurrence_documents_w10")
    assert (found.equal, found.second_zeros) == (1, 1)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (counts_table([1, 2]), counts_table([1, 2]).slice(0, 0), "no rows"),
        (counts_table([1]), counts_table([1]).set_column(0, "subject", [["x"]]), "share no fact"),
        (
            pa.concat_tables([counts_table([1]), counts_table([2])]),
            counts_table([1]),
            "the first table has the fact 's0', 'o0' twice, with different counts",
        ),
        (counts_table([1], analyzer=["words/1"]), counts_table([1], analyzer=["words/2"]), "words/1 and words/2"),
        (counts_table([1]), counts_table([-1]), "at least 0"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(first: pa.Table, second: pa.Table, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(first, second)


@given(counts=st.lists(st.integers(0, 300) | st.integers(0, 10**9), min_size=1))
def test_the_bars_of_a_histogram_contain_every_count_once(counts: list[int]) -> None:
    edges = _edges(counts_of(counts_table(counts), "cooccurrence_documents"))
    assert all(low < high for low, high in pairwise(edges))
    assert edges[1] < 1 == edges[2], "zeros have a bar of their own"
    assert edges[-1] > max(counts)
    assert all(edge % 1 == 0 for edge in edges[2:]), "each bar begins at an integer and ends before the next bar"
    widths = {high / low for low, high in pairwise(edges[2:].tolist())} | {edges[1] / edges[0]}
    assert widths == {2.0}, "equal widths on a logarithmic axis"


@pytest.mark.parametrize(("ending", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_figures_are_written_and_equal_tables_give_equal_bytes(tmp_path: Path, ending: str, magic: bytes) -> None:
    table = stratify(counts_table([0, 1, 5, 70, 70, 4000]), bins="log10")
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        plot_counts(table, path, title="Capitals")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(magic)
    plot_comparison(compare(table, counts_table([0] * 6)), tmp_path / f"c.{ending}", ("wiki", "pile"))
    assert (tmp_path / f"c.{ending}").read_bytes().startswith(magic)


def test_an_unknown_figure_format_is_refused_before_the_table_is_read(tmp_path: Path) -> None:
    assert main(["facts", "plot", str(tmp_path / "none.parquet"), "--out", str(tmp_path / "figure.gif")]) == 2


@pytest.mark.parametrize("style", STYLES)
def test_tables_are_printed_with_aligned_numbers_and_escaped_text(style: str) -> None:
    printed = format_table([["a|b_c & 5 %", 1234], ["x", None]], ["name", "facts"], style)
    expected = {
        "text": "name         facts\na|b_c & 5 %  1,234\nx",
        "markdown": "| name         | facts |\n| ------------ | ----: |\n| a\\|b_c & 5 % | 1,234 |\n"
        "| x            |       |",
        "latex": "\\begin{tabular}{lr}\n\\toprule\nname & facts \\\\\n\\midrule\n"
        "a\\textbar{}b\\_c \\& 5 \\% & 1,234 \\\\\n"
        "x &  \\\\\n\\bottomrule\n\\end{tabular}",
    }
    assert printed == expected[style]


@pytest.mark.parametrize(
    ("name", "markdown", "latex"),
    [
        ("M*A*S*H", r"M\*A\*S\*H", "M*A*S*H"),
        ("*NSYNC", r"\*NSYNC", "{}*NSYNC"),
        ("[REC]", r"\[REC]", "{}[REC]"),
        ("<b>&_x_", r"\<b>&\_x\_", r"\textless{}b\textgreater{}\&\_x\_"),
        (
            "A$AP ~x~ &amp; ^",
            r"A\$AP \~x\~ \&amp; \^",
            r"A\$AP \textasciitilde{}x\textasciitilde{} \&amp; \textasciicircum{}",
        ),
        ("a\nb\x1b[2Jc", r"a b\[2Jc", "a b[2Jc"),
        ("a---b − c", "a---b − c", "a-{}-{}-b $-$ c"),
        ("snake_case `x` \\", r"snake_case \`x\` \\", r"snake\_case `x` \textbackslash{}"),
    ],
)
def test_names_with_signs_of_markdown_and_latex_are_printed_as_they_are(name: str, markdown: str, latex: str) -> None:
    assert format_table([[name, 1]], ["", "n"], "markdown").splitlines()[-1].split(" | ")[0].strip("| ") == markdown
    assert format_table([[name, 1]], ["", "n"], "latex").splitlines()[4] == f"{latex} & 1 \\\\"


def test_tables_in_latex_name_a_character_for_which_pdflatex_has_no_font() -> None:
    (remark, *table) = format_table([["Peking (北京)", 1]], ["", "n"], "latex").splitlines()
    assert remark.startswith("% pdfLaTeX has no font with 北; use XeLaTeX or LuaLaTeX")
    assert table[0] == r"\begin{tabular}{lr}"
    assert format_table([["“Łódź” – A…", 1]], ["", "n"], "latex").startswith(r"\begin")


def test_the_commands_print_json_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.csv"
    write_table(stratify(counts_table([0, 1, 5])), first)
    write_table(counts_table([0, 2, 9]), second)
    assert main(["facts", "describe", str(first), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["zeros"] == 1
    assert main(["facts", "describe", str(first), "--format", "markdown"]) == 0
    assert "| median" in capsys.readouterr().out
    figure = tmp_path / "scatter.svg"
    assert main(["facts", "compare", str(first), str(second), "--format", "json", "--plot", str(figure)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tables"], found["facts"], found["equal"], found["rank_correlation"]) == (["a", "b"], 3, 1, 1.0)
    assert found["differences"][0] == {"subject": "s2", "object": "o2", "first": 5, "second": 9}
    assert figure.exists()
    assert main(["facts", "compare", str(first), str(second), "--top", "1", "--format", "latex"]) == 0
    assert "s2 & o2 & 5 & 9" in capsys.readouterr().out


def test_a_table_without_counts_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\nParis,France\n", encoding="utf-8")
    assert main(["facts", "describe", str(facts)]) == 2
    assert "factcensus facts count" in capsys.readouterr().err


def test_fewer_strata_because_of_ties_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts, strata = tmp_path / "counts.parquet", tmp_path / "strata.parquet"
    write_table(counts_table([0, 0, 0, 0, 0, 0, 0, 1]), counts)
    assert main(["facts", "stratify", str(counts), "--bins", "quantile:5", "--out", str(strata)]) == 0
    assert "2 strata instead of 5" in capsys.readouterr().err


def drawn(table: pa.Table, path: Path, **options: Any) -> str:
    """Return a histogram as SVG."""
    plot_counts(table, path, **options)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_characters_without_a_font_are_named_once_with_the_remedy(tmp_path: Path, ending: str) -> None:
    said: list[str] = []
    plot_counts(counts_table([0, 5]), tmp_path / f"a.{ending}", title="\U000f0000\U000f0001", notice=said.append)
    assert not said, "characters for private use have no font anywhere"
    with font_of("𐎀", tmp_path) as family:
        plot_counts(counts_table([0, 5]), tmp_path / f"b.{ending}", title="𐎀𐎁", notice=said.append)
        if ending == "svg":
            assert said == [], "a viewer has its own fonts"
            assert family in (tmp_path / "b.svg").read_text(encoding="utf-8")
        else:
            (message,) = said
            assert message.startswith("no installed font has 𐎁, so the figure shows boxes")
            assert "fonts-noto-cjk" in message
    names = ("𐎀", "wiki")
    with pytest.warns(UserWarning, match="no installed font has 𐎀") if ending != "svg" else nullcontext():
        plot_comparison(compare(counts_table([1]), counts_table([2])), tmp_path / f"c.{ending}", names)


@contextmanager
def font_of(character: str, folder: Path) -> Iterator[str]:
    """Install a font with one character for matplotlib, and yield its name."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib.font_manager import fontManager

    family, pen = "Test One Character", TTGlyphPen(None)
    for move, point in ((pen.moveTo, (0, 0)), (pen.lineTo, (500, 0)), (pen.lineTo, (250, 700))):
        move(point)
    pen.closePath()
    glyph = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "one"])
    font.setupCharacterMap({ord(character): "one"})
    font.setupGlyf({".notdef": glyph, "one": glyph})
    font.setupHorizontalMetrics({".notdef": (600, 0), "one": (600, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(folder / "one.ttf")
    fontManager.addfont(folder / "one.ttf")
    try:
        yield family
    finally:
        fontManager.ttflist.pop()


def test_dollar_signs_in_a_title_are_no_formula(tmp_path: Path) -> None:
    assert ">A$AP and Ke$ha</text>" in drawn(counts_table([5]), tmp_path / "a.svg", title="A$AP and\nKe$ha")


def test_the_axis_of_facts_has_integers_only(tmp_path: Path) -> None:
    figure = drawn(counts_table([5]), tmp_path / "a.svg")
    assert ">1</text>" in figure
    assert not re.search(r">0\.\d</text>", figure)


def test_strata_of_another_count_are_named_as_such_in_the_legend(tmp_path: Path) -> None:
    table = stratify(counts_table([0, 1, 5, 70], subject_documents=[9, 9, 9, 90]), bins="log10")
    assert ">stratum</text>" in drawn(table, tmp_path / "a.svg")
    assert ">stratum (of another count)</text>" in drawn(table, tmp_path / "b.svg", by="subject_documents")


def test_facts_without_a_stratum_are_drawn_too(tmp_path: Path) -> None:
    table = stratify(counts_table([0, 1, 5]), bins="log10")
    for name in ("stratum", "stratum_label", "stratum_low", "stratum_high"):
        cells = [*table[name].to_pylist()[:2], None]
        table = table.set_column(table.column_names.index(name), name, pa.array(cells, table[name].type))
    assert ">none (1 fact)</text>" in drawn(table, tmp_path / "a.svg")


def test_facts_at_the_same_point_are_shown_by_a_colour_scale(tmp_path: Path) -> None:
    first, second = counts_table([0, 0, 0, 5]), counts_table([1, 1, 1, 5])
    plot_comparison(compare(first, second), tmp_path / "a.svg", ("a", "b"))
    assert "facts at the same point" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    plot_comparison(compare(counts_table([1, 2]), counts_table([3, 4])), tmp_path / "b.svg", ("a", "b"))
    assert "facts at the same point" not in (tmp_path / "b.svg").read_text(encoding="utf-8")


def test_repeated_rows_with_equal_counts_are_compared_once() -> None:
    first = pa.concat_tables([counts_table([1, 2])] * 2)
    found = compare(first, counts_table([1, 5, 9]))
    assert (found.facts, found.only_first, found.only_second, found.repeated, found.equal) == (2, 0, 1, 2, 1)


def test_the_same_table_and_column_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.parquet"
    write_table(counts_table([1, 2]), path)
    assert main(["facts", "compare", str(path), str(tmp_path / "." / "a.parquet")]) == 2
    assert "--second-by" in capsys.readouterr().err


GROUPED = [
    [{"source": "wiki", "cooccurrence_documents": 3}, {"source": "books", "cooccurrence_documents": 1}],
    [{"source": "wiki", "cooccurrence_documents": 2}],
    [],
]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_the_counts_of_one_source_are_described_compared_and_drawn(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a.{ending}"
    write_table(counts_table([4, 2, 0], by_source=GROUPED), path)
    assert main(["facts", "describe", str(path), "--by", "cooccurrence_documents@books", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["zeros"] == 2
    both = ["--by", "cooccurrence_documents@books", "--second-by", "cooccurrence_documents@wiki"]
    assert main(["facts", "compare", str(path), str(path), *both, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["second_zeros"] == 0
    assert main(["facts", "plot", str(path), *both[:2], "--out", str(tmp_path / "a.svg")]) == 0
    assert ">books" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert main(["facts", "stratify", str(path), *both[:2], "--out", str(tmp_path / "s.csv")]) == 0


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("cooccurrence_documents@wikj", "no group 'wikj' in by_source; did you mean 'wiki'"),
        ("cooccurrence_docs@wiki", "no count 'cooccurrence_docs' of groups; did you mean 'cooccurrence_documents'"),
    ],
)
def test_an_unknown_group_or_count_names_the_nearest_one(by: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe(counts_table([4, 2, 0], by_source=GROUPED), by)
    with pytest.raises(InputError, match="no counts by group"):
        describe(counts_table([4]), by)


def test_the_counts_at_a_step_are_those_of_the_last_step_before_it() -> None:
    steps = [
        [{"step:10": "10", "cooccurrence_documents": 1}, {"step:10": "30", "cooccurrence_documents": 4}],
        [{"step:10": "20", "cooccurrence_documents": 2}],
        [],
    ]
    table = counts_table([4, 2, 0], **{"by_step:10": steps})
    expected = {0: [0, 0, 0], 10: [1, 0, 0], 20: [1, 2, 0], 30: [4, 2, 0], 100: [4, 2, 0]}
    assert {step: counts_of(table, f"cooccurrence_documents@{step}").tolist() for step in expected} == expected
    with pytest.raises(InputError, match="after every 10 steps, not after 15"):
        counts_of(table, "cooccurrence_documents@15")
    with pytest.raises(InputError, match="multiple of 10"):
        counts_of(table, "cooccurrence_documents@last")


@pytest.mark.parametrize("convert", [pa.Table.to_pandas, polars.from_arrow, pa.Table.to_pylist])
def test_tables_of_other_libraries_are_accepted_everywhere(tmp_path: Path, convert: Callable[[pa.Table], Any]) -> None:
    table = counts_table([0, 1, 5], subject_documents=[1, 1, 50], object_documents=[0, 0, 0])
    strata = stratify(convert(table), bins="log10")
    assert strata["stratum"].to_pylist() == [0, 1, 1]
    assert describe(convert(strata)) == describe(strata)
    assert compare(convert(table), convert(table), second_by="subject_documents").facts == 3
    plot_counts(convert(strata), str(tmp_path / "a.svg"))
    assert (tmp_path / "a.svg").read_bytes() == drawn(strata, tmp_path / "b.svg").encode()


def test_an_alias_that_is_a_common_word_is_named() -> None:
    table = counts_table([1, 1], subject_documents=[900, 0], object_documents=[0, 0])
    table = table.append_column("subject_aliases", pa.array([["the", "x"], None], pa.list_(pa.string())))
    (found,) = describe(table, documents=1000).ambiguous
    assert found.reason == "with its aliases in 90.0% of all documents; it may also be a common word"
    (found,) = describe(table, documents=1000, documents_with={"the": 880, "x": 1}.__getitem__).ambiguous
    assert "in 90.0% of all documents, the alias 'the' in 88.0%;" in found.reason


def test_descriptions_and_comparisons_display_themselves_in_notebooks() -> None:
    table = stratify(counts_table([0, 1, 5]), bins="log10")
    shown = describe(table)._repr_html_()
    assert "10% quantile" in shown
    assert "1+" in shown
    shown = compare(table, counts_table([0, 9, 5]))._repr_html_()
    assert "largest differences" in shown
    assert "<td>s1</td>" in shown


def test_common_words_are_listed_before_names_that_two_entities_share() -> None:
    table = counts_table([1, 1, 1], subject_documents=[1, 1, 900], object_documents=[0, 0, 0])
    table = table.append_column("subject_aliases", pa.array([["s1"], None, None], pa.list_(pa.string())))
    assert [each.name for each in describe(table, documents=1000).ambiguous] == ["s2", "s1"]


def test_one_common_name_in_two_spellings_is_listed_once() -> None:
    table = counts_table([1, 1], subject_documents=[900, 900], object_documents=[0, 0])
    (found,) = describe(table.set_column(0, "subject", [["It", "it"]]), documents=1000).ambiguous
    assert (found.name, found.facts) == ("It", 2)


def test_shares_are_of_the_index_in_which_the_facts_were_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, counts = tmp_path / "c.jsonl", tmp_path / "counts.parquet"
    corpus.write_text('{"text": "Paris is in France."}\n{"text": "the end"}\n', encoding="utf-8")
    build_index([corpus], tmp_path / "one", jobs=1)
    corpus.write_text('{"text": "other"}\n', encoding="utf-8")
    build_index([corpus], tmp_path / "two", jobs=1)
    with CountIndex.open(tmp_path / "one") as index:
        facts = [{"subject": "France", "object": "Paris", "subject_aliases": ["the"]}]
        write_table(index.count_facts(facts), counts)
    assert main(["facts", "describe", str(counts), "--index", str(tmp_path / "one")]) == 0
    assert "the alias 'the' in 50.0%" in capsys.readouterr().out
    assert main(["facts", "describe", str(counts), "--index", str(tmp_path / "two")]) == 2
    assert "were not counted in the index two as it is now, but in one" in capsys.readouterr().err
