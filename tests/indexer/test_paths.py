"""Wrong paths: the message describes what exists at the path, and gives the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, add_to_index, compact_index, delete_documents, slice_index, verify_index
from factcensus.indexer.building.convert import convert_index
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError, NoIndexError
from factcensus.indexer.paths import no_index, not_found

from .corpora import index_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with two indexes, a corpus, a table, a folder named like a table, and an empty folder."""
    folder = tmp_path_factory.mktemp("paths")
    with index_folder(["Paris is the capital of France", "Berlin"]) as built:
        for name in ("web", "wiki"):
            shutil.copytree(built, folder / "indexes" / name)
    (folder / "c.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (folder / "facts.csv").write_text("subject,object\nFrance,Paris\n", encoding="utf-8")
    (folder / "folder.csv").mkdir()
    (folder / "empty").mkdir()
    return folder


OF_INDEXES = "indexes is a folder of indexes (web, wiki); give one of them, such as indexes/web"
COUNT = "facts count facts.csv --index indexes/wiki --out "


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("count indexes Paris", OF_INDEXES),
        ("cooc indexes --subject a --object b", OF_INDEXES),
        ("index info indexes", OF_INDEXES),
        ("index verify indexes", OF_INDEXES),
        ("index add indexes c.jsonl", OF_INDEXES),
        ("index delete indexes --id 1", OF_INDEXES),
        ("index compact indexes", OF_INDEXES),
        ("ngram ntd indexes a", OF_INDEXES),
        ("facts count facts.csv --index indexes --out o.csv", OF_INDEXES),
        ("serve indexes --port 0", OF_INDEXES),
        ("count facts.csv Paris", "no index folder at facts.csv: that is a file"),
        ("index verify facts.csv", "no index folder at facts.csv: that is a file"),
        ("index add facts.csv c.jsonl", "no index folder at facts.csv: that is a file"),
        ("count empty Paris", "empty is not an index: it has neither manifest.json nor tokenized.*"),
        ("count indexes/wkii Paris", "no index folder at indexes/wkii; did you mean 'indexes/wiki'?"),
        ("count nowhere/at/all Paris", "no index folder at nowhere/at/all"),
        ("index list facts.csv", "no folder at facts.csv: that is a file"),
        ("index list idnexes", "no folder at idnexes; did you mean 'indexes'?"),
        ("index build c.jsonl --out facts.csv", "--out: facts.csv is a file; give the name of a folder"),
        (
            "index build c.jsonl --out facts.csv/ix",
            "--out: facts.csv is a file, so facts.csv/ix cannot be created; give another path",
        ),
        ("index delete indexes/wiki --ids empty", "no file of ids at empty: that is a folder"),
        (
            "facts count folder.csv --index indexes/wiki --out o.csv",
            "folder.csv is a folder; give a table file that ends in",
        ),
        ("facts count fatcs.csv --index indexes/wiki --out o.csv", "no table at fatcs.csv; did you mean 'facts.csv'?"),
        (COUNT + "folder.csv", "--out: folder.csv is a folder; give the name of a file"),
        (
            COUNT + "facts.csv/o.csv",
            "--out: facts.csv is a file, so facts.csv/o.csv cannot be created; give another path",
        ),
        ("facts stratify folder.csv --out o.csv", "folder.csv is a folder; give a table file that ends in"),
        ("facts stratify facts.csv --out empty", "--out: empty is a folder; give the name of a file"),
        ("key create a --file empty", "--file: empty is a folder; give the name of a file"),
        ("report indexes --out empty", "--out: empty is a folder; give the name of a file"),
        ("report facts.csv --out r.html", "no run folder at facts.csv: that is a file"),
        ("report indxes --out r.html", "no run folder at indxes; did you mean 'indexes'?"),
        ("eval check absent --require seconds<1", "no run folder or summary at absent"),
        ("eval import absent --out o", "no file or folder of results at absent"),
        ("eval import facts.csv --out facts.csv", "--out: facts.csv is a file; give the name of a folder"),
        ("eval run m --facts facts.csv --out facts.csv", "--out: facts.csv is a file; give the name of a folder"),
        ("demo --out facts.csv", "--out: facts.csv is a file; give the name of a folder"),
        ("unlearn plan empty", "no configuration file at empty: that is a folder"),
        ("world write --out facts.csv", "--out: facts.csv is a file; give the name of a folder"),
        ("world pretrain indexes --out facts.csv", "--out: facts.csv is a file; give the name of a folder"),
    ],
)
def test_wrong_path_exits_2_and_is_described(
    words: str, message: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert sorted(place.rglob("*")) == before


def test_python_also_refuses_a_folder_of_indexes(place: Path) -> None:
    for call in (CountIndex.open, verify_index):
        with pytest.raises(NoIndexError, match="is a folder of indexes"):
            call(place / "indexes")


def test_long_list_of_indexes_is_cut(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"i{number}").mkdir()
        (tmp_path / f"i{number}" / "manifest.json").touch()
    assert "(i0, i1, i2, i3, i4 and 4 more)" in str(no_index(tmp_path))


def test_missing_path_in_an_unreadable_place_is_just_missing(tmp_path: Path) -> None:
    assert not_found("table", tmp_path / "a" / "b.csv") == f"no table at {tmp_path / 'a' / 'b.csv'}"


@pytest.mark.parametrize(
    "use",
    [
        CountIndex.open,
        lambda path: CountIndex.open([path, "other"]),
        lambda _: CountIndex.open([]),
        verify_index,
        compact_index,
        lambda path: add_to_index(path, ["corpus.jsonl"]),
        lambda path: delete_documents(path, ids=["a"]),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    use: Callable[[str], object], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place / "indexes" / "web")
    Path("corpus.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match="the path of the index is empty"):
        use("")


def test_functions_that_change_or_verify_an_index_refuse_a_url(tmp_path: Path) -> None:
    url = "https://me:pa55@example.org/ix"
    calls: list[Callable[[], object]] = [
        lambda: verify_index(url),
        lambda: delete_documents(url, ids=["a"]),
        lambda: compact_index(url),
        lambda: add_to_index(url, [tmp_path]),
        lambda: slice_index(url, (0, 0), tmp_path / "o"),
        lambda: convert_index(url, "suffix-array", tmp_path / "o"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"https://example\.org/ix is a URL, but this needs a local folder; copy"):
            call()
