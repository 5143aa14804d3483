"""Indexes asked where they lie: over a web server that misbehaves and over S3, with the numbers of the local index."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factcensus.indexer import CountIndex, Deadline, Entity, Scope, add_to_index, build_index, delete_documents
from factcensus.indexer.cli import main
from factcensus.indexer.errors import (
    DeadlineError,
    EmptyQueryError,
    IndexFormatError,
    InputError,
    NoIndexError,
    RequestLimitError,
)
from factcensus.indexer.remote.index import RemoteIndex
from factcensus.indexer.storage.manifest import Manifest
from factcensus.indexer.system.places import ChangedFileError, Place, PlaceError

from .corpora import write_corpus

if TYPE_CHECKING:
    from servers import WebServer

WORDS = ["Paris", "France", "Berlin", "the", "of", "capital", "is", "rose", "New", "York", "Town", "Lutetia"]
TEXTS = ["Paris", "capital of", "New York", "rare7", "rare8", "of the of", "is is is", "nowhere"]
PAIRS = [("Paris", "France"), ("New York", "York"), ("rare7", "the"), ("York Town", "New York"), ("rose", "nowhere")]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("factcensus.indexer.system.places.failures._FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("factcensus.indexer.system.places.failures._LONGEST_WAIT_S", 0.0)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the index ``ix``: three shards, sources, deleted and repeated documents."""
    folder = tmp_path_factory.mktemp("remote")
    chance = random.Random(5)
    documents: list[dict[str, Any]] = []
    for number in range(1500):
        text = " ".join(chance.choices(WORDS, k=chance.randrange(40))) + (f" rare{number}" if number % 7 == 0 else "")
        documents.append({"id": f"d{number}", "text": text, "source": "ab"[number % 2], "year": number % 3})
    documents += documents[:50]
    build_index([write_corpus(folder / "a.jsonl", documents)], folder / "ix", jobs=1, shard_tokens=20_000)
    add_to_index(folder / "ix", [write_corpus(folder / "b.jsonl", documents[:30])], jobs=1, allow_repeat=True)
    delete_documents(folder / "ix", ids=["d100", "d1"])
    return folder


@pytest.fixture
def site(built: Path, tmp_path: Path) -> Iterator[WebServer]:
    """Serve a copy of the index."""
    from servers import web_server

    shutil.copytree(built / "ix", tmp_path / "site" / "ix")
    with web_server(tmp_path / "site") as server:
        yield server


@pytest.fixture
def local(built: Path) -> Iterator[CountIndex]:
    with CountIndex.open(built / "ix") as index:
        yield index


def check_equal(remote: CountIndex, local: CountIndex) -> None:
    """Compare all kinds of answers of two indexes."""
    scopes = [Scope(), Scope(documents=(10, 900)), Scope(tokens=(100, 9000)), Scope(where="year = 1")]
    if local.manifest is None:
        scopes = scopes[:3]
    else:
        scopes.append(Scope(duplicates=False))
    for text in TEXTS:
        for scope in scopes:
            assert remote.count(text, scope=scope) == local.count(text, scope=scope)
        assert remote.find_documents(text=text, limit=4, start=1) == local.find_documents(text=text, limit=4, start=1)
        if local.manifest is not None:
            assert remote.count(text, by="source") == local.count(text, by="source")
    assert remote.count_many(TEXTS).tolist() == local.count_many(TEXTS).tolist()
    for window in (None, 0, 3, 40):
        for subject, object_ in PAIRS:
            asked = Entity(subject, ["Lutetia"]), Entity(object_)
            assert remote.cooccurrence(*asked, window=window) == local.cooccurrence(*asked, window=window)
            found = remote.find_documents(subject=asked[0], object=asked[1], window=window, limit=30)
            assert found == local.find_documents(subject=asked[0], object=asked[1], window=window, limit=30)
    facts = [{"subject": one, "object": other} for one, _ in PAIRS for _, other in PAIRS]
    for by in (None, "source") if local.manifest is not None else (None,):
        for scope in scopes[:2]:
            counted = remote.count_facts(facts, windows=[0, 9], by=by, scope=scope)
            assert counted.equals(local.count_facts(facts, windows=[0, 9], by=by, scope=scope))
    assert remote.info() == local.info()


# ---------------------------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("kind", ["web", "s3"])
def test_answers_at_a_url_equal_the_local_ones(
    kind: str, built: Path, local: CountIndex, site: WebServer, request: pytest.FixtureRequest
) -> None:
    url = f"{site.url}/ix"
    if kind == "s3":
        url = f"{request.getfixturevalue('bucket')}/ix"
        for file in (built / "ix").iterdir():
            (Place.of(url) / file.name).upload(file)
    with CountIndex.open(url) as remote:
        assert isinstance(remote, RemoteIndex)
        check_equal(remote, local)
    assert {method for method, _, _ in site.requests} <= {"GET", "HEAD"}
    if kind == "s3":
        assert sorted(Place.of(url).files()) == sorted(file.name for file in (built / "ix").iterdir())


