"""Changes of an index that are killed at any point leave a valid state and continue to the same bytes.

:mod:`interrupting` kills a process with SIGKILL before every step that changes the disk, and also at random times.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import (
    CountIndex,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    verify_index,
)
from factcensus.indexer.building import shards, spool
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.errors import FactcensusError, IndexFormatError, InputError

from .corpora import content, write_corpus
from .interrupting import Interrupter

SHARD_TOKENS = 90
#: The end of the name of a change of an index in this layout.
COMPACT = " in the layout compact"
QUERIES = ("word1", "and again", "of file", "nothing", "new")


def corpus(folder: Path, files: int, documents: int, word: str = "word") -> Path:
    for file in range(files):
        rows = [
            {
                "id": f"{word}{file}-{i}",
                "source": "xy"[i % 2],
                "text": f"{word}{i % 11} and {'again' if i % 3 else 'nothing'} of file {file % 2}",
            }
            for i in range(documents)
        ]
        write_corpus(folder / f"{file}.jsonl", rows)
    return folder


#: The numbers of counted folders by the digest of their files, and the digests of verified folders. After most kills,
#: an index has the bytes of an earlier one, and the same numbers follow.
_counted: dict[str, list[Any]] = {}
_verified: set[str] = set()


def digest_of(folder: Path) -> str:
    """Return a digest of the names and bytes of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        digest.update(f"{len(name)} {len(data)} {name}".encode() + data)
    return digest.hexdigest()


def counts(folder: Path) -> list[Any]:
    """Return numbers of an index with and without repeated documents, and its digest."""
    files = digest_of(folder)
    if files not in _counted:
        _counted[files] = count_now(folder)
    return _counted[files]


def count_now(folder: Path) -> list[Any]:
    """Do the work of :func:`counts`."""
    with CountIndex.open(folder) as index:
        numbers = [index.count_many(QUERIES, scope=Scope(duplicates=kept)).tolist() for kept in (True, False)]
        return [index.digest, *numbers, index.count("and", by="source").groups]


# ---------------------------------------------------------------------------------------------- what changes an index


class Change:
    """One kind of change of ``ix``, with the states before and after it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.first = corpus(folder / "first", 3, 20)
        self.more = corpus(folder / "more", 2, 15, "new")
        self.again = corpus(folder / "again", 2, 7)  # ids that the index has
        self.options: dict[str, Any] = {"jobs": 1, "shard_tokens": SHARD_TOKENS}
        self.start = folder / "start"
        self.start.mkdir()
        self.build_options = {**self.options, "layout": "compact" if name.endswith(COMPACT) else "suffix-array"}
        if not name.startswith("build"):
            build_index([self.first], self.start / "ix", keep_text=True, **self.build_options)
            delete_documents(self.start / "ix", ids=["word0-3", "word1-4"])
        self.before = None if name.startswith("build") else counts(self.start / "ix")
        whole = self.fresh("whole")
        self.run(whole)
        self.target = "small" if name.startswith("compact to another") else "ix"
        self.after = counts(whole / self.target)
        self.files = content(whole / self.target)

    def fresh(self, name: str) -> Path:
        """Return a folder in the state before the change."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.start, self.folder / name, copy_function=shutil.copyfile)
        return self.folder / name

    def call(self, place: Path) -> tuple[list[Any], dict[str, Any]]:
        """Return the function that makes the change, its arguments and options."""
        ix = place / "ix"
        calls: dict[str, tuple[list[Any], dict[str, Any]]] = {
            "build": (["build_index", [str(self.first)], ix], {**self.build_options, "keep_text": True}),
            "add": (["add_to_index", ix, [str(self.more)]], {**self.options}),
            "replace": (["add_to_index", ix, [str(self.again)]], {**self.options, "replace": True}),
            "delete": (["delete_documents", ix], {"ids": ["word0-5"], "where": "source = 'y' AND record < 9"}),
            "compact": (["compact_index", ix], {**self.options, "shard_tokens": 250}),
            "compact to another": (["compact_index", ix, place / "small"], {**self.options, "shard_tokens": 250}),
        }
        return calls[self.name.removesuffix(COMPACT)]

    def run(self, place: Path) -> None:
        """Make the change in this process."""
        (what, *arguments), options = self.call(place)
        known = (build_index, add_to_index, delete_documents, compact_index)
        next(function for function in known if function.__name__ == what)(*arguments, **options)

    def check_interrupted(self, place: Path) -> None:
        """Check that the index counts as before or after the change, and that unfinished folders do not open."""
        if (place / self.target).exists() or self.before is None or self.target == "small":
            with_target = counts(place / self.target) if (place / self.target).exists() else None
            assert with_target in (None, self.before if self.target == "ix" else self.after, self.after)
        if self.before is not None:
            assert counts(place / "ix") in (self.before, self.after)
        for staging in place.glob("*.building"):
            with suppress(IndexFormatError):
                assert counts(staging) == self.after, "an index that opens is a whole one"

    def check_finished(self, place: Path) -> None:
        """Check that the result equals that of an uninterrupted change, without other files."""
        found = content(place / self.target)
        assert {name: found.get(name) for name in self.files} == self.files
        assert found.keys() - self.files.keys() <= {"plan.json"}
        assert {path.name for path in place.iterdir()} <= {"ix", self.target}
        assert counts(place / self.target) == self.after
        if (files := digest_of(place / self.target)) not in _verified:
            verify_index(place / self.target)
            _verified.add(files)


