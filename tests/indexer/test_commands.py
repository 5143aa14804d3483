"""The command line of the indexer."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from factcensus.indexer.cli import main

from .corpora import records, write_corpus

COMMANDS = [
    "index build",
    "index add",
    "index delete",
    "index compact",
    "index info",
    "index verify",
    "index list",
    "ngram prob",
    "ngram ntd",
    "count",
    "cooc",
    "documents",
    "trace",
    "facts count",
    "facts stratify",
    "facts describe",
    "facts plot",
    "facts compare",
]
TEXTS = ["Paris is the capital of France.", "Berlin, Germany; not Paris", "The French Republic: PARIS", ""]
SOURCES = ["wiki", "web", "web", "wiki"]


class Ran(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process."""

    def run_command(*argv: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run_command


@pytest.fixture
def index(tmp_path: Path, run: Run) -> Path:
    write_corpus(tmp_path / "c.jsonl.gz", records(TEXTS, SOURCES))
    assert run("index", "build", tmp_path / "c.jsonl.gz", "--out", tmp_path / "wiki", "--jobs", 1).code == 0
    return tmp_path / "wiki"


def test_build_can_verify_the_index_in_its_own_process(tmp_path: Path, run: Run) -> None:
    write_corpus(tmp_path / "c.jsonl", records(TEXTS, SOURCES))
    options = ["index", "build", tmp_path / "c.jsonl", "--jobs", 1, "--verify", "--out"]
    built = run(*options, tmp_path / "ix")
    assert built.code == 0
    assert built.out.endswith(run("index", "verify", tmp_path / "ix").out)
    for more in (["memory://ix"], [tmp_path / "iy", "--work", tmp_path / "work"]):
        refused = run(*options, *more)
        assert refused.code == 2
        assert "--verify checks only an index that this process builds in a local folder" in refused.err


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    with (tmp_path / "facts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [
                ["subject", "object", "subject_aliases", "note"],
                ["France", "Paris", "French Republic|RF", "n1"],
                ["Germany", "Berlin", "", "n2"],
                ["Peru", "Lima", "", ""],
            ]
        )
    return tmp_path / "facts.csv"


# ---------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_a_worked_example(command: str, run: Run) -> None:
    ran = run(*command.split(), "--help")
    assert ran.code == 0
    assert ran.err == ""
    example = ran.out.partition("example")[2]
    assert f"factcensus {command} " in example


def test_root_help_lists_the_commands_of_every_part(run: Run) -> None:
    out = run("--help").out
    for name in ("index", "count", "cooc", "facts", "serve", "unlearn", "eval", "report", "demo"):
        assert re.search(rf"^  {name}  ", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("index build", ["SOURCE", "--out", "--analyzer", "--jobs", "--memory", "--text-field", "--on-bad-line"]),
        ("index add", ["INDEX", "SOURCE"]),
        ("index info", ["INDEX", "--json"]),
        ("index verify", ["INDEX"]),
        ("index list", ["DIR"]),
        ("count", ["INDEX", "TEXT", "--by", "source", "--json"]),
        ("cooc", ["--subject", "--object", "--subject-alias", "--object-alias", "--window", "--by", "--json"]),
        ("facts count", ["FACTS", "--index", "--url", "--window", "--out"]),
        ("facts stratify", ["--by", "--bins", "quantile", "log10", "edges", "--out"]),
    ],
)
def test_help_names_every_option_of_the_contract(command: str, options: list[str], run: Run) -> None:
    out = run(*command.split(), "--help").out
    assert [option for option in options if option not in out] == []