def test_index_of_an_older_version_without_samples_answers(local: CountIndex, site: WebServer, tmp_path: Path) -> None:
    folder = tmp_path / "site/ix"
    manifest = Manifest.read(folder)
    for name in [name for name in manifest.files if name.startswith("sample.")]:
        (folder / name).unlink()
        del manifest.files[name]
    manifest.write(folder)
    assert CountIndex.open(folder).count("Paris") == local.count("Paris")
    with CountIndex.open(f"{site.url}/ix") as remote:
        for text in TEXTS:
            assert remote.count(text) == local.count(text)


def test_stored_counts_replace_the_rows_of_very_frequent_texts(
    site: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factcensus.indexer.remote.shard.MANY_OCCURRENCES", 20)
    texts = ["a b c", "a b", "a x a"] * 900 + ["b c y"]
    corpus = write_corpus(tmp_path / "c.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    build_index([corpus], tmp_path / "site/many", jobs=1)
    delete_documents(tmp_path / "site/many", ids=["7", "8"])
    with CountIndex.open(tmp_path / "site/many") as local, CountIndex.open(f"{site.url}/many") as remote:
        asked = ["a", "a b", "b c", "x a", "c", "y", "b c y", "a a"]
        for scope in (Scope(), Scope(duplicates=False), Scope(documents=(5, 800))):
            for text in asked:
                assert remote.count(text, scope=scope) == local.count(text, scope=scope)
            assert remote.count_many(asked, scope=scope).tolist() == local.count_many(asked, scope=scope).tolist()
        assert remote.cooccurrence("a", "b", window=0) == local.cooccurrence("a", "b", window=0)
        site.requests.clear()
        remote.count("a b")
        assert not any("offset" in path for _, path, _ in site.requests), "no row is looked up"


def test_queries_without_tokens_are_errors_and_deadlines_stop_reads(site: WebServer) -> None:
    with CountIndex.open(f"{site.url}/ix") as remote:
        with pytest.raises(EmptyQueryError):
            remote.count("…")
        deadline = Deadline()
        deadline.cancel()
        with pytest.raises(DeadlineError):
            remote.count("Paris", deadline=deadline)


def test_later_commands_read_the_small_files_from_the_cache_folder(site: WebServer, tmp_path: Path) -> None:
    for _ in range(2):
        with CountIndex.open(f"{site.url}/ix") as remote:
            assert isinstance(remote, RemoteIndex)
            opening = remote.usage().opening
    assert (opening.rounds, opening.requests) == (1, 1), "only the manifest"
    assert (tmp_path / "cache/remote").is_dir()
    assert not any(WORDS[0] in path.name for path in (tmp_path / "cache").rglob("*"))


def test_cache_folder_that_cannot_be_written_changes_no_answer(
    site: WebServer, local: CountIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "file" / "below"))
    with CountIndex.open(f"{site.url}/ix") as remote:
        assert remote.count("Paris") == local.count("Paris")


# ---------------------------------------------------------------------------------------------- failures


def test_reads_are_retried_after_lost_connections_and_from_busy_servers(site: WebServer, local: CountIndex) -> None:
    with CountIndex.open(f"{site.url}/ix") as remote:
        site.failures = [503, "cut", 429, 500, "cut"]
        assert remote.count("Paris") == local.count("Paris")
        assert site.failures == []


def test_object_that_changes_between_two_reads_is_named(site: WebServer, tmp_path: Path) -> None:
    with CountIndex.open(f"{site.url}/ix") as remote:
        remote.count("Paris")
        table = tmp_path / "site/ix/table.0"
        table.write_bytes(table.read_bytes()[::-1])
        with pytest.raises(ChangedFileError, match=r"ix/table\.0 was changed while it was read"):
            remote.count("France")


@pytest.mark.parametrize("name", ["tokenized.0", "table.1", "offset.0"])
def test_partly_copied_object_is_named(name: str, site: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "site/ix" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with CountIndex.open(f"{site.url}/ix") as remote, pytest.raises(PlaceError, match=rf"ix/{name} .*partly copied"):
        remote.count("Paris")


def test_partly_copied_object_of_a_store_is_named_at_opening(built: Path, bucket: str) -> None:
    for file in (built / "ix").iterdir():
        content = file.read_bytes()
        (Place.of(f"{bucket}/half") / file.name).write(content[:9] if file.name == "table.0" else content)
    with pytest.raises(IndexFormatError, match=r"half/table\.0 has 9 bytes, but the manifest requires"):
        CountIndex.open(f"{bucket}/half")
    (Place.of(f"{bucket}/half") / "table.0").delete()
    with pytest.raises(IndexFormatError, match=r"half/table\.0 is missing"):
        CountIndex.open(f"{bucket}/half")


@pytest.mark.parametrize("name", ["sample.0", "vocabulary.1.utf8", "repeated.0.1"])
def test_altered_small_file_is_named_at_opening(name: str, site: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "site/ix" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexFormatError, match=rf"ix/{name} was altered"):
        CountIndex.open(f"{site.url}/ix")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("table.0", lambda content: b"\xff" * len(content)), ("tokenized.0", lambda content: content[::-1])],
)
def test_damaged_object_is_named(name: str, damage: Callable[[bytes], bytes], site: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "site/ix" / name
    path.write_bytes(damage(path.read_bytes()))
    with CountIndex.open(f"{site.url}/ix") as remote, pytest.raises(IndexFormatError, match=r"ix/table\.0 is damaged"):
        remote.count("New York Town")


def test_damaged_offsets_are_named(site: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "site/ix/offset.0"
    content = path.read_bytes()
    path.write_bytes(content[:8] + content[16:24] + content[8:16] + content[24:])
    with CountIndex.open(f"{site.url}/ix") as remote, pytest.raises(IndexFormatError, match=r"ix/offset\.0 .*copy"):
        remote.count("Paris")


def test_url_without_an_index_is_an_error(site: WebServer, bucket: str) -> None:
    for url in (f"{site.url}/nothing", f"{bucket}/nothing"):
        with pytest.raises(NoIndexError, match="nothing is not an index"):
            CountIndex.open(url)


def test_local_and_remote_folders_are_not_mixed(site: WebServer, built: Path) -> None:
    with pytest.raises(InputError, match="cannot form one corpus"):
        CountIndex.open([f"{site.url}/ix", str(built / "ix")])
    with pytest.raises(InputError, match="was built by factcensus and cannot be combined"):
        CountIndex.open([f"{site.url}/ix", f"{site.url}/ix"])


def test_query_above_the_request_limit_is_refused(site: WebServer) -> None:
    with (
        CountIndex.open(f"{site.url}/ix", most_requests=4) as remote,
        pytest.raises(RequestLimitError, match=r"at most 4 are allowed; .*--most-requests"),
    ):
        remote.count_many(WORDS)


# ---------------------------------------------------------------------------------------------- security


def test_manifest_cannot_refer_to_another_path_or_url(site: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "site/ix/manifest.json"
    for name in ("http://127.0.0.1:1/table.0", "../../secret", "/etc/passwd"):
        content = json.loads(path.read_bytes())
        content["files"][name] = {"bytes": 1, "sha256": "0" * 64}
        (tmp_path / "site/evil").mkdir(exist_ok=True)
        (tmp_path / "site/evil/manifest.json").write_text(json.dumps(content))
        site.requests.clear()
        with pytest.raises(IndexFormatError, match="is not a file of this index"):
            CountIndex.open(f"{site.url}/evil")
        assert [path for _, path, _ in site.requests] == ["/evil/manifest.json"]


def test_redirects_to_another_place_are_refused(site: WebServer, tmp_path: Path) -> None:
    from servers import web_server

    del site
    with web_server(tmp_path / "site") as other:

        class Redirecting(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith("manifest.json"):
                    content = (tmp_path / "site/ix/manifest.json").read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                else:
                    self.send_response(302)
                    self.send_header("Location", f"{other.url}{self.path}")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with pytest.raises(PlaceError, match="redirects to another place"):
                CountIndex.open(f"http://127.0.0.1:{server.server_address[1]}/ix")
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        assert other.requests == []


@pytest.fixture
def compact(site: WebServer, tmp_path: Path) -> str:
    """Return the URL of an index in the layout compact."""
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": "Paris is in France"}])
    build_index([corpus], tmp_path / "site/small", jobs=1, layout="compact")
    return f"{site.url}/small"


COMPACT = r"small has the layout compact, which cannot be read over a network; copy the index .*, or convert a copy"


def test_compact_layout_is_refused_with_a_remedy(compact: str) -> None:
    with pytest.raises(InputError, match=COMPACT):
        CountIndex.open(compact)


@pytest.mark.parametrize(
    "command",
    [
        "count URL Paris",
        "cooc URL --subject Paris --object France",
        "documents URL --text Paris",
        "documents URL --pattern P",
        "trace URL Paris",
        "facts count FACTS --index URL --out OUT",
        "facts count FACTS --index URL --dry-run --out OUT",
        "index info URL",
        "ngram prob URL Paris",
        "ngram ntd URL Paris",
        "serve URL",
    ],
)
def test_every_command_that_reads_a_url_refuses_the_layout_compact(
    command: str, compact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "facts.csv").write_text("subject,object\nParis,France\n")
    words = {"URL": compact, "FACTS": str(tmp_path / "facts.csv"), "OUT": str(tmp_path / "out.csv")}
    code, out, err = ran(capsys, *(words.get(word, word) for word in command.split()))
    assert (code, out) == (2, "")
    assert re.search(COMPACT, err)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "index verify URL",
        "index add URL SOURCE",
        "index delete URL --id a",
        "index compact URL",
        "index slice URL --shards 0-0 --out OUT",
        "index convert URL --layout suffix-array --out OUT",
        "index list URL",
    ],
)
def test_commands_that_need_a_local_folder_say_so(
    command: str, site: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://me:pa55@{site.url.removeprefix('http://')}/ix?token=s3cr3t"
    words = {"URL": url, "SOURCE": str(write_corpus(tmp_path / "c.jsonl", [{"text": "a"}])), "OUT": str(tmp_path / "o")}
    code, out, err = ran(capsys, *(words.get(word, word) for word in command.split()))
    assert (code, out) == (2, "")
    assert f"{site.url}/ix?… is a URL, but this command needs a local path; copy it to this machine" in err
    assert "pa55" not in err
    assert "s3cr3t" not in err
    assert site.requests == []


def test_credentials_never_appear(site: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = site.url.removeprefix("http://")
    url = f"http://user:pa55@{host}/ix?token=s3cr3t"
    assert main(["count", url, "Paris", "--json"]) == 0
    (tmp_path / "facts.csv").write_text("subject,object\nParis,France\n")
    out = tmp_path / "counts.csv"
    assert main(["facts", "count", str(tmp_path / "facts.csv"), "--index", url, "--out", str(out)]) == 0
    (tmp_path / "site/ix/table.0").unlink()
    assert main(["count", url, "France"]) == 1
    shown = "".join(capsys.readouterr()) + out.read_text()
    assert "table.0" in shown
    for path in (tmp_path / "cache").rglob("*"):
        shown += str(path)
        if path.is_file():
            shown += path.read_bytes().decode("latin-1")
    assert "s3cr3t" not in shown
    assert "pa55" not in shown
    assert any("token=s3cr3t" in path for _, path, _ in site.requests)


# ---------------------------------------------------------------------------------------------- the command line


def ran(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(each) for each in argv])
    return (code, *capsys.readouterr())


def test_commands_report_what_they_read(site: WebServer, built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{site.url}/ix"
    for command in (["count", "Paris"], ["cooc", "--subject", "Paris", "--object", "France"], ["info"]):
        verb = ["index", "info"] if command == ["info"] else command[:1]
        code, out, err = ran(capsys, *verb, url, *command[len(verb[-1:]) :], "--json")
        assert code == 0, err
        answer = json.loads(out)
        used = answer.pop("remote")
        assert used.keys() == {"rounds", "requests", "bytes", "opening"}
        assert f"{url}: {used['requests']:,} requests in {used['rounds']} rounds, {used['bytes']:,} bytes" in err
        local = ran(capsys, *verb, built / "ix", *command[len(verb[-1:]) :], "--json")
        assert answer == json.loads(local[1])
        assert local[2] == ""


def test_table_of_facts_is_counted_estimated_and_bounded(
    site: WebServer, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\n" + "".join(f"{one},{other}\n" for one, other in PAIRS))
    url, out = f"{site.url}/ix", tmp_path / "counts.csv"
    command = ["facts", "count", facts, "--index", url, "--window", 9, "--out", out]
    code, text, err = ran(capsys, *command, "--dry-run")
    assert code == 0, err
    assert "requests" in text
    assert "dollars" in text
    assert not out.exists()
    code, _, err = ran(capsys, *command, "--most-requests", 3)
    assert code == 2
    assert "at most 3 requests are allowed" in err
    code, _, err = ran(capsys, *command)
    assert code == 0, err
    assert "about" in err
    expected = tmp_path / "local.csv"
    assert ran(capsys, "facts", "count", facts, "--index", built / "ix", "--window", 9, "--out", expected)[0] == 0
    assert out.read_text() == expected.read_text()
    code, _, err = ran(capsys, *[*command[:4], built / "ix", *command[5:]], "--dry-run")
    assert code == 2
    assert "a local index needs no estimate" in err


def test_access_options_reach_the_driver(site: WebServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ran(capsys, "count", f"{site.url}/ix", "Paris", "--requester-pays")
    assert code == 2
    assert "http:// has no requester-pays" in err
    assert ran(capsys, "count", f"{site.url}/ix", "Paris", "--anonymous")[0] == 0
