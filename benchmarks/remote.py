"""An index asked over a network with 30 ms per read, compared with a plain binary search that reads row by row.

The peer is written for this benchmark. It searches as infini-gram's own reader for object stores does: one request for
an entry of the suffix array, one for the tokens at its position, for both ends of the range, one after another. It
counts occurrences only, in the same files, over one persistent connection of the same server. We also count documents,
and for a table co-occurrences.

``python -m benchmarks.remote DIR ANALYZER`` measures an index without a manifest, such as a published one.
"""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.corpora import Setting
from benchmarks.measure import Report
from factcensus.indexer import CountIndex
from factcensus.indexer.opened import IndexPath
from factcensus.indexer.remote.index import RemoteIndex
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

LATENCY_MS = 30
SINGLES, FEW_FACTS, MANY_FACTS = 10, 20, 500

#: Returns the bytes [begin, end) of a file.
Read = Callable[[str, int, int], bytes]
Pair = tuple[str, str]


def main(setting: Setting, report: Report) -> None:
    """Compare counts of texts and of tables, in the index of the natural corpus."""
    facts = setting.facts
    pairs = list(zip(facts["subject"].to_pylist(), facts["object"].to_pylist(), strict=True))
    compare(setting.index, None, pairs, report)


def compare(folder: Path, analyzer: str | None, pairs: Sequence[Pair], report: Report) -> None:
    """Compare counts in the index in a folder.

    Args:
        folder: The index.
        analyzer: Its analyzer, if it does not name it.
        pairs: Subjects and objects.
        report: Receives the results.
    """
    report.title("Asking an index over a network")
    with tempfile.TemporaryDirectory() as cache, served(folder) as (host, port):
        os.environ["FACTCENSUS_CACHE"] = cache
        url = f"http://{host}:{port}"
        with CountIndex.open(folder, analyzer=analyzer) as local, _remote(url, analyzer) as remote:
            rows = sum(shard.size for shard in local.shards)
            first = [{"subject": subject, "object": object_} for subject, object_ in pairs[:2]]
            for index in (local, remote):  # compiles all code
                index.count_facts(first)
                index.count(pairs[0][0])
            report.note(f"{rows:,} rows in {len(local.shards)} shards, {LATENCY_MS} ms per read.")
            _counts(local, remote, _over(host, port), pairs, report)
            _tables(local, remote, _over(host, port), pairs, report)


def _remote(url: IndexPath, analyzer: str | None) -> RemoteIndex:
    index = CountIndex.open(url, name="remote", analyzer=analyzer)
    assert isinstance(index, RemoteIndex)
    return index


def _counts(local: CountIndex, remote: RemoteIndex, read: Read, pairs: Sequence[Pair], report: Report) -> None:
    texts = random.Random(3).sample([name for pair in pairs for name in pair], SINGLES)
    ours, theirs, rounds, requests, their_rounds = [], [], [], [], []
    for text in texts:
        before = remote.session.asked
        started = time.perf_counter()
        found = remote.count(text)
        ours.append(time.perf_counter() - started)
        used = remote.session.asked - before
        rounds.append(used.rounds)
        requests.append(used.requests)
        started = time.perf_counter()
        occurrences, reads = plain_count(local, text, read)
        theirs.append(time.perf_counter() - started)
        their_rounds.append(reads)
        assert found.occurrences == local.count(text).occurrences == occurrences, text
    report.heading(f"one count, median of {SINGLES}")
    report.table(
        ["", "wall", "rounds", "requests", "wall ÷ ours"],
        [
            ["ours, with documents", f"{median(ours):.3f} s", f"{median(rounds):g}", f"{median(requests):g}", ""],
            [
                "plain binary search, occurrences only",
                f"{median(theirs):.3f} s",
                f"{median(their_rounds):g}",
                f"{median(their_rounds):g}",
                f"{median([their / our for their, our in zip(theirs, ours, strict=True)]):.1f}",
            ],
        ],
    )


