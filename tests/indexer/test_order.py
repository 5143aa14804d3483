"""Counts as of a training step: indexes, local scans and shared scans agree with counting the documents seen so far."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from factcensus.indexer import CountIndex, build_index, scan_facts
from factcensus.indexer.cli import main
from factcensus.indexer.counting.order import Order
from factcensus.indexer.counting.scanner import ScanSettings
from factcensus.indexer.counting.steps import steps_of
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import Layout
from factcensus.indexer.tables.counts import count_names
from factcensus.indexer.tables.files import read_table, write_table
from factcensus.indexer.work import scan as scan_module
from factcensus.indexer.work.runners import LocalRunner
from factcensus.indexer.work.scan import scan_shared

from .corpora import both_layouts, fact_table, write_corpus

WORDS = ["Paris", "France", "Berlin", "of", "is", "Curie", "Warsaw"]
FACTS = fact_table([(("Paris",), ("France",)), (("Curie",), ("Warsaw", "of")), (("Nowhere",), ("Paris",))])
BY = "step:10"


class World:
    """A corpus of three files, the steps of its documents in up to three epochs, and the counts by checkpoint."""

    def __init__(self, folder: Path) -> None:
        chance = random.Random(7)
        self.folder, self.steps = folder, {}
        self.rows: list[dict[str, Any]] = []
        for number, ending in enumerate([".jsonl", ".jsonl.gz", ".parquet"]):
            texts = [" ".join(chance.choices(WORDS, k=chance.randrange(1, 12))) for _ in range(60)]
            documents = [{"id": f"{number}-{record}", "text": text} for record, text in enumerate(texts)]
            write_corpus(folder / f"c{number}{ending}", documents)
            for record, document in enumerate(documents):
                seen = [chance.randrange(95) for _ in range(chance.choice([0, 1, 1, 3]))]
                self.rows.append({**document, "path": f"c{number}{ending}", "record": record, "seen": seen})

    def order(self, kind: str) -> pa.Table:
        """Return the order table in one of its forms."""
        seen = [row for row in self.rows if row["seen"]]
        if kind == "rows":  # one for each sight
            pairs = [(row, step) for row in seen for step in row["seen"]]
            return pa.table(
                {
                    "path": [row["path"] for row, _ in pairs],
                    "record": [row["record"] for row, _ in pairs],
                    "step": [step for _, step in pairs],
                }
            )
        steps = pa.array([row["seen"] for row in seen], pa.list_(pa.int64()))
        if kind == "id":
            return pa.table({"id": [row["id"] for row in seen], "step": steps})
        return pa.table(
            {"path": [row["path"] for row in seen], "record": [row["record"] for row in seen], "step": steps}
        )

    def expected(self, tmp_path: Path, checkpoint: int) -> list[dict[str, int]]:
        """Count the documents that training saw before a checkpoint, in a corpus that has only these."""
        seen = [{"text": row["text"]} for row in self.rows if row["seen"] and min(row["seen"]) < checkpoint]
        corpus = write_corpus(tmp_path / f"seen{checkpoint}.jsonl", seen)
        return scan_facts(corpus, FACTS, windows=[2], jobs=1).select(count_names([2])).to_pylist()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "corpus")


def as_of(table: pa.Table, checkpoint: int) -> list[dict[str, int]]:
    """Return the counts of each fact as of a checkpoint: those of its last row up to it."""
    none = dict.fromkeys(count_names([2]), 0)
    found = []
    for rows in table[f"by_{BY}"].to_pylist():
        steps = [int(row[BY]) for row in rows]
        assert steps == sorted(set(steps))
        before = [row for row in rows if int(row[BY]) <= checkpoint]
        found.append({name: before[-1][name] for name in none} if before else none)
    return found


@both_layouts
@pytest.mark.parametrize("kind", ["lists", "rows", "id"])
def test_indexes_and_scans_count_the_documents_seen_so_far(
    kind: str, layout: Layout, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.order(kind)
    scanned = scan_facts(world.folder, FACTS, windows=[2], jobs=1, by=BY, order=Order(table))
    for checkpoint in (10, 20, 50, 100):
        assert as_of(scanned, checkpoint) == world.expected(tmp_path, checkpoint), checkpoint
    plain = scan_facts(world.folder, FACTS, windows=[2], jobs=1)
    assert scanned.drop_columns([f"by_{BY}"]).equals(plain)
    build_index(world.folder, tmp_path / "ix", layout=layout, jobs=1, shard_tokens=400)
    with CountIndex.open(tmp_path / "ix") as index:
        assert len(index.shards) > 1
        index.use_order(Order(table))
        indexed = index.count_facts(FACTS, windows=[2], by=BY)
        assert indexed[f"by_{BY}"].to_pylist() == scanned[f"by_{BY}"].to_pylist()
        groups = index.count("Paris", by=BY).groups or {}
        pair = index.cooccurrence("Paris", "France", window=2, by=BY).groups or {}
    for checkpoint in (10, 50, 100):
        first, *_ = world.expected(tmp_path, checkpoint)
        assert groups[str(checkpoint)].documents == first["subject_documents"]
        assert pair[str(checkpoint)].cooccurrence.pairs == first["cooccurrence_pairs_w2"]
    monkeypatch.setattr(scan_module, "UNIT_BYTES", 1)
    for part in (1, 0):
        scan_shared(
            world.folder,
            FACTS,
            work=tmp_path / "work",
            out=tmp_path / "out.parquet",
            runner=LocalRunner(1, part, 2),
            settings=ScanSettings(windows=(2,), by=BY),
            order=table,
        )
    assert read_table(tmp_path / "out.parquet").equals(scanned)


def test_commands_take_the_table_of_an_order(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = tmp_path / "order.jsonl"
    write_table(world.order("lists"), order)
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\nParis,France\n")
    build_index(world.folder, tmp_path / "ix", jobs=1)
    steps = ["--by", BY, "--order", str(order)]
    first, *_ = world.expected(tmp_path, 30)
    capsys.readouterr()
    assert main(["count", str(tmp_path / "ix"), "Paris", *steps, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted[f"by_{BY}"]["30"]["documents"] == first["subject_documents"]
    assert main(["cooc", str(tmp_path / "ix"), "--subject", "Paris", "--object", "France", *steps, "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)[f"by_{BY}"]["30"]["cooccurrence"]["documents"]
        == (first["cooccurrence_documents"])
    )
    tables = []
    for number, source in enumerate(
        [
            ["--index", str(tmp_path / "ix")],
            ["--scan", str(world.folder)],
            ["--scan", str(world.folder), "--work", str(tmp_path / "w")],
        ]
    ):
        out = tmp_path / f"{number}.parquet"
        assert main(["facts", "count", str(facts), *source, *steps, "--out", str(out)]) == 0
        tables.append(read_table(out)[f"by_{BY}"].to_pylist())
    assert tables[0] == tables[1] == tables[2]
    for wrong in (
        ["--by", BY],
        ["--order", str(order)],
        ["--by", "step:0", "--order", str(order)],
        ["--by", "source", "--order", str(order)],
    ):
        assert main(["count", str(tmp_path / "ix"), "Paris", *wrong]) == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a"], "record": [0]}, "no column 'step'"),
        ({"path": ["a"], "step": [0]}, "no column 'record'"),
        ({"id": ["a"], "step": [-1]}, "of at least 0"),
        ({"id": ["a"], "step": ["x"]}, "of at least 0"),
        ({"id": ["a", "b"], "step": [1, None]}, "in every row"),
        ({"id": ["a", "b"], "step": [[1], []]}, "row 2 of the order has no step"),
    ],
)
def test_bad_orders_are_refused(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Order(pa.table(columns))


def test_order_of_another_corpus_is_refused(world: World, tmp_path: Path) -> None:
    order = Order(pa.table({"path": ["elsewhere.jsonl"], "record": [0], "step": [1]}))
    with pytest.raises(InputError, match="no document of the corpus is in the order table"):
        scan_facts(world.folder, FACTS, jobs=1, by=BY, order=order)
    build_index(world.folder, tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        with pytest.raises(InputError, match="give its table with --order"):
            index.count("Paris", by=BY)
        index.use_order(order)
        with pytest.raises(InputError, match="no document of the corpus is in the order table"):
            index.count("Paris", by=BY)


@pytest.mark.parametrize("by", ["step:", "step:0", "step:-1", "step:1.5", "step:x", "step:1e3"])
def test_number_of_steps_must_be_a_positive_integer(by: str) -> None:
    with pytest.raises(InputError, match="must be a positive integer"):
        steps_of(by)
    assert steps_of("source") is None
    assert steps_of("step") is None
