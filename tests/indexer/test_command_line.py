"""Rules that hold for every command of every part: names, repeated options, values, help."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from factcensus.indexer.cli import main
from factcensus.indexer.cli.command import Command, Group
from factcensus.indexer.cli.root import build_root


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Return every command below a group by the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(build_root()))
SINGLE = [
    (words, option.opts[0])
    for words, command in ALL.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.multiple and not option.is_flag
]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the single line on stderr of a command that exits with 2."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "(see 'factcensus" in err
    return err


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_follows_the_rules(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    command = ALL[words]
    assert isinstance(command, Command)
    assert "factcensus " + " ".join(words) in command.example
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} has no help"
        assert parameter.human_readable_name
    assert main([*words, "--help"]) == 0
    assert "example:\n  " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "option"), SINGLE, ids=lambda value: " ".join(value) if type(value) is tuple else value
)
def test_option_with_one_value_is_refused_when_given_twice(
    words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error: {option} is given 2 times" in refused(capsys, *words, option, "1", option, "1")


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_misspelt_and_abbreviated_options_are_reported_before_missing_ones(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ALL[words].params:
        if isinstance(option, click.Option) and len(option.opts[0]) > 5:
            name = option.opts[0]
            for wrong in (name[:-1], name[:3] + name[4] + name[3] + name[5:]):
                if any(wrong in each.opts for each in ALL[words].params):
                    continue
                error = refused(capsys, *words, wrong, "1")
                assert f"unknown option {wrong!r}; did you mean '--" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("indx", "factcensus: error: unknown command 'indx'; did you mean 'index'?"),
        ("build", "factcensus: error: unknown command 'build'; did you mean 'index build'?"),
        ("index bild", "factcensus index: error: unknown command 'bild'; did you mean 'build'?"),
        ("zzz", "unknown command 'zzz'; known: count, cooc,"),
        ("", "factcensus: error: missing command; known: count, cooc,"),
        ("index", "factcensus index: error: missing command; known: build, add,"),
        ("--verison", "unknown option '--verison'; did you mean '--version'?"),
        ("count", "factcensus count: error: missing INDEX, TEXT"),
        ("cooc i --object b", "missing --subject NAME"),
        ("cooc i --subject a --objcet b", "unknown option '--objcet'; did you mean '--object'?"),
        ("count i t --by --json", "--by needs a value, got the option --json"),
        ("count i --text a", "unknown option '--text'; write factcensus count INDEX TEXT"),
        ("count i -5", "unknown option '-5'; write -- before a value that begins with '-'"),
        ("count i t --json=1", "--json takes no value"),
        ("index build c --out", "--out needs a value"),
        ("count i t u", "unexpected argument 'u'"),
        ("facts count f --out o", "missing --index INDEX or --scan SOURCE..."),
        ("facts count f --out o --index i --scan s", "--index and --scan cannot be combined"),
        ("unlearn config --schema --example", "--schema and --example cannot be combined"),
        ("cooc i --subject a --object b --window x", "--window must be an integer of at least 0, got 'x'"),
        ("cooc i --subject a --object b --window -1", "--window must be an integer of at least 0, got '-1'"),
        ("cooc i --subject a --object b --window 1_0", "--window must be an integer of at least 0, got '1_0'"),
        ("cooc i --subject a --object b --window ４", "--window must be an integer of at least 0, got '４'"),
        ("serve i --port 65536", "--port must be an integer from 0 to 65535, got '65536'"),
        ("index build c --out o --memory 8Q", "--memory: invalid size '8Q'"),
        ("index build c --out o --on-bad-line skp", "must be one of fail, skip, got 'skp'; did you mean 'skip'?"),
        ("demo --preset dem", "--preset must be one of smoke, demo, gpu, got 'dem'; did you mean 'demo'?"),
        ("eval run m --facts f --out o --forms clozee", "got 'clozee'; did you mean 'cloze'?"),
        ("eval run m --facts f --out o --attacks relern", "got 'relern'; did you mean 'relearn'?"),
        ("eval run m --facts f --out o --relearn-steps 2", "--relearn-steps has no effect without --attacks"),
        ("eval run m --facts f --out o --task-limit 2", "--task-limit has no effect without --tasks"),
        ("report r --out r.html --index wiki", "--index has no effect without --service"),
        ("eval run m --facts f --out o --relearn-steps 2,x", "must be integers of at least 1 separated by commas"),
    ],
)
def test_wrong_usage_is_reported_in_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *words.split())


def test_help_works_despite_missing_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["cooc", "--help"], ["cooc", "-h"], ["cooc", "i", "--subject", "a", "--help"]):
        assert main(words) == 0
        assert "Usage: factcensus cooc" in capsys.readouterr().out


def test_option_may_take_several_values_at_once_or_one_by_one() -> None:
    seen: list[tuple[str, ...]] = []

    @click.pass_context
    def run(_: click.Context, /, scan: tuple[str, ...], other: str | None, rest: tuple[str, ...]) -> None:
        seen.append((*scan, "|", *rest, "|", other or ""))

    from factcensus.indexer.cli.command import argument, command, option

    made = command("x", example="x")(
        argument("rest", nargs=-1)(option("--other", help="h")(option("--scan", several=True, help="h")(run)))
    )
    group = Group("g")
    group.add_command(made)
    for words in ("r --scan a b --other o", "r --scan a --scan b --other o", "--scan a b --other o r"):
        with group.make_context("g", ["x", *words.split()]) as context:
            group.invoke(context)
    with group.make_context("g", ["x", "--scan", "a", "--", "--scan", "b"]) as context:
        group.invoke(context)
    assert seen == [("a", "b", "|", "r", "|", "o")] * 3 + [("a", "|", "--scan", "b", "|", "")]


@pytest.mark.parametrize("part", ["indexer", "api", "unlearn", "eval"])
def test_version_is_an_attribute_of_the_namespace_once_a_part_is_imported(part: str) -> None:
    code = (
        f"import factcensus.{part}; print(factcensus.__version__); print(hasattr(factcensus, 'nothing')); import sys; "
        "print(*{'numpy', 'torch', 'click'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [version("factcensus"), "False"]


def test_program_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "factcensus", "--version"], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == (f"factcensus {version('factcensus')}\n", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"count", "index"}),
        ("index ", {"build", "verify"}),
        ("demo --preset ", {"smoke", "gpu"}),
        ("cooc i --subj", {"--subject", "--subject-alias"}),
    ],
)
def test_shell_completes_commands_options_and_values(
    words: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"factcensus {words}"
    monkeypatch.setenv("_FACTCENSUS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    assert main([]) == 0
    assert expected <= {row.partition(",")[2] for row in capsys.readouterr().out.splitlines()}


def test_shell_completes_file_names_for_every_path() -> None:
    missing = [
        " ".join((*words, *parameter.opts))
        for words, command in ALL.items()
        for parameter in command.params
        if re.search(r"\b(file|folder|table)\b", getattr(parameter, "help", None) or "")
        and parameter.type.name in ("text", "place", "file", "path")
        and parameter.metavar
        not in ("A=B", "ADDRESS", "ANALYZER", "COLUMN", "FIELD", "KEY=VALUE", "NAME", "SQL", "URL")
        and {item.type for item in parameter.shell_complete(click.Context(command), "x")} != {"file"}
    ]
    assert not missing


def test_completion_script_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_FACTCENSUS_COMPLETE", "zsh_source")
    assert main([]) == 0
    assert "#compdef factcensus" in capsys.readouterr().out


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted((ROOT / "docs").glob("**/*.md"))]


def documented() -> Iterator[tuple[str, str]]:
    """Yield every command line in help examples and in code blocks of pages, with its place."""
    for words, command in ALL.items():
        for line in getattr(command, "example", "").splitlines():
            yield "help of " + " ".join(words), line
    for page in PAGES:
        for block in re.findall(
            r"^```(?:sh|bash|console|)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
        ):
            for line in block.replace("\\\n", " ").splitlines():
                yield str(page.relative_to(ROOT)), line


def called(line: str) -> list[str] | None:
    """Return the words after ``factcensus`` in a shell line, without redirections; None for other lines."""
    found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ +)*factcensus +(.*)", line)
    if not found or re.search(r"\[--|\w\|\w", line):
        return None
    lexer = shlex.shlex(found[1], posix=True, punctuation_chars="|>&;")
    lexer.whitespace_split = True
    return list(itertools.takewhile(lambda word: word[0] not in "|>&;", filter(None, lexer)))


DOCUMENTED = [(place, line) for place, line in documented() if called(line)]


@pytest.mark.parametrize(
    ("place", "line"), DOCUMENTED, ids=[f"{place}: {line.strip()}"[:90] for place, line in DOCUMENTED]
)
def test_documented_command_line_exists(place: str, line: str) -> None:
    words = called(line) or []
    group: click.Group = build_root()
    context = click.Context(group, info_name="factcensus")
    while True:
        command = group.get_command(context, words[0])
        assert command is not None, f"{place}: {line}"
        if not isinstance(command, click.Group):
            break
        group, words = command, words[1:]
    command.make_context(words[0], words[1:], parent=context).close()


def test_pages_and_help_have_command_lines_to_check() -> None:
    assert len(DOCUMENTED) > len(ALL)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["count", "", "Paris"], "INDEX is empty; give a path"),
        (["index", "build", "c", "--out", ""], "--out is empty; give a path"),
        (["facts", "stratify", "", "--out", "o.csv"], "COUNTS is empty; give a path"),
        (["facts", "count", "f.csv", "--index", "", "--out", "o.csv"], "--index or --scan is empty"),
        (["report", "", "--out", "r.html"], "is empty; give a path"),
    ],
)
def test_empty_path_is_not_the_working_directory(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