def _tables(local: CountIndex, remote: RemoteIndex, read: Read, pairs: Sequence[Pair], report: Report) -> None:
    for size in (FEW_FACTS, MANY_FACTS):
        chosen = random.Random(4).sample(list(pairs), min(size, len(pairs)))
        facts = [{"subject": subject, "object": object_} for subject, object_ in chosen]
        before = remote.session.asked
        started = time.perf_counter()
        counted = remote.count_facts(facts)
        ours_s = time.perf_counter() - started
        used = remote.session.asked - before
        counts = local.count_facts(facts)
        assert counted.drop_columns(["index"]).equals(counts.drop_columns(["index"]))
        names = list(dict.fromkeys(name for pair in chosen for name in pair))
        if size == FEW_FACTS:
            started = time.perf_counter()
            their_rounds = sum(plain_count(local, name, read)[1] for name in names)
            wall = time.perf_counter() - started
            theirs = [f"{wall:.2f} s", f"{their_rounds:,}", f"{wall / ours_s:.1f}"]
        else:  # it would take an hour, so the same search reads the local files
            their_rounds = sum(plain_count(local, name, _locally(local))[1] for name in names)
            theirs = [f"more than {their_rounds * LATENCY_MS / 1000:,.0f} s (not run)", f"{their_rounds:,}", ""]
        report.heading(f"a table of {len(facts)} facts")
        report.table(
            ["", "wall", "rounds", "wall ÷ ours", "requests", "MB", "rounds ÷ ours"],
            [
                ["ours", f"{ours_s:.2f} s", str(used.rounds), "", f"{used.requests:,}", f"{used.bytes / 1e6:.1f}", ""],
                [
                    "plain binary search of the names",
                    *(theirs[0], theirs[1], theirs[2]),
                    f"{their_rounds:,}",
                    "",
                    f"{their_rounds / used.rounds:.0f}",
                ],
            ],
        )


def plain_count(index: CountIndex, text: str, read: Read) -> tuple[int, int]:
    """Return the occurrences of a text, and the number of reads, by one binary search per shard and end."""
    ids = index.token_ids(text)
    occurrences = reads = 0
    for shard in index.suffix_arrays if ids else ():
        query = b"".join(token.to_bytes(shard.token_bytes, "little") for token in ids or ())
        low, more = _bound(shard, query, read, after=False)
        high, again = _bound(shard, query, read, after=True)
        occurrences, reads = occurrences + high - low, reads + more + again
    return occurrences, reads


def _bound(shard: SuffixArrayShard, query: bytes, read: Read, *, after: bool) -> tuple[int, int]:
    table, stream = shard.table_name, shard.table_name.replace("table", "tokenized")
    width = shard.table.nbytes // shard.size
    low, high, reads = 0, shard.size, 0
    while low < high:
        middle = (low + high) // 2
        at = int.from_bytes(read(table, middle * width, (middle + 1) * width), "little")
        key = read(stream, at, min(at + len(query), shard.stream.size))
        reads += 2
        if key < query or (after and key == query):
            low = middle + 1
        else:
            high = middle
    return low, reads


def _over(host: str, port: int) -> Read:
    connection = http.client.HTTPConnection(host, port)

    def read(name: str, begin: int, end: int) -> bytes:
        connection.request("GET", f"/{name}", headers={"Range": f"bytes={begin}-{end - 1}"})
        return connection.getresponse().read()

    return read


def _locally(index: CountIndex) -> Read:
    files: dict[str, int] = {}

    def read(name: str, begin: int, end: int) -> bytes:
        if name not in files:
            files[name] = os.open(index.folder / name, os.O_RDONLY)
        return os.pread(files[name], end - begin, begin)

    return read


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve a folder in another process and yield the host and port."""
    command = [sys.executable, "-m", "benchmarks.range_server", str(folder), str(LATENCY_MS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    chance = random.Random(5)
    with CountIndex.open(sys.argv[1], analyzer=sys.argv[2]) as opened:
        (shard,) = opened.suffix_arrays
        found: list[str] = []
        while len(found) < 4 * MANY_FACTS:
            begin = chance.randrange(shard.size - 8)
            ids = shard.tokens(begin, begin + chance.choice([2, 2, 3])).tolist()
            if max(ids) < 256**shard.token_bytes - 1 and shard.most_occurrences(ids) < 10_000:
                found.append(opened.text(ids))
    compare(Path(sys.argv[1]), sys.argv[2], list(zip(found[::2], found[1::2], strict=True)), Report(1))