CHANGES = ("build", "add", "replace", "delete", "compact", "compact to another")
IN_COMPACT = tuple(name + COMPACT for name in CHANGES)


@pytest.fixture(scope="module")
def change_named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Change]:
    made: dict[str, Change] = {}

    def named(name: str) -> Change:
        if name not in made:
            made[name] = Change(name, tmp_path_factory.mktemp(name.replace(" ", "")))
        return made[name]

    return named


def again(change: Change, place: Path) -> None:
    """Run the interrupted change again; if it was already finished, that is not an error."""
    if (change.target == "small" or change.name.startswith("build")) and (place / change.target).exists():
        with pytest.raises(InputError, match="exists"):  # it was already finished
            change.run(place)
        return
    if not was_finished(change, place):
        change.run(place)


def was_finished(change: Change, place: Path) -> bool:
    """Return whether only the last step of a change was missing, or nothing; end it.

    The same call would be a new change, such as a second compaction of the compacted index, into files with other
    numbers, or an error, because the documents to add are in the index. The last step removes the empty staging folder.
    A deletion has none, and may be repeated.
    """
    staging = place / "ix.building"
    if not change.before or counts(place / "ix") != change.after:
        return False
    if not staging.exists():
        return not change.name.startswith("delete")
    if any(staging.iterdir()):
        return False
    staging.rmdir()
    return True


def steps_of(change: Change, interrupt: Interrupter) -> int:
    """Make a change without interrupting it, and return the number of its steps."""
    place = change.fresh("cut")
    arguments, options = change.call(place)
    steps: int = interrupt(place, *arguments, at=-1, **options)["steps"]
    change.check_finished(place)
    return steps


def kill_at_steps(change: Change, interrupt: Interrupter, steps: Sequence[int] | range) -> None:
    for step in steps:
        place = change.fresh("cut")
        arguments, options = change.call(place)
        told = interrupt(place, *arguments, at=step, **options)
        assert told["error"] is None
        assert told["killed"], step
        change.check_interrupted(place)
        again(change, place)
        change.check_finished(place)


@pytest.mark.parametrize("name", CHANGES + IN_COMPACT)
def test_change_killed_at_some_steps_continues_to_the_same_bytes(
    name: str, interrupt: Interrupter, change_named: Callable[[str], Change]
) -> None:
    change = change_named(name)
    steps = steps_of(change, interrupt)
    assert steps > 10
    chosen = sorted({*random.Random(name).sample(range(steps), 4), steps - 1, steps - 2})
    kill_at_steps(change, interrupt, chosen)


