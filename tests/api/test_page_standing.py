"""The rank of a fact in a loaded table: histogram, strata, and missing comparisons."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import serving

from factcensus.api.pages.plots import ABOVE, HEIGHT, facts_by_count
from factcensus.api.serving.fact_tables import DOCUMENTS, FactTables, spread_of
from factcensus.api.serving.histogram import bin_edges
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, InputError, facts_from_rows, stratify, write_table
from factcensus.indexer.tables.files import read_table

HTML = {"Accept": "text/html"}
COUNTS = st.lists(st.integers(0, 3000), min_size=1, max_size=60)


def test_bins_start_at_one_two_and_five_of_every_decade() -> None:
    assert bin_edges(0) == [0, 1]
    assert bin_edges(1) == [0, 1, 2]
    assert bin_edges(49) == [0, 1, 2, 5, 10, 20, 50]
    assert bin_edges(50) == [0, 1, 2, 5, 10, 20, 50, 100]


@given(most=st.integers(0, 10**12))
def test_bins_contain_every_count_and_no_more(most: int) -> None:
    edges = bin_edges(most)
    assert edges[-2] <= most < edges[-1]
    assert all(low < high for low, high in pairwise(edges))


@given(counts=COUNTS, bins=st.sampled_from(["log10", "quantile:3", "edges:1,7"]), marked=st.integers(0, 5000))
def test_every_fact_is_in_one_bar_and_bar_heights_are_logarithmic(counts: list[int], bins: str, marked: int) -> None:
    spread = spread_of(pa.table({"n": counts}), "n", bins)
    picture = spread.picture(marked)
    assert sum(each.facts for each in picture.bins) == len(counts)
    for each in picture.bins:
        assert each.facts == sum(each.low <= count <= each.high for count in counts)
        assert [stratum for stratum, _ in each.strata] == sorted({stratum for stratum, _ in each.strata})
    figure = facts_by_count(picture, spread.legend(), "Facts", "here")
    facts = [number for each in picture.bins for _, number in each.strata]
    decades = max(1, len(str(max(facts) - 1)) if max(facts) > 1 else 1)
    for box, number in zip(figure.boxes, facts, strict=True):
        wanted = HEIGHT * math.log(number / 0.5) / math.log(10**decades / 0.5)
        assert box.height == pytest.approx(wanted, abs=0.06)
        assert box.y + box.height == pytest.approx(ABOVE + HEIGHT, abs=0.11)
        assert box.title.startswith(f"{number:,} fact")
    for left, right in pairwise(figure.boxes):
        assert left.x + left.width <= right.x + 0.03
    edges = bin_edges(max([*counts, marked]))
    place = int(np.searchsorted(edges, marked, side="right")) - 1
    assert picture.marker is not None
    assert place <= picture.marker * len(picture.bins) + 1e-9
    assert picture.marker * len(picture.bins) <= place + 1 + 1e-9, "the mark is in the bin of its count"


def test_strata_of_a_bin_are_side_by_side() -> None:
    spread = spread_of(pa.table({"n": [5, 6, 7, 9]}), "n", "edges:9")
    figure = facts_by_count(spread.picture(), spread.legend(), "Facts")
    one, other = figure.boxes
    assert (one.shade, other.shade) == ("s0", "s5")
    assert one.height > other.height > 0
    assert one.x + one.width == pytest.approx(other.x, abs=0.02)
    assert figure.rows == (("5 to 9", "4"),)
    assert [label.text for label in figure.labels if label.shade == "number"] == ["3", "1"]


def test_strata_of_the_table_are_kept_if_they_are_by_that_count() -> None:
    table = pa.table({"a": [0, 3, 40], "b": [9, 9, 9]})
    own = stratify(table, "a", "edges:2,10")
    assert spread_of(own, "a").labels == ("0–1", "2–9", "10+")
    assert spread_of(own, "b").labels == ("1+",), "strata by a do not match b"
    assert spread_of(own, "a", "quantile:1").labels == ("0–40",)


@pytest.fixture(scope="module")
def tables(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write counts of all pairs of some names in three formats, one with strata."""
    names = ["Curie", "Warsaw", "Paris", "France", "Poland", "nowhere"]
    facts = facts_from_rows([{"subject": one, "object": other} for one in names for other in names if one != other])
    folder = tmp_path_factory.mktemp("tables")
    with CountIndex.open(index_folder) as index:
        counts = index.count_facts(facts, windows=[3])
    write_table(counts, folder / "pairs.parquet")
    write_table(counts, folder / "pairs.csv")
    write_table(stratify(counts, DOCUMENTS, "edges:1,2"), folder / "strata.csv")
    return {file.name: file for file in folder.iterdir()}


@pytest.mark.parametrize("name", ["pairs.parquet", "pairs.csv", "strata.csv"])
def test_a_fact_is_ranked_among_the_facts_of_a_table(tables: dict[str, Path], index_folder: Path, name: str) -> None:
    loaded = FactTables([tables[name]])
    with CountIndex.open(index_folder) as index:
        digest = index.digest
    rows: list[dict[str, Any]] = read_table(tables["pairs.parquet"]).to_pylist()
    for count in range(8):
        for window, column in ((None, DOCUMENTS), (3, f"{DOCUMENTS}_w3")):
            standing = loaded.standing(digest, count, window)["standing"]
            assert standing.facts == len(rows)
            assert standing.below == sum(row[column] < count for row in rows)
            assert standing.equal == sum(row[column] == count for row in rows)
    assert loaded.standing(digest, 1, 7) == {"standing": None, "without_window": [Path(name).stem]}
    assert loaded.standing("another", 1, None) == {"standing": None, "without_window": []}
    assert loaded.standing(None, 1, None)["standing"] is None
    if name == "strata.csv":
        assert [stratum.label for stratum in loaded.standing(digest, 1, None)["standing"].legend] == ["0", "1", "2+"]


def test_the_page_shows_the_rank_of_a_fact(tables: dict[str, Path], index_folder: Path) -> None:
    question = {"index": "tiny", "subject": "Curie", "object": "Warsaw"}
    with (
        serving(Settings(indexes=(index_folder,), fact_tables=(tables["strata.csv"],))) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        page = http.get("/", params=question, headers=HTML).text
        assert "Rank among the facts in strata" in page
        assert "28 of 30 facts occur in fewer documents than this one, 2 in the same number;" in page
        assert "; its stratum is <b>2+</b>" in page
        assert 'role="img" aria-label="Facts of strata by the documents that mention subject and object' in page
        assert "this fact: 3" in page
        near = http.get("/", params={**question, "window": "3"}, headers=HTML).text
        assert "at most 3 tokens apart; both axes are logarithmic" in near
        other = http.get("/", params={**question, "window": "4"}, headers=HTML).text
        assert "No comparison with strata: no counts with a window of 4 tokens" in other


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("subject,object\nCurie,Warsaw\n", "it lacks cooccurrence_documents, index, index_digest"),
        (f"subject,object,{DOCUMENTS},index,index_digest\na,b,1,x,d1\nc,d,1,y,d2\n", "counted on 2 indexes"),
        (f"subject,object,{DOCUMENTS},index,index_digest\na,b,many,x,d1\n", "an integer of at least 0, got .many."),
        (f"subject,object,{DOCUMENTS},index,index_digest\n", "no rows"),
    ],
)
def test_a_file_that_is_not_a_counts_table_is_refused_by_name(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "table.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says) as refused:
        FactTables([tmp_path / "table.csv"])
    assert "table.csv" in str(refused.value)
