"""Descriptions, figures and comparisons of counts tables, against scipy and against counts worked out by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

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
    assert (found.name, found.reason) == ("s0", "in 1.1 % of all documents; it may also be a common word")


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
        (pa.concat_tables([counts_table([1])] * 2), counts_table([1]), "the first table has the fact 's0', 'o0' twice"),
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
    assert edges[1] < 0.5 == edges[2], "zeros have a bar of their own"
    assert edges[-1] > max(counts)
    assert all(edge % 1 == 0.5 for edge in edges[2:]), "no bar ends at an integer"


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
        "latex": "\\begin{tabular}{lr}\n\\toprule\nname & facts \\\\\n\\midrule\na|b\\_c \\& 5 \\% & 1,234 \\\\\n"
        "x &  \\\\\n\\bottomrule\n\\end{tabular}",
    }
    assert printed == expected[style]


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
