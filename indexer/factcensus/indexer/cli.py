"""The root command ``factcensus``: finds every part's subcommands, runs one, turns errors into one line.

Parts bring their commands through the entry-point group ``factcensus.commands``; each is a function that takes
the subparsers and calls :func:`add_command`. Their modules import nothing heavy at the top, so ``--help`` stays
quick; what a command needs is imported in its function.

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 verification failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from typing import Any, NoReturn

from factcensus.indexer.errors import FactcensusError, MissingExtraError

#: Import names of optional libraries, and the extra that brings each.
EXTRA_OF_MODULE = {
    "fastapi": "api", "uvicorn": "api", "starlette": "api", "jinja2": "api", "prometheus_client": "api",
    "httpx": "api",
    "torch": "unlearn", "transformers": "unlearn", "accelerate": "unlearn", "peft": "unlearn",
    "pydantic": "unlearn", "yaml": "unlearn",
    "scipy": "eval", "statsmodels": "eval", "matplotlib": "eval", "rouge_score": "eval", "pandas": "eval",
    "infini_gram": "engine",
}  # fmt: skip

Subparsers = Any  # argparse's own type for this is private


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names the command, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see '{self.prog} --help')\n")


def add_group(subparsers: Subparsers, name: str, help: str) -> Subparsers:
    """A noun that takes a verb, such as ``index``: returns the subparsers for its verbs."""
    parser = subparsers.add_parser(name, help=help, description=help)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)


def add_command(
    subparsers: Subparsers, name: str, run: Callable[[argparse.Namespace], int | None], *, help: str, example: str
) -> argparse.ArgumentParser:
    """One command: what it does, a worked example, and the function that does it (its result is the exit code)."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=help,
        epilog="example:\n  " + example.strip().replace("\n", "\n  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def build_parser() -> argparse.ArgumentParser:
    """The whole command tree."""
    parser = _Parser(
        prog="factcensus",
        description="Exact counts of facts in pre-training corpora, and unlearning measured against them.",
    )
    parser.add_argument("--version", action="version", version=f"factcensus {version('factcensus')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for entry_point in sorted(entry_points(group="factcensus.commands"), key=lambda entry: entry.name != "indexer"):
        entry_point.load()(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path need not be UTF-8. As an escape, what cannot be printed is no error, and JSON stays JSON.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("factcensus: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("FACTCENSUS_DEBUG"):
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Print one line about an error; the exit code it stands for."""
    module = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if module and (extra := EXTRA_OF_MODULE.get(module.partition(".")[0])):
        error = MissingExtraError(module, extra)
    if isinstance(error, FactcensusError):
        print(f"factcensus: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError):
        print(f"factcensus: error: {error}", file=sys.stderr)
        return 1
    print(
        f"factcensus: unexpected {type(error).__name__}: {' '.join(str(error).split())} "
        "(set FACTCENSUS_DEBUG=1 for the traceback)",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