@pytest.mark.full
@pytest.mark.parametrize("name", CHANGES + IN_COMPACT)
def test_change_killed_at_any_step_continues_to_the_same_bytes(
    name: str, interrupt: Interrupter, change_named: Callable[[str], Change]
) -> None:
    change = change_named(name)
    kill_at_steps(change, interrupt, range(steps_of(change, interrupt)))


@pytest.mark.full
@pytest.mark.parametrize("name", CHANGES + IN_COMPACT)
def test_change_killed_twice_at_any_steps_continues_to_the_same_bytes(
    name: str, interrupt: Interrupter, change_named: Callable[[str], Change]
) -> None:
    change = change_named(name)
    steps = steps_of(change, interrupt)
    chance = random.Random(name)
    for _ in range(40):
        place = change.fresh("cut")
        arguments, options = change.call(place)
        for _ in range(3):
            told = interrupt(place, *arguments, at=chance.randrange(steps), **options)
            change.check_interrupted(place)
            if not told["killed"] or was_finished(change, place):
                break
        else:
            again(change, place)
        change.check_finished(place)


def kill_at_random(change: Change, interrupt: Interrupter, times: int) -> None:
    """Kill the change at random times, several times in a row, until it is finished."""
    chance = random.Random(times)
    place = change.fresh("cut")
    arguments, options = change.call(place)
    seconds = interrupt(place, *arguments, **options)["seconds"]
    place = change.fresh("cut")
    done = killed = 0
    while killed + done < times:
        told = interrupt(place, *arguments, after_s=chance.uniform(0, 1.2 * seconds), **options)
        change.check_interrupted(place)
        killed += told["killed"]
        if not told["killed"] or was_finished(change, place):
            assert told["error"] is None or "exists; " in told["error"], "killed when it had just appeared"
            done += not told["killed"]
            change.check_finished(place)
            place = change.fresh("cut")
            arguments, options = change.call(place)
    again(change, place)
    change.check_finished(place)


@pytest.mark.parametrize("name", CHANGES)
def test_change_killed_at_random_moments_continues_to_the_same_bytes(
    name: str, interrupt: Interrupter, change_named: Callable[[str], Change]
) -> None:
    kill_at_random(change_named(name), interrupt, 3)


@pytest.mark.full
@pytest.mark.parametrize("name", CHANGES + IN_COMPACT)
def test_change_killed_hundreds_of_times_continues_to_the_same_bytes(
    name: str, interrupt: Interrupter, change_named: Callable[[str], Change]
) -> None:
    kill_at_random(change_named(name), interrupt, 120)


@pytest.mark.full
def test_build_in_several_processes_killed_at_random_moments_continues_to_the_same_bytes(
    interrupt: Interrupter, tmp_path: Path
) -> None:
    files = corpus(tmp_path / "c", 6, 3_000)
    options: dict[str, Any] = {"shard_tokens": 9_000}
    build_index([files], tmp_path / "whole/ix", jobs=1, **options)
    chance = random.Random(5)
    for number in range(12):
        place = tmp_path / f"cut{number}"
        for _ in range(3):
            if not (place / "ix").exists():
                interrupt(
                    place,
                    "build_index",
                    [str(files)],
                    place / "ix",
                    jobs=3,
                    processes=True,
                    after_s=chance.uniform(0.2, 6),
                    **options,
                )
        if not (place / "ix").exists():
            build_index([files], place / "ix", jobs=1, **options)
        found, wanted = content(place / "ix"), content(tmp_path / "whole/ix")
        assert {name: found.get(name) for name in wanted} == wanted
        shutil.rmtree(place)


# ---------------------------------------------------------------------------------------------- not made again


