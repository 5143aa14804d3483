"""A run counts its facts itself, waits for the service, and resumes counting after the service was lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import CountIndex, InputError, build_index, read_facts, stratify
from factcensus.unlearn import counted
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.counted import counted_already, counted_facts, read_counted_facts
from factcensus.unlearn.errors import ConfigError, ServiceLostError
from factcensus.unlearn.progress import Progress


@pytest.fixture(scope="module")
def index(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexes") / "world"
    build_index([world / "corpus"], folder)
    return folder


class Service:
    """Three routes of the service over a real index, with faults: the first requests are refused or dropped."""

    def __init__(self, index: Path) -> None:
        self.counted: list[int] = []
        self.unready = 0
        self.lost_after: int | None = None
        service = self
        opened = CountIndex.open(index)

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def answer(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                if self.path == "/readyz" and service.unready > 0:
                    service.unready -= 1
                    self.answer(b'{"detail": "opening"}', 503)
                elif self.path == "/v1/indexes/world":
                    self.answer(json.dumps(opened.info().as_json()).encode())
                else:
                    self.answer(b"{}")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if service.lost_after is not None and len(service.counted) >= service.lost_after:
                    self.close_connection = True
                    self.connection.close()
                    return
                rows = [json.loads(line) for line in body.splitlines()]
                service.counted.append(len(rows))
                table = opened.count_facts(read_rows(rows))
                lines = [json.dumps(row) for row in table.to_pylist()]
                self.answer("\n".join(lines).encode() + b"\n", kind="application/x-ndjson")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._opened = opened
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
        self._opened.close()


def read_rows(rows: list[dict[str, Any]]) -> pa.Table:
    from factcensus.indexer import facts_from_rows

    return facts_from_rows(rows)


@pytest.fixture
def service(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(counted, "FIRST_PAUSE_S", 0.01)
    service = Service(index)
    yield service
    service.close()


def config(world: Path, **index: Any) -> RunConfig:
    return check_config(
        {
            "model": "m",
            "facts": str(world / "facts.jsonl"),
            "out": "o",
            "methods": ["simnpo"],
            "index": {"batch_facts": 40, "bins": "log10", **index},
        }
    )


def expected(world: Path, index: Path) -> pa.Table:
    with CountIndex.open(index) as opened:
        return stratify(opened.count_facts(read_facts(world / "facts.jsonl")), bins="log10")


def test_the_service_the_index_and_the_engine_count_the_same(
    world: Path, index: Path, service: Service, tmp_path: Path
) -> None:
    service.unready = 3
    seen: list[Progress] = []
    facts = expected(world, index)
    over_http = counted_facts(config(world, url=service.url, name="world"), tmp_path / "a", seen.append)
    on_disk = counted_facts(config(world, folder=str(index)), tmp_path / "b")
    columns = ["fact_id", "cooccurrence_documents", "stratum", "stratum_label", "index_digest"]
    assert pq.read_table(over_http, columns=columns).equals(facts.select(columns))
    assert pq.read_table(on_disk, columns=columns).equals(facts.select(columns))
    assert service.counted == [40] * (facts.num_rows // 40) + [facts.num_rows % 40] * (facts.num_rows % 40 > 0)
    assert sum(progress.stage == "wait for the counting service" for progress in seen) == 3
    assert seen[-1].done == seen[-1].total == facts.num_rows


def test_counting_resumes_after_the_service_was_lost(world: Path, service: Service, tmp_path: Path) -> None:
    asked = config(world, url=service.url, name="world", wait_s=0.2)
    service.lost_after = 2
    with pytest.raises(ServiceLostError, match=r"80 facts were counted now and are kept") as lost:
        counted_facts(asked, tmp_path)
    assert lost.value.exit_code == 1
    assert service.counted == [40, 40]
    assert counted_already(asked, tmp_path) is None
    service.lost_after = None
    path = counted_facts(asked, tmp_path)
    assert sum(service.counted) == pq.read_table(path).num_rows  # no fact was requested twice
    service.lost_after = 0
    assert counted_facts(asked, tmp_path) == path  # complete, so the service is no longer needed
    assert counted_already(asked, tmp_path) == path


def test_unreachable_service_is_an_error_after_the_wait(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted, "FIRST_PAUSE_S", 0.01)
    with pytest.raises(ServiceLostError, match=r"index\.wait_s"):
        counted_facts(config(world, url="http://127.0.0.1:9", name="world", wait_s=0.05), tmp_path)


def test_index_with_another_digest_is_refused(world: Path, index: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.digest is sha256:0"):
        counted_facts(config(world, folder=str(index), digest="sha256:0"), tmp_path)


def test_existing_counts_are_used(world: Path, index: Path, tmp_path: Path) -> None:
    path = tmp_path / "strata.parquet"
    pq.write_table(expected(world, index), path)
    asked = config(world, url="http://127.0.0.1:9", name="world").model_copy(update={"facts": path})
    assert counted_facts(asked, tmp_path / "inputs") == path
    assert counted_facts(config(world), tmp_path / "inputs") == world / "facts.jsonl"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"url": "http://x", "folder": "y", "name": "z"}, "url and folder are both given"),
        ({"url": "http://x"}, r"set index\.name"),
        ({"wait": 3}, r"unknown key 'index.wait'; did you mean 'index\.wait_s'"),
    ],
)
def test_errors_name_the_invalid_index_section(world: Path, index: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(world, **index)


def reading(table: Path, **settings: Any) -> RunConfig:
    return check_config({"model": "m", "out": "run", "methods": ["simnpo"], "facts": str(table), **settings})


def test_columns_are_renamed_before_counting_and_training(index: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("head;tail;stratum_name\nNobody Here;Paris;a\n", encoding="utf-8")
    columns = {"subject": "head", "object": "tail"}
    config = reading(tmp_path / "facts.csv", columns=columns, index={"folder": str(index)})
    table = read_counted_facts(config, tmp_path / "inputs")
    assert table.select(["subject", "object", "answer", "stratum"]).to_pylist() == [
        {"subject": "Nobody Here", "object": "Paris", "answer": "Paris", "stratum": 0}
    ]
    config = reading(tmp_path / "facts.csv", columns=columns)
    assert read_counted_facts(config, tmp_path / "inputs")["subject"].to_pylist() == ["Nobody Here"]


def test_reserved_column_stratum_is_refused_before_counting(service: Service, tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("subject,object,stratum\nNobody Here,Paris,rare\n", encoding="utf-8")
    config = reading(tmp_path / "facts.csv", index={"url": service.url, "name": "world"})
    with pytest.raises(InputError, match="'stratum'"):
        read_counted_facts(config, tmp_path / "inputs")
    assert service.counted == []


@pytest.mark.parametrize("written", ["12", "12.0"])
def test_counts_of_any_column_are_integers(tmp_path: Path, written: str) -> None:
    """A published split in CSV is an input as it is: country, capital, and the count of the authors."""
    rows = ["question,answer,country,capital,count,role"]
    rows += [
        f"Capital of {name}?,{name}ville,{name},{name}ville,{written},{role}"
        for name, role in (("Arland", "forget"), ("Borland", "retain"))
    ]
    (tmp_path / "split.csv").write_text("\n".join(rows))
    settings = {"model": "m", "facts": str(tmp_path / "split.csv"), "out": str(tmp_path / "run"), "methods": ["simnpo"]}
    read = read_counted_facts(check_config({**settings, "selection": {"count_column": "count"}}), tmp_path)
    assert read["count"].to_pylist() == [12, 12]
    assert read["subject"].to_pylist() == ["Arland", "Borland"]
    assert read_counted_facts(check_config(settings), tmp_path)["count"].to_pylist() == [written, written]
