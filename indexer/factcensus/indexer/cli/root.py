"""The root command ``factcensus``, which finds the commands of every part, runs one, and reports errors in one line.

Each part registers a function in the entry-point group ``factcensus.commands``, which takes the root
:class:`click.Group` and adds the commands of the part. Modules of commands import nothing heavy at the top, so that
``--help`` stays fast; a command imports its dependencies inside its function.

Exit codes: 0 success, 1 failure, 2 wrong usage or input, 3 verification failed, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version

import click

from factcensus.indexer.cli.command import Group
from factcensus.indexer.environment import DEBUG, check_environment
from factcensus.indexer.errors import FactcensusError, MissingExtraError
from factcensus.indexer.system import progress
from factcensus.indexer.system.files import full_disk

#: Import names of optional libraries, each with the extra that installs it.
EXTRA_OF_MODULE = {
    "fastapi": "api",
    "uvicorn": "api",
    "starlette": "api",
    "jinja2": "api",
    "prometheus_client": "api",
    "httpx": "api",
    "torch": "unlearn",
    "transformers": "unlearn",
    "accelerate": "unlearn",
    "peft": "unlearn",
    "pydantic": "unlearn",
    "yaml": "unlearn",
    "scipy": "eval",
    "statsmodels": "eval",
    "matplotlib": "plot",
    "rouge_score": "eval",
    "pandas": "eval",
    "infini_gram": "engine",
}

#: Commands outside any group, in the order of the help.
EVERYDAY = ("count", "cooc", "documents", "trace", "serve", "report", "demo", "reproduce")

#: The variable that shells set to request completions (see docs/index.md).
COMPLETE_VARIABLE = "_FACTCENSUS_COMPLETE"


class RootGroup(Group):
    """The root command, whose help lists the everyday commands first."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names: everyday commands first, then groups."""
        everyday = [name for name in EVERYDAY if name in self.commands]
        return [*everyday, *(name for name in self.commands if name not in EVERYDAY)]

    def write_all_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the everyday commands and the groups."""
        names = self.list_commands(ctx)
        self.write_commands(formatter, "everyday commands", [name for name in names if name in EVERYDAY], ctx)
        self.write_commands(formatter, "other commands", [name for name in names if name not in EVERYDAY], ctx)


def build_root() -> RootGroup:
    """Return the root command with the commands of every installed part."""
    root = RootGroup(
        name="factcensus",
        help="Count facts in pre-training corpora exactly, and measure unlearning against the counts.",
        no_args_is_help=False,
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    )
    show_version = click.version_option(version("factcensus"), prog_name="factcensus", message="%(prog)s %(version)s")
    show_version(root)
    for entry_point in sorted(entry_points(group="factcensus.commands"), key=lambda entry: entry.name != "indexer"):
        entry_point.load()(root)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Paths may not be valid UTF-8. Escapes avoid an error when printing them, and JSON stays valid.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if argv is None else list(argv)
    progress.compiling_is_silent = argv is not None
    root = build_root()
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, "factcensus", COMPLETE_VARIABLE, instruction)
    try:
        with root.make_context("factcensus", arguments) as context:
            check_environment(os.environ)
            return root.invoke(context) or 0
    except click.exceptions.Exit as done:  # --help and --version
        return done.exit_code
    except click.ClickException as error:
        return _report_usage(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        progress.to_stderr("interrupted")
        return 130
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _report(error)


def _report_usage(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "factcensus"
    message = " ".join(error.format_message().split())
    print(f"{path}: error: {message} (see '{path} --help')", file=sys.stderr)
    return error.exit_code


def _report(error: Exception) -> int:
    """Print an error in one line and return its exit code."""
    progress.end_line()
    module = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if module and (extra := EXTRA_OF_MODULE.get(module.partition(".")[0])):
        error = MissingExtraError(module, extra)
    if not isinstance(error, FactcensusError):
        then = "results redirected to a file may be incomplete; all other files appear whole or not at all"
        error = full_disk(error, "the disk", then) or error
    if isinstance(error, FactcensusError):
        print(f"factcensus: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError):
        print(f"factcensus: error: {error}", file=sys.stderr)
        return 1
    print(
        f"factcensus: unexpected {type(error).__name__}: {' '.join(str(error).split())} "
        f"(set {DEBUG}=1 for the traceback)",
        file=sys.stderr,
    )
    return 1