def test_help_imports_no_library_except_click_and_few_modules() -> None:
    """Importing takes most of the time of the help, which appears in a quarter of a second."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from factcensus.indexer.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*set(sys.modules) - before, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = ran.stderr.split()
    libraries = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert libraries == {"click", "factcensus"}
    assert len(imported) < 300


def test_version_is_printed(run: Run) -> None:
    ran = run("--version")
    assert ran.code == 0
    assert ran.out.startswith("factcensus 0.")


def test_program_runs_as_a_process(index: Path) -> None:
    """Run a real process: only results are on stdout, and the exit code is right."""
    program = Path(sys.executable).with_name("factcensus")
    ran = subprocess.run([program, "count", index, "Paris", "--json"], check=True, capture_output=True, text=True)
    assert json.loads(ran.stdout)["occurrences"] == 3
    assert ran.stderr in ("", "factcensus: compiling counting code for this machine; later commands reuse it\n")
    ran = subprocess.run([program, "count", index / "absent", "Paris"], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


def test_closed_stdout_is_not_an_error(index: Path) -> None:
    """``factcensus ... | head -0`` ends quietly."""
    program = Path(sys.executable).with_name("factcensus")
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [program, "count", index, "Paris", "--json"], check=False, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (0, "")


# ---------------------------------------------------------------------------------------------- answers


def test_json_of_count_has_the_shape_of_the_contract(index: Path, run: Run) -> None:
    ran = run("count", index, "Paris", "--json")
    assert ran.code == 0
    assert ran.out.count("\n") == 1
    analyzer = ran.json["analyzer"]
    assert analyzer.startswith("words")
    assert ran.json == {
        "index": "wiki",
        "analyzer": analyzer,
        "text": "Paris",
        "tokens": ["paris"],
        "occurrences": 3,
        "documents": 3,
        "exact": True,
    }


def test_json_of_count_by_source_adds_the_same_numbers_by_source(index: Path, run: Run) -> None:
    plain = run("count", index, "the capital", "--json").json
    grouped = run("count", index, "the capital", "--by", "source", "--json").json
    assert grouped.pop("by_source")["wiki"] == {"occurrences": 1, "documents": 1}
    assert grouped == plain


def test_json_of_cooc_has_the_shape_of_the_contract(index: Path, run: Run) -> None:
    ran = run(
        "cooc",
        index,
        "--subject",
        "France",
        "--object",
        "Paris",
        "--subject-alias",
        "French Republic",
        "--subject-alias",
        "RF",
        "--json",
    )
    assert ran.code == 0
    answer = ran.json
    expected = (("subject", "France", ["French Republic", "RF"], 2), ("object", "Paris", [], 3))
    for role, name, aliases, mentions in expected:
        told = answer.pop(role)
        told.pop("tokens", None)
        assert told == {"name": name, "aliases": aliases, "mentions": mentions, "documents": mentions}
    assert answer == {
        "index": "wiki",
        "analyzer": answer["analyzer"],
        "cooccurrence": {"documents": 2, "pairs": 2},
        "window": None,
        "exact": True,
    }


def test_every_answer_shows_the_tokens_of_its_texts(index: Path, run: Run) -> None:
    """This includes answers of co-occurrence queries."""
    answer = run("cooc", index, "--subject", "FRANCE!", "--object", "St. Paris", "--subject-alias", "—", "--json").json
    assert answer["subject"]["tokens"] == [["france"], []]
    assert answer["object"]["tokens"] == [["st", "paris"]]


def test_window_of_cooc_limits_the_pairs_and_is_shown(index: Path, run: Run) -> None:
    asked = ["cooc", index, "--subject", "France", "--object", "Paris", "--json"]
    assert run(*asked, "--window", 3).json["cooccurrence"] == {"documents": 0, "pairs": 0}
    answer = run(*asked, "--window", 4, "--by", "source").json
    assert answer["window"] == 4
    assert answer["cooccurrence"] == {"documents": 1, "pairs": 1}
    assert answer["by_source"]["wiki"] == {
        "subject": {"mentions": 1, "documents": 1},
        "object": {"mentions": 1, "documents": 1},
        "cooccurrence": {"documents": 1, "pairs": 1},
    }


@pytest.mark.parametrize("by", [[], ["--by", "source"]])
def test_answers_for_people_have_the_same_numbers(by: list[str], index: Path, run: Run) -> None:
    out = run("count", index, "Paris", *by).out
    assert "3" in out
    assert "exact" in out
    out = run("cooc", index, "--subject", "Germany", "--object", "Paris", *by).out
    assert "Germany" in out
    assert "1" in out


def test_zero_is_an_answer(index: Path, run: Run) -> None:
    ran = run("count", index, "zebra", "--json")
    assert (ran.code, ran.json["occurrences"], ran.json["documents"]) == (0, 0, 0)


def test_info_and_list_show_the_indexes(index: Path, run: Run, tmp_path: Path) -> None:
    info = run("index", "info", index, "--json").json
    assert (info["name"], info["documents"], info["tokens"]) == ("wiki", 4, 14)
    assert run("index", "info", index).out.count("wiki") >= 1
    out = run("index", "list", tmp_path).out
    assert "wiki" in out
    assert "4" in out
    (tmp_path / "nothing").mkdir()
    ran = run("index", "list", tmp_path / "nothing")
    assert ran.code == 0


def test_trailing_slash_does_not_change_the_name_of_an_index(index: Path, run: Run) -> None:
    assert run("count", f"{index}/", "Paris", "--json").json["index"] == "wiki"


def test_build_takes_the_options_of_the_contract(tmp_path: Path, run: Run) -> None:
    (tmp_path / "c.jsonl").write_text('{"body": "Paris"}\nbad\n{"body": "paris Paris"}\n', encoding="utf-8")
    ran = run(
        "index",
        "build",
        tmp_path / "c.jsonl",
        "--out",
        tmp_path / "ix",
        "--analyzer",
        "words-cased",
        "--jobs",
        2,
        "--memory",
        "1GiB",
        "--text-field",
        "body",
        "--on-bad-line",
        "skip",
    )
    assert ran.code == 0
    assert "c.jsonl, line 2" in ran.err, "the skipped line is reported"
    assert run("index", "info", tmp_path / "ix", "--json").json["skipped_lines"] == 1
    assert run("count", tmp_path / "ix", "Paris", "--json").json["occurrences"] == 2


def test_add_appends_documents(index: Path, tmp_path: Path, run: Run) -> None:
    more = write_corpus(tmp_path / "more.parquet", records(["Paris again", "and brandnew"], ["news", "news"]))
    assert run("index", "add", index, more, "--jobs", 1).code == 0
    assert run("count", index, "Paris", "--by", "source", "--json").json["by_source"]["news"]["occurrences"] == 1
    assert run("count", index, "brandnew", "--json").json["documents"] == 1
    assert run("index", "verify", index).code == 0


# ---------------------------------------------------------------------------------------------- fact tables


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_counts_and_strata_are_written_in_the_format_of_the_ending(
    ending: str, index: Path, facts: Path, tmp_path: Path, run: Run
) -> None:
    counts, strata = tmp_path / f"counts{ending}", tmp_path / f"strata{ending}"
    ran = run("facts", "count", facts, "--index", index, "--window", 0, "--window", 10, "--out", counts)
    assert (ran.code, "Traceback" in ran.err) == (0, False)
    ran = run("facts", "stratify", counts, "--by", "cooccurrence_documents", "--bins", "edges:1,10", "--out", strata)
    assert ran.code == 0
    if ending == ".parquet":
        rows = pq.read_table(strata).to_pylist()
    elif ending == ".jsonl":
        rows = [json.loads(line) for line in strata.read_text(encoding="utf-8").splitlines()]
    else:
        with strata.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    names = [
        "subject",
        "object",
        "subject_aliases",
        "note",
        "subject_mentions",
        "object_mentions",
        "subject_documents",
        "object_documents",
        "cooccurrence_documents",
        "cooccurrence_pairs",
        "cooccurrence_documents_w0",
        "cooccurrence_pairs_w0",
        "cooccurrence_documents_w10",
        "cooccurrence_pairs_w10",
        "index",
        "index_digest",
        "analyzer",
        "exact",
        "stratum",
        "stratum_label",
        "stratum_low",
        "stratum_high",
    ]
    assert list(rows[0]) == names
    number = int if ending == ".csv" else lambda value: value
    assert [number(row["cooccurrence_documents"]) for row in rows] == [2, 1, 0]
    assert [number(row["stratum"]) for row in rows] == [1, 1, 0]
    assert [row["note"] or "" for row in rows] == ["n1", "n2", ""]
    assert [row["index"] for row in rows] == ["wiki"] * 3


def test_table_is_not_left_half_written(index: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "bad.csv").write_text("subject,object\na,b\n,c\n", encoding="utf-8")
    ran = run("facts", "count", tmp_path / "bad.csv", "--index", index, "--out", tmp_path / "counts.parquet")
    assert ran.code == 2
    assert "row 2" in ran.err
    assert not (tmp_path / "counts.parquet").exists()


# ---------------------------------------------------------------------------------------------- wrong input


WRONG: dict[str, list[str]] = {
    "no command": [],
    "unknown command": ["indx"],
    "group without a verb": ["index"],
    "unknown verb": ["index", "bild"],
    "missing argument": ["count", "{index}"],
    "unknown option": ["count", "{index}", "a", "--jsn"],
    "no such index": ["count", "{tmp}/absent", "a"],
    "file for an index": ["count", "{tmp}/facts.csv", "a"],
    "folder that is no index": ["count", "{tmp}", "a"],
    "query without a token": ["count", "{index}", "—"],
    "empty query": ["count", "{index}", ""],
    "unknown group": ["count", "{index}", "a", "--by", "language"],
    "no object": ["cooc", "{index}", "--subject", "a"],
    "empty subject": ["cooc", "{index}", "--subject", "", "--object", "a"],
    "subject without a token": ["cooc", "{index}", "--subject", "…", "--object", "a"],
    "window that is no number": ["cooc", "{index}", "--subject", "a", "--object", "b", "--window", "x"],
    "negative window": ["cooc", "{index}", "--subject", "a", "--object", "b", "--window", "-1"],
    "unknown analyzer": ["index", "build", "{tmp}/c.jsonl.gz", "--out", "{tmp}/new", "--analyzer", "wrods"],
    "no source": ["index", "build", "--out", "{tmp}/new"],
    "absent source": ["index", "build", "{tmp}/absent.jsonl", "--out", "{tmp}/new"],
    "source of an unknown kind": ["index", "build", "{tmp}/facts.csv", "--out", "{tmp}/new"],
    "index that exists": ["index", "build", "{tmp}/c.jsonl.gz", "--out", "{index}"],
    "memory that is no size": ["index", "build", "{tmp}/c.jsonl.gz", "--out", "{tmp}/new", "--memory", "lots"],
    "no jobs": ["index", "build", "{tmp}/c.jsonl.gz", "--out", "{tmp}/new", "--jobs", "0"],
    "unknown policy": ["index", "build", "{tmp}/c.jsonl.gz", "--out", "{tmp}/new", "--on-bad-line", "stop"],
    "field that no line has": ["index", "build", "{tmp}/c.jsonl.gz", "--out", "{tmp}/new", "--text-field", "body"],
    "addition to nothing": ["index", "add", "{tmp}/absent", "{tmp}/c.jsonl.gz"],
    "facts that are absent": ["facts", "count", "{tmp}/absent.csv", "--index", "{index}", "--out", "{tmp}/o.csv"],
    "facts without an object": ["facts", "count", "{tmp}/half.csv", "--index", "{index}", "--out", "{tmp}/o.csv"],
    "facts of an unknown kind": ["facts", "count", "{tmp}/f.xlsx", "--index", "{index}", "--out", "{tmp}/o.csv"],
    "output of an unknown kind": ["facts", "count", "{tmp}/facts.csv", "--index", "{index}", "--out", "{tmp}/o.xlsx"],
    "facts without an index": ["facts", "count", "{tmp}/facts.csv", "--out", "{tmp}/o.csv"],
    "strata of an absent column": ["facts", "stratify", "{tmp}/facts.csv", "--by", "nosuch", "--out", "{tmp}/o.csv"],
    "strata of text": ["facts", "stratify", "{tmp}/facts.csv", "--by", "subject", "--out", "{tmp}/o.csv"],
    "bins that mean nothing": ["facts", "stratify", "{tmp}/n.csv", "--by=n", "--bins=thirds", "--out={tmp}/o.csv"],
    "list of an absent folder": ["index", "list", "{tmp}/absent"],
    "verification of nothing": ["index", "verify", "{tmp}/absent"],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_exits_2_with_one_line_on_stderr(
    name: str, index: Path, facts: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "half.csv").write_text("subject,objekt\na,b\n", encoding="utf-8")
    (tmp_path / "n.csv").write_text("n\n1\n", encoding="utf-8")
    (tmp_path / "f.xlsx").write_bytes(b"PK")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert facts.exists()
    ran = run(*(argument.format(index=index, tmp=tmp_path) for argument in WRONG[name]))
    assert ran.code == 2, ran
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1, ran.err
    assert "error" in ran.err
    assert "unexpected" not in ran.err
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".building"))
    assert left == before, "no half output is left"


def test_bad_line_exits_2_and_names_file_and_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\nbad\n', encoding="utf-8")
    ran = run("index", "build", tmp_path / "c.jsonl", "--out", tmp_path / "ix", "--jobs", 1)
    assert ran.code == 2
    assert "c.jsonl" in ran.err
    assert "2" in ran.err.splitlines()[-1]


# ---------------------------------------------------------------------------------------------- verify


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]) and None,
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["table.0", "tokenized.0", "offset.0", "documents.0.parquet", "vocabulary.0.utf8"])
def test_verify_exits_3_and_names_the_damaged_file(name: str, damage: str, index: Path, run: Run) -> None:
    assert run("index", "verify", index).code == 0
    DAMAGE[damage](index / name)
    ran = run("index", "verify", index)
    assert ran.code == 3
    assert name in ran.err.splitlines()[-1]
    assert ran.out == ""


def test_verify_of_an_intact_index_says_so_and_exits_0(index: Path, run: Run) -> None:
    ran = run("index", "verify", index)
    assert ran.code == 0
    assert "wiki" in ran.out


# ---------------------------------------------------------------------------------------------- which documents


SCOPED = {
    "no duplicates": (["--no-duplicates"], (3, 3)),
    "the first documents": (["--upto-document", "2"], (2, 2)),
    "more documents than there are": (["--upto-document", "99"], (4, 4)),
    "a range of tokens": (["--tokens", "0:7"], (2, 2)),
    "up to a token": (["--tokens", ":1"], (1, 1)),
    "no token at all": (["--tokens", "5:5"], (0, 0)),
    "a source": (["--where", "source = 'web'"], (2, 2)),
    "a field of the metadata": (["--where", "metadata ->> '$.meta.lang' = 'fr'"], (1, 1)),
    "all at once": (
        ["--where", "source <> 'x'", "--tokens", "0:99", "--no-duplicates", "--upto-document", "3"],
        (3, 3),
    ),
    "a deadline that is far": (["--deadline", "1000"], (4, 4)),
}


@pytest.fixture
def five(tmp_path: Path, run: Run) -> Path:
    """Return an index of five documents; the last repeats the first, and the third has another language."""
    rows = records([*TEXTS, TEXTS[0]], [*SOURCES, "wiki"])
    rows[2]["meta"] = {"lang": "fr"}
    write_corpus(tmp_path / "five.jsonl", rows)
    assert run("index", "build", tmp_path / "five.jsonl", "--out", tmp_path / "five", "--jobs", 1).code == 0
    return tmp_path / "five"


@pytest.mark.parametrize("name", SCOPED)
def test_options_restrict_every_count_to_their_documents(name: str, five: Path, tmp_path: Path, run: Run) -> None:
    options, expected = SCOPED[name]
    answer = run("count", five, "Paris", "--json", *options).json
    assert (answer["occurrences"], answer["documents"]) == expected
    by_source = run("count", five, "Paris", "--json", "--by", "source", *options).json["by_source"]
    assert sum(part["documents"] for part in by_source.values()) == expected[1]
    told = run("cooc", five, "--subject", "Paris", "--object", "zebra", "--json", *options).json
    assert (told["subject"]["mentions"], told["subject"]["documents"]) == expected
    (tmp_path / "f.csv").write_text("subject,object\nParis,zebra\n", encoding="utf-8")
    asked = ["facts", "count", tmp_path / "f.csv", "--index", five, "--out", tmp_path / "o.jsonl"]
    for jobs in ([], ["--jobs", "1"], ["--jobs", "3"]):
        assert run(*asked, *options, *jobs).code == 0
        row = json.loads((tmp_path / "o.jsonl").read_text(encoding="utf-8"))
        assert (row["subject_mentions"], row["subject_documents"]) == expected


def test_facts_by_a_field_of_the_metadata_add_up(five: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "f.csv").write_text("subject,object\nParis,capital\n", encoding="utf-8")
    ran = run(
        "facts", "count", tmp_path / "f.csv", "--index", five, "--by", "meta.lang", "--out", tmp_path / "o.parquet"
    )
    assert ran.code == 0
    row = pq.read_table(tmp_path / "o.parquet").to_pylist()[0]
    groups = {group["meta.lang"]: group["subject_mentions"] for group in row["by_meta.lang"]}
    assert groups == {"": 3, "fr": 1}


def test_count_that_takes_longer_than_its_deadline_exits_1(five: Path, run: Run, monkeypatch: Any) -> None:
    from factcensus.indexer.counting.deadline import Deadline

    monkeypatch.setattr(Deadline, "__enter__", lambda self: self.cancel() or self)
    for asked in (["count", five, "Paris"], ["cooc", five, "--subject", "Paris", "--object", "France"]):
        ran = run(*asked, "--deadline", "0.5")
        assert ran.code == 1
        assert "it took more than 0.5 s; count less" in ran.err
        assert ran.out == ""


# ---------------------------------------------------------------------------------------------- deleting, compacting


def test_delete_compact_and_verify_in_full(five: Path, tmp_path: Path, run: Run) -> None:
    ran = run("index", "delete", five, "--id", "d1")
    first, _, *table = ran.out.splitlines()
    assert (ran.code, first) == (0, f"{five}: 1 document deleted, 4 left, generation 1")
    assert [line.split() for line in table] == [["id", "documents"], ["d1", "1"]]
    assert "running services stop counting them within a second" in ran.err
    (tmp_path / "ids").write_text("d2\n\nd1\n", encoding="utf-8")
    assert "(1 already deleted), 3 left" in run("index", "delete", five, "--ids", tmp_path / "ids").out
    assert (
        "0 documents deleted (2 already deleted), 3 left" in run("index", "delete", five, "--ids", tmp_path / "ids").out
    )
    assert run("count", five, "Paris", "--json").json["documents"] == 2
    assert run("index", "verify", five, "--full").code == 0
    ran = run("index", "compact", five, "--out", tmp_path / "small", "--jobs", 1, "--device", "cpu")
    assert ran.code == 0
    assert "3 documents" in ran.out
    assert run("index", "delete", five, "--where", "source = 'wiki' AND tokens = 0").code == 0
    assert run("index", "compact", five, "--memory", "1GiB").code == 0
    assert run("index", "info", five, "--json").json["deleted_documents"] == 0
    for index, documents in ((five, 2), (tmp_path / "small", 3)):
        told = run("index", "verify", index, "--full", "--json").json
        assert told["intact"]
        assert told["rows_compared"] == run("index", "info", index, "--json").json["tokens"] + documents - 1
        assert run("count", index, "Paris", "--json").json["documents"] == 2


def test_verify_in_full_exits_3_for_two_exchanged_rows_of_an_index_without_checksums(five: Path, run: Run) -> None:
    bare = five.with_name("bare")
    bare.mkdir()
    for name in ("tokenized.0", "table.0", "offset.0"):
        (bare / name).write_bytes((five / name).read_bytes())
    assert run("index", "verify", bare, "--full").code == 0
    table = bytearray((bare / "table.0").read_bytes())
    table[0], table[5] = table[5], table[0]
    (bare / "table.0").write_bytes(table)
    ran = run("index", "verify", bare, "--full")
    assert ran.code == 3
    assert "table.0 is out of order" in ran.err


def test_takedown_is_previewed_made_recorded_and_verified(five: Path, tmp_path: Path, run: Run) -> None:
    record = tmp_path / "record.json"
    planned = run("index", "delete", five, "--id", "d1", "--text", "paris", "--dry-run")
    assert planned.code == 0
    assert "would be deleted" in planned.out
    assert "running services" not in planned.err
    asked = ["index", "delete", five, "--id", "d1", "--text", "paris"]
    shown = run(*asked, "--dry-run", "--json").json
    done = run(*asked, "--json", "--record", record, "--asked-by", "a letter", "--probe", "Paris", "--probe", "is").json
    assert shown == done | {"dry_run": True, "generation": 0, "digest": shown["digest"]}
    assert (done["generation"], done["documents_by_id"]) == (1, {"d1": 1})
    assert done["documents_left"] == run("index", "info", five, "--json").json["documents"]
    assert all(each["id"] and each["title"] for each in done["first_documents"])
    kept = json.loads(record.read_text(encoding="utf-8"))
    assert (kept["asked_by"], [probe["text"] for probe in kept["probes"]]) == ("a letter", ["Paris", "is"])
    proven = run("index", "verify", five, "--record", record)
    assert f"{record} is verified" in proven.out
    assert "still in the files" in proven.out
    assert run("index", "compact", five, "--jobs", 1).code == 0
    assert "still in the files" not in run("index", "verify", five, "--record", record).out
    assert run("index", "verify", five, "--record", record, "--json").json["record"]["hidden"] == 0
    again = run("index", "delete", five, "--id", "d2", "--record", record)
    assert (again.code, "never overwritten" in again.err) == (2, True)
    back = write_corpus(tmp_path / "back.jsonl", [{"id": "d1", "text": "here again"}])
    assert run("index", "add", five, back, "--jobs", 1).code == 0
    wrong = run("index", "verify", five, "--record", record)
    assert (wrong.code, "the document 'd1' is in the index" in wrong.err) == (3, True)


def test_documents_are_exchanged_by_id(five: Path, tmp_path: Path, run: Run) -> None:
    new = write_corpus(tmp_path / "new.jsonl", [{"id": "d0", "text": "exchanged"}, {"id": "d1", "text": "exchanged"}])
    before = run("index", "info", five, "--json").json
    assert run("index", "add", five, new, "--replace", "--jobs", 1).code == 0
    after = run("index", "info", five, "--json").json
    assert (after["documents"], after["generation"]) == (before["documents"], before["generation"] + 1)
    assert run("count", five, "exchanged", "--json").json["documents"] == 2


#: Arguments, and the value or remedy that the message must contain.
REFUSED: dict[str, tuple[list[str], str]] = {
    "deletion of nothing": (
        ["index", "delete", "{ix}"],
        "nothing to delete: give ids of documents, a text, or a condition",
    ),
    "unknown id": (["index", "delete", "{ix}", "--id", "d77"], "unknown id d77"),
    "no file of ids": (["index", "delete", "{ix}", "--ids", "{tmp}/none"], "no file of ids at {tmp}/none"),
    "ids that are no text": (["index", "delete", "{ix}", "--ids", "{tmp}/binary"], "{tmp}/binary"),
    "condition that is no SQL": (["index", "delete", "{ix}", "--where", "source ="], "invalid condition 'source ='"),
    "condition over no column": (["count", "{ix}", "a", "--where", "sorce = 'x'"], "sorce"),
    "condition with no function": (["count", "{ix}", "a", "--where", "nosuch(id)"], "nosuch"),
    "condition that is no condition": (["count", "{ix}", "a", "--where", "id"], "invalid condition 'id'"),
    "two statements": (["count", "{ix}", "a", "--where", "true; drop view documents"], "invalid condition"),
    "condition that closes its brackets": (["count", "{ix}", "a", "--where", "true) OR (nosuch"], "nosuch"),
    "empty condition": (["count", "{ix}", "a", "--where", ""], "invalid condition ''"),
    "no such field": (["count", "{ix}", "a", "--by", "meta.language"], "meta.language"),
    "documents up to zero": (
        ["count", "{ix}", "a", "--upto-document", "0"],
        "--upto-document must be an integer of at least 1, got '0'",
    ),
    "documents up to words": (
        ["count", "{ix}", "a", "--upto-document", "all"],
        "--upto-document must be an integer of at least 1, got 'all'",
    ),
    "tokens without a colon": (
        ["count", "{ix}", "a", "--tokens", "12"],
        "--tokens must be a range FIRST:LAST of tokens with FIRST at most LAST, got '12'",
    ),
    "tokens backwards": (["count", "{ix}", "a", "--tokens", "9:3"], "with FIRST at most LAST, got '9:3'"),
    "tokens below zero": (["count", "{ix}", "a", "--tokens=-3:3"], "with FIRST at most LAST, got '-3:3'"),
    "deadline of zero": (
        ["count", "{ix}", "a", "--deadline", "0"],
        "--deadline must be a number of seconds above 0 and below 1e9, got '0'",
    ),
    "deadline before now": (
        ["count", "{ix}", "a", "--deadline=-2"],
        "--deadline must be a number of seconds above 0 and below 1e9, got '-2'",
    ),
    "deadline of no number": (["count", "{ix}", "a", "--deadline", "nan"], "above 0 and below 1e9, got 'nan'"),
    "deadline without end": (["count", "{ix}", "a", "--deadline", "inf"], "above 0 and below 1e9, got 'inf'"),
    "deadline of a word": (["count", "{ix}", "a", "--deadline", "soon"], "above 0 and below 1e9, got 'soon'"),
    "device that is none": (
        ["index", "build", "{tmp}/five.jsonl", "--out", "{tmp}/n", "--device", "cudda"],
        "'cudda' cannot be used",
    ),
    "compaction into what exists": (["index", "compact", "{ix}", "--out", "{ix}"], "{ix} exists; choose another --out"),
    "compaction of nothing": (["index", "compact", "{tmp}/none"], "no index folder at {tmp}/none"),
    "compaction in too little": (["index", "compact", "{ix}", "--memory", "1MiB"], "1 MiB of memory is too little"),
    "facts with no jobs": (
        ["facts", "count", "{tmp}/f.csv", "--index", "{ix}", "--out", "{tmp}/o.csv", "--jobs", "0"],
        "--jobs must be an integer of at least 1, got '0'",
    ),
    "facts by no field": (
        ["facts", "count", "{tmp}/f.csv", "--index", "{ix}", "--out", "{tmp}/o.csv", "--by", "nosuch"],
        "'nosuch'",
    ),
    "scan in a scope": (
        ["facts", "count", "{tmp}/f.csv", "--scan", "{tmp}/five.jsonl", "--out", "{tmp}/o.csv", "--no-duplicates"],
        "--no-duplicates can only be used with an index folder",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_arguments_exit_2_and_are_named(name: str, five: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "f.csv").write_text("subject,object\nParis,France\n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    arguments, message = REFUSED[name]
    before = {path.name: path.read_bytes() for path in five.iterdir()}
    ran = run(*(argument.format(ix=five, tmp=tmp_path) for argument in arguments))
    assert ran.code == 2, ran
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1, ran.err
    assert "unexpected" not in ran.err
    assert message.format(ix=five, tmp=tmp_path) in ran.err
    assert {path.name: path.read_bytes() for path in five.iterdir()} == before
    assert not (tmp_path / "o.csv").exists()


def test_full_disk_exits_1_with_the_folder_and_the_remedy(five: Path, run: Run, monkeypatch: Any) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for asked in (["delete", five, "--id", "d1"], ["add", five, five.with_name("five.jsonl"), "--jobs", 1]):
        ran = run("index", *asked)
        assert ran.code == 1
        assert f"the disk of {five}" in ran.err
        assert "free some space and run the same command again" in ran.err


def test_arguments_that_are_not_utf8_are_counted_and_printed(tmp_path: Path, run: Run) -> None:
    """A shell passes any bytes; Python turns invalid ones into lone surrogates, which UTF-8 cannot encode."""
    odd = os.fsdecode(b"caf\xe9")
    corpus = write_corpus(tmp_path / f"{odd}.jsonl", records(["caf\ufffd"]))
    build = ["index", "build", corpus, "--analyzer", "bytes", "--jobs", 1, "--out"]
    refused = run(*build, tmp_path / odd)
    assert refused.code == 2
    assert "is not valid UTF-8" in refused.err
    assert run(*build, tmp_path / "ix").code == 0
    counted = run("count", tmp_path / "ix", odd, "--json").json
    assert (counted["text"], counted["documents"]) == ("caf\ufffd", 1)
    both = run("cooc", tmp_path / "ix", "--subject", odd, "--object", "x", "--json").json
    assert (both["subject"]["name"], both["subject"]["documents"]) == ("caf\ufffd", 1)
    (tmp_path / "ix").rename(tmp_path / odd)
    told = subprocess.run(
        [sys.executable, "-m", "factcensus", "index", "info", str(tmp_path / odd), "--json"],
        capture_output=True,
        check=True,
    )
    assert os.fsencode(json.loads(told.stdout)["name"]) == b"caf\xe9"


def test_file_of_ids_may_begin_with_a_byte_order_mark(five: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "ids.txt").write_bytes("\ufeffd1\r\nd2\r\n".encode())
    assert run("index", "delete", five, "--ids", tmp_path / "ids.txt").code == 0
    assert run("index", "info", five, "--json").json["deleted_documents"] == 2