def test_finished_files_and_shards_are_not_rebuilt(
    interrupt: Interrupter, change_named: Callable[[str], Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    change = change_named("build")
    read: list[str] = []
    written: list[int] = []
    read_batches, write_shard = spool.read_batches, shards.write_shard

    def counted_read(piece: Any, **options: Any) -> Any:
        read.append(piece.file.name)
        return read_batches(piece, **options)

    def counted_write(folder: Path, number: int, *arguments: Any, **options: Any) -> Any:
        written.append(number)
        return write_shard(folder, number, *arguments, **options)

    monkeypatch.setattr(spool, "read_batches", counted_read)
    monkeypatch.setattr(shards, "write_shard", counted_write)
    whole = change.fresh("cut")
    change.run(whole)
    files, all_shards = read.copy(), written.copy()
    assert len(files) == 3
    assert len(all_shards) > 4
    steps = steps_of(change, interrupt)
    seen = set()
    for step in range(2, steps, 19):
        place = change.fresh("cut")
        arguments, options = change.call(place)
        interrupt(place, *arguments, at=step, **options)
        staging = place / "ix.building"
        spooled = {int(path.stem) for path in staging.glob("spool/0*.json")}
        finished = {int(path.name.split(".")[1]) for path in staging.glob("spool/shard.*.json")}
        tables = {n: (staging / f"table.{n}").stat() for n in finished}
        complete = (staging / "manifest.json").exists()
        read.clear()
        written.clear()
        if (place / "ix").exists():
            continue
        change.run(place)
        assert len(read) == (0 if complete else len(files) - len(spooled))
        assert set(written) == (set() if complete else set(all_shards) - finished)
        for number, before in tables.items():
            now = (place / "ix" / f"table.{number}").stat()
            assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        seen |= {("files", len(spooled)), ("shards", len(finished) > 0), ("complete", complete)}
    assert {("files", 0), ("files", 3), ("shards", True)} <= seen


def test_spool_file_left_incomplete_by_a_power_cut_is_read_again(
    interrupt: Interrupter, change_named: Callable[[str], Change]
) -> None:
    """The disk may have kept the marker of a complete file, but not the file."""
    change = change_named("build")
    for damage in ("000001.ids", "000001.parquet", "000001.words.npz", "000001.json", "shard.1.json", "../table.1"):
        place = change.fresh("cut")
        arguments, options = change.call(place)
        staging = place / "ix.building"
        for step in range(90, 200, 5):
            interrupt(place, *arguments, at=step, **options)
            if (staging / "spool/shard.1.json").exists():
                break
        (staging / "spool" / damage).write_bytes(b"")
        change.run(place)
        change.check_finished(place)


# ---------------------------------------------------------------------------------------------- what is left behind


def test_files_left_by_an_interrupted_change_are_never_read_and_soon_removed(tmp_path: Path) -> None:
    """An interrupted deletion wrote files for the next generation, but another change is made instead."""
    files = corpus(tmp_path / "c", 2, 20)
    for name in ("cut", "whole"):
        build_index([files], tmp_path / name / "ix", jobs=1)
        if name == "cut":
            for stray in ("deleted.0.1", "repeated.0.1", "frequent.0.1", "tokenized.7", "vocabulary.9.utf8"):
                (tmp_path / name / "ix" / stray).write_bytes(b"\0" * 24)
            (tmp_path / name / "ix" / "README.txt").write_text("not ours")
        add_to_index(tmp_path / name / "ix", [write_corpus(tmp_path / "m.jsonl", [{"text": "new word1"}])], jobs=1)
    assert counts(tmp_path / "cut/ix") == counts(tmp_path / "whole/ix")
    delete_documents(tmp_path / "cut/ix", ids=["word0-2"])
    delete_documents(tmp_path / "whole/ix", ids=["word0-2"])
    found, wanted = content(tmp_path / "cut/ix"), content(tmp_path / "whole/ix")
    assert found.pop("README.txt") == b"not ours"
    assert found == wanted


def test_no_trace_of_a_deleted_document_is_left_after_a_killed_compaction(
    interrupt: Interrupter, tmp_path: Path
) -> None:
    rows = [{"id": str(i), "text": f"word{i} text"} for i in range(20)]
    build_index(
        [write_corpus(tmp_path / "c.jsonl", [*rows, {"id": "s", "text": "secretword"}])], tmp_path / "start/ix", jobs=1
    )
    delete_documents(tmp_path / "start/ix", ids=["s"])
    shutil.copytree(tmp_path / "start", tmp_path / "cut")
    steps = interrupt(tmp_path / "cut", "compact_index", tmp_path / "cut/ix", at=-1, jobs=1)["steps"]
    for step in range(steps - 24, steps, 4):
        shutil.rmtree(tmp_path / "cut")
        shutil.copytree(tmp_path / "start", tmp_path / "cut")
        interrupt(tmp_path / "cut", "compact_index", tmp_path / "cut/ix", at=step, jobs=1)
        compact_index(tmp_path / "cut/ix", jobs=1)
        assert b"secretword" not in b"".join(content(tmp_path / "cut/ix").values())


def test_other_sources_than_those_of_an_interrupted_build_are_refused_with_the_remedy(
    interrupt: Interrupter, tmp_path: Path
) -> None:
    files, more = corpus(tmp_path / "c", 1, 20), corpus(tmp_path / "m", 1, 5, "new")
    interrupt(tmp_path / "o", "build_index", [str(files)], tmp_path / "o/ix", jobs=1, at=20)
    with pytest.raises(InputError, match=r"ix\.building has an interrupted build .*restart it.* or delete"):
        build_index([more], tmp_path / "o/ix", jobs=1)
    with pytest.raises(InputError, match=r"ix\.building"):
        build_index([files], tmp_path / "o/ix", jobs=1, shard_tokens=10)
    build_index([files], tmp_path / "o/ix", jobs=2)


def test_bad_input_does_not_block_the_corrected_command(tmp_path: Path) -> None:
    """Nothing needs to be deleted by hand, whatever the correction is."""
    bad = write_corpus(tmp_path / "bad.jsonl", [{"text": 1, "body": "a b"}])
    staging = tmp_path / "ix.building"
    with pytest.raises(InputError, match="must be a string"):
        build_index([bad], tmp_path / "ix", jobs=1)
    assert not staging.exists()  # there was nothing to keep
    good = write_corpus(tmp_path / "good.jsonl", [{"text": "c d", "body": "e f"}])
    for correct in (
        lambda: build_index([good, bad], tmp_path / "ix", jobs=1, text_field="body"),
        lambda: build_index([good, bad], tmp_path / "ix", jobs=1, on_bad_line="skip"),
        lambda: build_index([good], tmp_path / "ix", jobs=1, shard_tokens=10),
    ):
        with pytest.raises(InputError, match="must be a string"):
            build_index([good, bad], tmp_path / "ix", jobs=1)
        assert staging.exists()
        correct()
        verify_index(tmp_path / "ix")
        assert not staging.exists()
        shutil.rmtree(tmp_path / "ix")


def test_after_bad_input_only_the_corrected_files_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[{"text": f"file {number} word"}] for number in range(3)]
    files = [write_corpus(tmp_path / f"{number}.jsonl", each) for number, each in enumerate(rows)]
    build_index(files, tmp_path / "expected", jobs=1)
    expected = content(tmp_path / "expected")
    files[2].write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        build_index(files, tmp_path / "ix", jobs=1)
    write_corpus(files[2], rows[2])
    read: list[str] = []
    original = spool.read_batches

    def noted(piece: Any, **options: Any) -> Any:
        read.append(piece.file.name)
        return original(piece, **options)

    monkeypatch.setattr(spool, "read_batches", noted)
    build_index(files, tmp_path / "ix", jobs=1)
    assert read == ["2.jsonl"]
    assert content(tmp_path / "ix") == expected


def test_tokenizer_that_changed_since_the_interruption_is_not_mixed_with_the_old_one(
    interrupt: Interrupter, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    files = corpus(tmp_path / "c", 2, 20)
    tokenizer = tmp_path / "tokenizer.json"

    def write(words: Sequence[str]) -> None:
        made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="x"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        made.save(str(tokenizer))

    write(["x", "and", "of"])
    told = interrupt(
        tmp_path / "o", "build_index", [str(files)], tmp_path / "o/ix", jobs=1, at=16, analyzer=f"hf:{tokenizer}"
    )
    assert told["killed"]
    write(["x", "of", "and"])
    with pytest.raises(InputError, match="interrupted build with other"):
        build_index([files], tmp_path / "o/ix", jobs=1, analyzer=f"hf:{tokenizer}")


def test_linked_index_is_changed_in_its_real_folder(tmp_path: Path) -> None:
    files = corpus(tmp_path / "c", 1, 20)
    build_index([files], tmp_path / "disk/ix", jobs=1)
    (tmp_path / "linked").symlink_to(tmp_path / "disk/ix")
    add_to_index(tmp_path / "linked", [corpus(tmp_path / "m", 1, 5, "new")], jobs=1)
    compact_index(tmp_path / "linked", jobs=1)
    assert (tmp_path / "linked").is_symlink()
    verify_index(tmp_path / "disk/ix")
    assert {path.name for path in tmp_path.iterdir()} == {"c", "m", "disk", "linked"}


def test_files_are_copied_if_the_disk_cannot_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    files = corpus(tmp_path / "c", 1, 20)
    build_index([files], tmp_path / "ix", jobs=1)
    monkeypatch.setattr(os, "link", refuse)
    add_to_index(tmp_path / "ix", [corpus(tmp_path / "m", 1, 5, "new")], jobs=1)
    verify_index(tmp_path / "ix")


# ---------------------------------------------------------------------------------------------- two at a time


@contextmanager
def stopped_at(where: Any, name: str, monkeypatch: pytest.MonkeyPatch, start: Callable[[], Any]) -> Iterator[None]:
    """During the block, another thread is stopped in ``start()`` at its call of ``where.name``."""
    reached, go_on = threading.Event(), threading.Event()
    original = getattr(where, name)
    errors: list[BaseException] = []

    def wait(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread() is thread:
            reached.set()
            go_on.wait(60)
        return original(*arguments, **options)

    def run() -> None:
        try:
            start()
        except BaseException as error:
            errors.append(error)
            reached.set()

    monkeypatch.setattr(where, name, wait)
    thread = threading.Thread(target=run)
    thread.start()
    assert reached.wait(60)
    try:
        assert not errors
        yield
    finally:
        go_on.set()
        thread.join()
    assert not errors


def test_two_builds_of_one_index_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = corpus(tmp_path / "c", 2, 20)

    def build() -> None:
        build_index([files], tmp_path / "ix", jobs=1)

    with (
        stopped_at(spool, "read_batches", monkeypatch, build),
        pytest.raises(InputError, match=r"another process is changing .*ix\.building; wait"),
    ):
        build_index([files], tmp_path / "ix", jobs=1)
    verify_index(tmp_path / "ix")


def test_changes_of_one_index_exclude_each_other_but_not_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index([corpus(tmp_path / "c", 2, 20)], tmp_path / "ix", jobs=1)
    more, again = corpus(tmp_path / "m", 1, 5, "new"), corpus(tmp_path / "again", 1, 3)
    changes: dict[str, Callable[[], Any]] = {
        "add": lambda: add_to_index(tmp_path / "ix", [more], jobs=1),
        "compact": lambda: compact_index(tmp_path / "ix", jobs=1),
        "compact to another": lambda: compact_index(tmp_path / "ix", tmp_path / "small", jobs=1),
        "delete": lambda: delete_documents(tmp_path / "ix", ids=["word0-1"]),
        "replace": lambda: add_to_index(tmp_path / "ix", [again], replace=True, jobs=1),
    }
    from factcensus.indexer.building import staging
    from factcensus.indexer.changing import deletion

    for name in ("add", "compact", "delete", "replace"):
        before = counts(tmp_path / "ix")
        with CountIndex.open(tmp_path / "ix") as index:
            where = deletion if name == "delete" else staging
            with stopped_at(where, "commit", monkeypatch, changes[name]):
                for other in changes.values():
                    with pytest.raises(InputError, match=r"another process is changing"):
                        other()
                assert counts(tmp_path / "ix") == before
                verify_index(tmp_path / "ix")
            monkeypatch.undo()
            assert counts(tmp_path / "ix") != before
            assert index.count_many(QUERIES).tolist() == before[1], "what was opened before counts as before"


def test_build_overtaken_by_another_build_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from factcensus.indexer.building import build

    files = corpus(tmp_path / "c", 1, 5)
    find = build.find_source_files

    def find_late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        build_index([files], tmp_path / "ix", jobs=1)
        return find(*arguments, **options)

    monkeypatch.setattr(build, "find_source_files", find_late)
    with pytest.raises(InputError, match="exists"):
        build_index([files], tmp_path / "ix", jobs=1)
    assert {path.name for path in tmp_path.iterdir()} == {"c", "ix"}
    verify_index(tmp_path / "ix")


def test_index_can_be_opened_at_any_moment_while_it_changes(tmp_path: Path) -> None:
    """Opening reads the manifest and then the files, which may be replaced in between."""
    build_index([corpus(tmp_path / "c", 1, 30)], tmp_path / "ix", jobs=1)
    stop = threading.Event()
    errors: list[BaseException] = []
    opened = 0

    def read() -> None:
        nonlocal opened
        try:
            while not stop.is_set():
                with CountIndex.open(tmp_path / "ix") as index:
                    assert index.count("of file").documents == 30
                opened += 1
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    changes = 0
    while (changes < 8 or not opened) and not errors:
        compact_index(tmp_path / "ix", jobs=1)
        changes += 1
    stop.set()
    thread.join()
    assert not errors
    assert opened > 0


def test_index_replaced_while_opening_is_opened_in_its_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factcensus.indexer.storage.manifest import Manifest

    build_index([corpus(tmp_path / "c", 1, 30)], tmp_path / "ix", jobs=1)
    read = Manifest.read
    times = 0

    def read_and_change(folder: Path) -> Manifest:
        nonlocal times
        manifest = read(folder)
        times += 1
        if times <= 2:
            monkeypatch.setattr(Manifest, "read", read)
            compact_index(tmp_path / "ix", jobs=1)
            monkeypatch.setattr(Manifest, "read", read_and_change)
        return manifest

    monkeypatch.setattr(Manifest, "read", read_and_change)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("of file").documents == 30
    monkeypatch.undo()
    (tmp_path / "ix" / "table.3").unlink(missing_ok=True)
    for path in (tmp_path / "ix").glob("table.*"):
        path.unlink()
    with pytest.raises(FactcensusError, match=r"table\.\d+ is missing"):
        CountIndex.open(tmp_path / "ix")


def test_plan_names_the_sources_of_an_interrupted_build(interrupt: Interrupter, tmp_path: Path) -> None:
    """The plan tells a reader the purpose of the folder."""
    files = corpus(tmp_path / "c", 1, 5)
    interrupt(tmp_path / "o", "build_index", [str(files)], tmp_path / "o/ix", jobs=1, at=12)
    plan = json.loads((tmp_path / "o/ix.building/plan.json").read_bytes())
    assert [Path(file["name"]).name for file in plan["files"]] == ["0.jsonl"]
    assert plan["settings"]["analyzer"] == "words"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"digest": 1}', b"\xff"])
def test_unreadable_plan_error_gives_the_remedy(content: bytes, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": "a"}])
    (tmp_path / "ix.building").mkdir()
    (tmp_path / "ix.building" / "plan.json").write_bytes(content)
    with pytest.raises(InputError, match=r"plan\.json is damaged.*delete .*ix\.building"):
        build_index([corpus], tmp_path / "ix", jobs=1)
