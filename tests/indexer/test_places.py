"""Places: local paths and URLs behind one interface, over a real S3 server and a web server that misbehaves."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import stamina

from factcensus.indexer import CountIndex, build_index
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import Access, NoFileError, Place, PlaceError, read_ranges, redact
from factcensus.indexer.system.places.failures import status_of

from .corpora import write_corpus

if TYPE_CHECKING:
    from servers import WebServer

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factcensus.indexer.system.places.failures._FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("factcensus.indexer.system.places.failures._LONGEST_WAIT_S", 0.0)


# ---------------------------------------------------------------------------------------------- names


def test_unknown_protocol_is_an_error_that_suggests_a_known_one() -> None:
    with pytest.raises(InputError, match="unknown protocol 'htps://' of htps://host/x; did you mean 'https'"):
        Place.of("htps://host/x")
    with pytest.raises(
        InputError, match=r"unknown protocol 'redis://' of redis://host/x; known: s3, gs, gcs, http, https, hf, file"
    ):
        Place.of("redis://user:secret@host/x")


@pytest.mark.parametrize("url", ["ssh://h/x", "sftp://h/x", "zip://a::file:///b.zip", "github://o:r@/x", "dask://x"])
def test_protocols_off_the_list_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="unknown pr"):
        Place.of(url)


def test_local_file_whose_name_looks_like_a_url_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:/x").write_bytes(b"local")
    assert Place.of("s3:/x").read() == b"local"
    assert Place.of("s3://x").read() == b"local"


def test_url_that_became_a_path_is_refused() -> None:
    with pytest.raises(InputError, match="give the URL as text"):
        Place.of(Path("s3://bucket/key"))


def test_file_urls_are_local_paths(tmp_path: Path) -> None:
    (tmp_path / "a b%.txt").write_bytes(b"x")
    place = Place.of((tmp_path / "a b%.txt").as_uri())
    assert place.is_local
    assert place.path == tmp_path / "a b%.txt"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host/a.gz?X-Amz-Signature=abc&x=1", "https://host/a.gz?…"),
        ("http://host?token=abc", "http://host?…"),
        ("https://host/a#token=abc", "https://host/a?…"),
        ("s3://KEY:SECRET@bucket/what?.jsonl", "s3://bucket/what?.jsonl"),
        ("hf://datasets/a/b@main/c.parquet", "hf://datasets/a/b@main/c.parquet"),
        ("simplecache::https://u:p@host/a?b", "simplecache::https://host/a?…"),
        ("404, url='https://h/a?sig=1' for url", "404, url='https://h/a?…' for url"),
    ],
)
def test_credentials_and_queries_are_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown
    if "::" not in url and " " not in url:
        place = Place.of(url)
        assert (str(place), repr(place)) == (shown, f"Place({shown!r})")
        assert place.url == url


def test_paths_are_joined_before_the_query() -> None:
    folder = Place.of("https://host/index/?sig=1")
    assert (folder / "table.0").url == "https://host/index/table.0?sig=1"
    assert (folder / "table.0").name == "table.0"
    assert (Place.of("s3://bucket/a/") / "b").url == "s3://bucket/a/b"
    assert str((Place.of("s3://bucket/a") / "b").parent) == "s3://bucket/a"


def test_places_are_picklable() -> None:
    place = Place.of("s3://bucket/key", Access(anonymous=True))
    assert pickle.loads(pickle.dumps(place)) == place


def test_requester_pays_needs_a_protocol_that_supports_it() -> None:
    with pytest.raises(InputError, match="hf:// has no requester-pays"):
        Place.of("hf://datasets/a/b", Access(requester_pays=True))


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("s3://b/k", "s3fs", "s3"),
        ("gs://b/k", "gcsfs", "gcs"),
        ("https://h/x", "aiohttp", "http"),
        ("hf://datasets/a/b/c", "huggingface_hub", "hub"),
    ],
)
def test_missing_driver_names_its_extra(url: str, driver: str, extra: str, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.modules[{driver!r}] = None; from factcensus.indexer.cli import main;"
        f"sys.exit(main(['index', 'build', {url!r}, '--out', {str(tmp_path / 'ix')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install 'factcensus[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_driver_is_imported_for_local_places(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n')
    script = (
        "import sys; from factcensus.indexer.cli import main;"
        f"assert main(['index', 'build', {str(tmp_path / 'c.jsonl')!r}, '--out', {str(tmp_path / 'ix')!r}]) == 0;"
        f"assert main(['count', {str(tmp_path / 'ix')!r}, 'a']) == 0;"
        "from factcensus.indexer.system.places import Place;"
        f"Place.of({str(tmp_path / 'c.jsonl')!r}).read();"
        "print({'s3fs', 'boto3', 'botocore', 'aiohttp', 'gcsfs', 'huggingface_hub', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout


# ---------------------------------------------------------------------------------------------- everywhere the same


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place.of(tmp_path / "folder")
    if request.param == "memory":
        return Place.of(f"memory://places-{os.getpid()}-{id(tmp_path)}")
    return Place.of(f"{request.getfixturevalue('bucket')}/folder")


def test_written_files_are_read_listed_and_removed(folder: Place, tmp_path: Path) -> None:
    file = folder / "a" / "b.bin"
    assert file.facts() is None
    assert not file.exists()
    assert not folder.exists()
    file.write(CONTENT)
    (folder / "c").write(b"")
    assert file.read() == CONTENT
    facts = file.facts()
    assert facts is not None
    assert facts.size_bytes == len(CONTENT)
    assert list(folder.files()) == ["a/b.bin", "c"]
    assert folder.files()["a/b.bin"].size_bytes == len(CONTENT)
    assert folder.exists()
    assert folder.is_folder()
    assert folder.facts() is None
    assert read_ranges([(file, 3, 9), (file, 250, 300), (file, 7, 7)]) == [CONTENT[3:9], CONTENT[250:300], b""]
    with file.open() as stream:
        assert stream.read(10) == CONTENT[:10]
        assert stream.seek(5000) == 5000
        assert stream.read() == CONTENT[5000:]
    file.download(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    (tmp_path / "copy").write_bytes(b"new")
    file.upload(tmp_path / "copy")
    assert file.read() == b"new"
    file.delete()
    file.delete()
    assert not file.exists()


def test_stamp_changes_with_the_content(folder: Place) -> None:
    file = folder / "x"
    file.write(b"first")
    before = file.facts()
    file.write(b"other")
    assert file.facts() != before


def test_missing_file_is_named(folder: Place) -> None:
    missing = folder / "nothing.here"
    with pytest.raises(NoFileError, match=r"nothing\.here: there is no such file"):
        missing.read()
    with pytest.raises(NoFileError, match=r"nothing\.here"):
        missing.open().read()
    with pytest.raises(NoFileError, match=r"nothing\.here"):
        read_ranges([(missing, 0, 4)])


def test_file_that_ends_before_a_range_is_named(folder: Place) -> None:
    (folder / "short").write(b"12345")
    with pytest.raises(PlaceError, match=r"short.*incomplete or was changed"):
        read_ranges([(folder / "short", 0, 10)])


def test_check_writable_leaves_nothing_behind(folder: Place) -> None:
    (folder / "x").write(b"")
    (folder / "out.parquet").check_writable()
    assert list(folder.files()) == ["x"]


def test_nothing_is_written_below_a_file_or_without_permission(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is a file"):
        Place.of(tmp_path / "file/out.csv").check_writable()


def test_bucket_that_does_not_exist_is_refused_before_the_work(bucket: str) -> None:
    with pytest.raises(InputError, match=r"cannot write s3://.*-other/out\.csv: .*give another URL"):
        Place.of(f"{bucket}-other/out.csv").check_writable()


def test_web_servers_are_refused_for_writing(web: WebServer) -> None:
    place = Place.of(f"{web.url}/out.csv?token=secret")
    for write in (place.check_writable, lambda: place.write(b"")):
        with pytest.raises(InputError, match=r"out\.csv\?…: a web server only serves files"):
            write()
    assert web.requests == []


# ---------------------------------------------------------------------------------------------- failures


def test_web_files_are_listed_with_sizes_and_stamps(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "web/c").mkdir()
    (tmp_path / "web/c/a.bin").write_bytes(CONTENT)
    folder = Place.of(f"{web.url}/c/")
    assert folder.is_folder()
    assert {name: each.size_bytes for name, each in folder.files().items()} == {"a.bin": len(CONTENT)}
    facts = (folder / "a.bin").facts()
    assert facts is not None
    assert facts.tag.startswith('"')
    assert not (folder / "a.bin").is_folder()


def test_asking_whether_a_web_file_is_a_folder_does_not_download_it(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "web/a.jsonl").write_bytes(CONTENT)
    place = Place.of(f"{web.url}/a.jsonl")
    assert not place.is_folder()
    assert place.exists()
    assert {method for method, _, _ in web.requests} == {"HEAD"}


@pytest.mark.parametrize("failing", [[503], ["cut"], [500, "cut", 429, 503], [408]])
def test_reads_are_retried_after_lost_connections_and_busy_servers(
    failing: list[int | str], web: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "web/a").write_bytes(CONTENT)
    place = Place.of(f"{web.url}/a")
    for read in (
        place.read,
        lambda: place.open().read(),
        lambda: place.open(at_random=True).read(),
        lambda: b"".join(read_ranges([(place, 0, 1000), (place, 1000, 3000), (place, 3000, len(CONTENT))])),
    ):
        web.failures = list(failing)
        assert read() == CONTENT
        assert web.failures == []


def test_only_the_ranges_that_failed_are_requested_again(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "web/a").write_bytes(CONTENT)
    place = Place.of(f"{web.url}/a")
    web.failures = [503]
    ranges = [(place, begin, begin + 10) for begin in range(0, 200, 20)]
    assert read_ranges(ranges) == [CONTENT[begin:end] for _, begin, end in ranges]
    assert len([method for method, _, _ in web.requests if method == "GET"]) == 11


@pytest.mark.parametrize("status", [400, 401, 403, 410, 416])
def test_refusals_are_not_retried(status: int, web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "web/a").write_bytes(CONTENT)
    place = Place.of(f"{web.url}/a?token=secret")
    web.failures = [status] * 3
    with pytest.raises(PlaceError, match=rf"cannot read {web.url}/a\?…: status {status}") as caught:
        place.read()
    assert len(web.failures) == 2
    assert "secret" not in str(caught.value)


def test_busy_server_that_never_recovers_is_named_and_bounded(
    web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "web/a").write_bytes(CONTENT)
    web.failures = [503] * 100
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PlaceError, match=r"/a.*status 503.*6 times"):
        Place.of(f"{web.url}/a?token=s3cr3t").read()
    assert len(web.failures) == 94
    ours = [
        record.getMessage() + str(record.__dict__) for record in caplog.records if record.name.startswith("stamina")
    ]
    assert ours
    assert not any("s3cr3t" in each for each in ours)


def test_server_without_ranges_is_read_whole_or_refused(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "web/a").write_bytes(CONTENT)
    web.ranges = False
    place = Place.of(f"{web.url}/a")
    assert place.open().read() == CONTENT
    with pytest.raises(PlaceError, match="does not return parts of a file"):
        read_ranges([(place, 0, 10)])


def test_slow_down_of_a_store_is_retried(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.of(f"{bucket}/x")
    place.write(b"1")
    file_system = place._opened()[0]
    calls: list[int] = []

    class SlowDownError(Exception):
        response = {"ResponseMetadata": {"HTTPStatusCode": 503}, "Error": {"Code": "SlowDown"}}  # noqa: RUF012

    def cat_file(_path: str) -> bytes:
        calls.append(1)
        if len(calls) < 3:
            raise SlowDownError("SlowDown")
        return b"1"

    monkeypatch.setattr(file_system, "cat_file", cat_file)
    assert status_of(SlowDownError()) == 503
    assert place.read() == b"1"
    assert len(calls) == 3


def test_missing_permission_is_not_retried(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.of(f"{bucket}/x")
    calls: list[int] = []

    def refuse(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise PermissionError("Access Denied")

    monkeypatch.setattr(place._opened()[0], "pipe_file", refuse)
    with pytest.raises(InputError, match=r"cannot write s3://.*: Access Denied"):
        place.check_writable()
    assert len(calls) == 1


def test_mistakes_in_this_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.of("memory://x/y")

    def broken(*_: Any) -> bytes:
        raise KeyError("oops")

    monkeypatch.setattr(place._opened()[0], "cat_file", broken)
    with stamina.set_testing(True), pytest.raises(KeyError):
        place.read()


# ---------------------------------------------------------------------------------------------- corpora


CORPUS = [{"text": "Marie Curie was born in Warsaw."}, {"text": "Warsaw is a city."}]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_corpus_is_read_from_stores_and_web_servers(ending: str, bucket: str, web: WebServer, tmp_path: Path) -> None:
    write_corpus(tmp_path / f"web/c/one{ending}", CORPUS)
    write_corpus(tmp_path / f"web/c/.hidden{ending}", CORPUS)
    Place.of(f"{bucket}/c/one{ending}").upload(tmp_path / f"web/c/one{ending}")
    Place.of(f"{bucket}/c/notes.txt").write(b"")
    for number, source in enumerate(
        [f"{bucket}/c", f"{bucket}/c/one{ending}", f"{web.url}/c/", f"{web.url}/c/one{ending}?X-Amz-Signature=s3cr3t"]
    ):
        web.failures = [503, "cut"]
        out = tmp_path / f"ix{number}"
        build_index(source, out, jobs=1)
        with CountIndex.open(out) as index:
            assert index.count("Warsaw").occurrences == 2
        paths = pq.read_table(out / "documents.0.parquet")["path"].unique().to_pylist()
        assert paths == [f"one{ending}"]
        assert not any(b"s3cr3t" in file.read_bytes() for file in out.iterdir())


def test_plan_of_an_interrupted_build_holds_no_signature(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "web/good.jsonl").write_text('{"text": "a"}\n' * 100)
    (tmp_path / "web/bad.jsonl").write_text("not json\n")
    sources = [f"{web.url}/{name}.jsonl?X-Amz-Signature=s3cr3t" for name in ("good", "bad")]
    with pytest.raises(InputError, match=r"bad\.jsonl, line 1"):
        build_index(sources, tmp_path / "ix", jobs=1)
    plan = (tmp_path / "ix.building/plan.json").read_text()
    assert "/good.jsonl?" in plan
    assert "/bad.jsonl?" in plan
    assert "s3cr3t" not in plan


def test_corpus_that_does_not_exist_is_named_without_its_query(bucket: str, web: WebServer, tmp_path: Path) -> None:
    for source, shown in [
        (f"{bucket}/none", f"{bucket}/none"),
        (f"{bucket}/none.jsonl", f"{bucket}/none.jsonl"),
        (f"{web.url}/none.jsonl?token=s", rf"{web.url}/none.jsonl\?…"),
    ]:
        with pytest.raises(InputError, match=f"no such file or folder: {shown}$"):
            build_index(source, tmp_path / "ix", jobs=1)
