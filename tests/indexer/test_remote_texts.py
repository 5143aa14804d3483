"""Original texts of an index at a URL: the same answers as in a local folder, with few and bounded reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factcensus.indexer import CountIndex, Deadline, Scope, add_to_index, delete_documents
from factcensus.indexer.cli import main
from factcensus.indexer.errors import DeadlineError, IndexFormatError, InputError, RequestLimitError
from factcensus.indexer.remote.index import RemoteIndex
from factcensus.indexer.storage.kept import KeptTexts

from .corpora import make_index, records, write_corpus

if TYPE_CHECKING:
    from servers import WebServer

MAIL = "jane.doe@example.org"
TEXTS = [
    f"Text {n}: " + "St. Louis, " * (n % 50) + ("x y " * 30_000 if n == 7 else "") + (f"<{MAIL}>" if n % 9 == 0 else "")
    for n in range(400)
] + [f"{MAIL}.uk", "030/901820", "(030) 90 18 20", ""]
QUERIES: list[dict[str, Any]] = [
    {"text": "louis", "limit": 30},
    {"text": "louis", "limit": 30, "start": 350},
    {"subject": "Louis", "object": "Text", "window": 3, "limit": 9},
    {"text": MAIL, "verbatim": True, "limit": 100},
    {"text": MAIL, "verbatim": True, "by": "source", "scope": Scope(where="source = 'a'")},
    {"text": "St.", "verbatim": True, "start": 200, "limit": 3},
    {"text": "nowhere", "verbatim": True},
    {"text": "030901820", "normalise": "digits"},
    {"text": MAIL, "normalise": "email", "limit": 3},
    {"pattern": r"Text \d5:", "limit": 90},
    {"pattern": r"y\z", "scope": Scope(documents=(3, 300))},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["words", "bytes"])
def analyzer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def local(analyzer: str, tmp_path: Path) -> Iterator[CountIndex]:
    """Yield an index with three shards and deleted documents, in a folder that is served."""
    site = tmp_path / "site"
    sources = ["ab"[n % 2] for n in range(len(TEXTS))]
    make_index(site, TEXTS, sources, analyzer=analyzer, keep_text=analyzer == "words", shard_tokens=70_000).close()
    more = records([f"More {n} of St. Louis" for n in range(20)], ["c"] * 20)
    add_to_index(site / "ix", [write_corpus(site / "more.jsonl", [each | {"id": f"m{each['id']}"} for each in more])])
    delete_documents(site / "ix", ids=["d9", "d45"])
    with CountIndex.open(site / "ix") as index:
        assert len(index.shards) > 2
        yield index


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WebServer]:
    from servers import web_server

    (tmp_path / "site").mkdir(exist_ok=True)
    with web_server(tmp_path / "site") as server:
        yield server


def bytes_of_texts(site: WebServer) -> int:
    """Return the number of bytes requested from files of texts."""
    ranges = [
        header.removeprefix("bytes=").split("-") for _, path, header in site.requests if header and "kept" in path
    ]
    return sum(int(end) - int(begin) + 1 for begin, end in ranges)


def test_answers_equal_those_of_the_local_index(local: CountIndex, analyzer: str, site: WebServer) -> None:
    with CountIndex.open(f"{site.url}/ix") as remote:
        assert isinstance(remote, RemoteIndex)
        for query in QUERIES:
            if analyzer == "bytes" and "normalise" in query:
                continue
            assert remote.find_documents(**query) == local.find_documents(**query), query
        for text in (MAIL, "St.", "nowhere"):
            assert remote.count(text, verbatim=True, by="source") == local.count(text, verbatim=True, by="source")
        assert remote.info() == local.info()


@pytest.mark.parametrize("analyzer", ["words"], indirect=True)
def test_texts_of_all_shards_are_read_in_few_rounds(local: CountIndex, site: WebServer) -> None:
    with CountIndex.open(f"{site.url}/ix") as remote:
        assert isinstance(remote, RemoteIndex)
        shards = len(remote.shards)
        before = remote.session.asked
        found = remote.find_documents(text=MAIL, verbatim=True, limit=1)
        first = remote.session.asked - before
        assert found.total == local.find_documents(text=MAIL, verbatim=True).total > shards
        # The search, the places of the texts and their blocks, and then the page with its one document.
        assert first.rounds <= 16
        before = remote.session.asked
        assert remote.find_documents(text="030901820", normalise="digits").total == 2
        assert (remote.session.asked - before).rounds <= 40, "the divisions of a number are searched for together"
        before = remote.session.asked
        assert remote.count(MAIL, verbatim=True).documents == found.total
        assert (remote.session.asked - before).rounds <= 8
    kept = sum(shard.kept.size_bytes for shard in local.shards if shard.kept is not None)
    with CountIndex.open(f"{site.url}/ix") as remote:  # the places of the blocks are in the cache folder now
        site.requests.clear()
        assert remote.find_documents(text="d d 18 20", limit=1).total == 0
        assert not bytes_of_texts(site)
        remote.find_documents(text="030 901820", limit=1)
        assert 0 < bytes_of_texts(site) < kept / 3


@pytest.mark.parametrize("analyzer", ["words"], indirect=True)
def test_search_for_a_pattern_ends_at_the_limit_and_reports_how_far_it_came(
    local: CountIndex,
    site: WebServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("factcensus.indexer.remote.texts.PART_BYTES", 1)
    monkeypatch.setattr("factcensus.indexer.remote.texts.PART_DOCUMENTS", 50)
    whole = local.find_documents(pattern="Louis")
    with CountIndex.open(f"{site.url}/ix") as remote:
        assert remote.find_documents(pattern="Louis") == whole
        monkeypatch.setattr("factcensus.indexer.remote.index.MOST_TEXT_BYTES", 9_000)
        page = remote.find_documents(pattern="Louis")
        assert not page.exact
        assert page.searched is not None
        assert whole.searched is not None
        assert 0 < page.searched < whole.searched == page.searched_of
        assert 0 < page.total < whole.total
        site.requests.clear()
        with pytest.raises(RequestLimitError, match=r"at most 0\.0 MB are allowed; .*copy the index"):
            remote.count("St.", verbatim=True)
        assert bytes_of_texts(site) < 9_000  # the places of the texts, but no text
        deadline = Deadline()
        deadline.cancel()
        page = remote.find_documents(pattern="Louis", deadline=deadline)
        assert (page.searched, page.exact) == (0, False)
        with pytest.raises(DeadlineError):
            remote.find_documents(text="St.", verbatim=True, deadline=deadline)
    assert main(["documents", f"{site.url}/ix", "--pattern", "Louis"]) == 0
    assert "texts searched before the limit of reads over the network" in capsys.readouterr().out


@pytest.mark.parametrize("analyzer", ["words"], indirect=True)
def test_damaged_file_of_texts_is_named(local: CountIndex, site: WebServer, tmp_path: Path) -> None:
    file = next(iter((tmp_path / "site/ix").glob("kept.0")))
    content = file.read_bytes()
    blocks = len(content) - 24 - 8 * int.from_bytes(content[-16:-8], "little")
    for at in (-1, -17, blocks, 100):  # the kind, the number of documents, the places of the blocks, a block
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        file.write_bytes(damaged)
        with pytest.raises(IndexFormatError, match=r"kept\.0 is damaged; copy the index again"):
            _ = CountIndex.open(f"{site.url}/ix").find_documents(pattern="Louis")
        for cached in (tmp_path / "cache").rglob("*kept*"):
            cached.unlink()
    assert isinstance(local.shards[0].kept, KeptTexts)


def test_index_without_texts_is_refused_with_the_option(site: WebServer, tmp_path: Path) -> None:
    make_index(tmp_path / "site", ["St. Louis"]).close()
    with CountIndex.open(f"{site.url}/ix") as remote:
        with pytest.raises(InputError, match="--keep-text"):
            remote.find_documents(pattern="Louis")
        (document,) = remote.find_documents(text="louis").documents
        assert not document.original
