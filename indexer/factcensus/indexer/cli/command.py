"""The building blocks of every command: subclasses of click's classes that enforce the same rules everywhere.

- An unknown command or option raises an error that suggests the most similar known name. It is reported before any
  missing argument.
- Giving a single-value option twice is an error.
- Options cannot be abbreviated. The help shows arguments, groups of options and a worked example.

A command is a function with decorators for its options::

    @command("count", example='factcensus count indexes/wiki "capital of France"')
    @argument("text", metavar="TEXT", help="the text to count")
    @option("--by", metavar="COLUMN", help="also show the counts of each value of this column")
    def count(text: str, by: str | None) -> None:
        \"\"\"Count a text: its occurrences, and the documents that contain it.\"\"\"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from factcensus.indexer.names import nearest, suggestion

Function = TypeVar("Function", bound=Callable[..., Any])


class Argument(click.Argument):
    """A positional argument with a help text."""

    def __init__(self, param_decls: Sequence[str], help: str = "", **attributes: Any) -> None:
        super().__init__(param_decls, **attributes)
        self.help = help


class Option(click.Option):
    """An option that takes one value, unless ``multiple`` allows it to be repeated.

    Args:
        heading: Title of the section of the help in which the option is listed.
        several: The option also takes several values at once (``--scan A B``); implies ``multiple``.
        default_text: The default as shown in the help, if it differs from the value of the default.
    """

    def __init__(
        self,
        param_decls: Sequence[str],
        *,
        help: str,
        heading: str = "options",
        several: bool = False,
        default_text: str = "",
        **attributes: Any,
    ) -> None:
        multiple = attributes.pop("multiple", several)
        shown = default_text or attributes.get("default")
        super().__init__(
            param_decls,
            help=f"{help} (default: {shown})" if shown not in (None, ()) else help,
            multiple=multiple,
            show_default=False,
            **attributes,
        )
        self.heading = heading
        self.several = several


class Command(click.Command):
    """A command that reports wrong usage in one line.

    Args:
        example: One or more complete command lines, shown at the end of the help.
        exclusive: Groups of option names of which at most one may be given.
        one_of: Groups of option names of which exactly one must be given.
        needs: Names of options that only have an effect with another option, each with the name of the other.
    """

    def __init__(
        self,
        *arguments: Any,
        example: str = "",
        exclusive: Sequence[Sequence[str]] = (),
        one_of: Sequence[Sequence[str]] = (),
        needs: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.example = example
        self.one_of = one_of
        self.exclusive = (*exclusive, *one_of)
        self.needs = needs or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Check the whole command line, then let click convert the values."""
        args = self._with_each_value_named(args)
        if not ctx.resilient_parsing:  # while a shell completes it, the command line is unfinished
            self._check(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or refuse options that would have no effect."""
        given = {
            name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        }
        names = {each.name: spelling(each) for each in self.params}
        for name, needed in self.needs.items():
            if name in given and needed not in given:
                raise click.UsageError(f"{names[name]} has no effect without {names[needed]}", ctx)
        return super().invoke(ctx)

    def _with_each_value_named(self, args: Sequence[str]) -> list[str]:
        """Write ``--scan A B`` as ``--scan A --scan B``."""
        several = {name for each in self.params if isinstance(each, Option) and each.several for name in each.opts}
        named: list[str] = []
        current: str | None = None
        values = 0
        for position, word in enumerate(args):
            if word == "--":
                return [*named, *args[position:]]
            if word.startswith("-"):
                current, values = (word if word in several else None), 0
            elif current is not None:
                named += [current] if values else []
                values += 1
            named.append(word)
        return named

    def _check(self, ctx: click.Context, args: Sequence[str]) -> None:
        values, extra, order = explain_unknown_options(self, ctx, args)
        if any(given.is_eager for given in order):  # --help works despite other errors
            return
        for given in order:
            single = isinstance(given, Option) and not (given.multiple or given.is_flag or given.count)
            if single and order.count(given) > 1:
                raise click.UsageError(f"{spelling(given)} is given {order.count(given)} times; give it once", ctx)
        self._check_no_value_is_an_option(ctx, values, args)
        spellings = {each.name: spelling(each) for each in order if isinstance(each, click.Option)}
        for group in self.exclusive:
            if len(both := [spellings[name] for name in group if name in spellings]) > 1:
                raise click.UsageError(f"{' and '.join(both)} cannot be combined; give only one of them", ctx)
        missing = [
            each for each in self.get_params(ctx) if each.required and not _is_given(values.get(each.name or ""))
        ]
        if missing:
            raise click.UsageError(f"missing {', '.join(_usage(each, ctx) for each in missing)}", ctx)
        for group in self.one_of:
            if not spellings.keys() & group:
                options = [_usage(each, ctx) for each in self.params if each.name in group]
                raise click.UsageError(f"missing {' or '.join(options)}", ctx)
        if extra:
            raise click.UsageError(f"unexpected argument {extra[0]!r}", ctx)

    def _check_no_value_is_an_option(self, ctx: click.Context, values: dict[str, Any], args: Sequence[str]) -> None:
        """Refuse ``--by --json``: the value is missing, and click would use the next option as the value."""
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        known = {name for each in options for name in each.opts}
        for each in options:
            given = values.get(each.name or "")
            for value in given if isinstance(given, list) else [given]:
                if (
                    isinstance(value, str)
                    and value in known
                    and not any(f"{name}={value}" in args for name in each.opts)
                ):
                    name = spelling(each)
                    raise click.UsageError(
                        f"{name} needs a value, got the option {value} (if that is the value, write {name}={value})",
                        ctx,
                    )

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, purpose, arguments, options by section, and the example."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        arguments = [each for each in self.params if isinstance(each, Argument)]
        if arguments:
            with formatter.section("arguments"):
                formatter.write_dl([(" ".join(each.get_usage_pieces(ctx)), each.help or "") for each in arguments])
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record is not None and isinstance(each, click.Option):
                sections.setdefault(getattr(each, "heading", "options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        if self.example:
            formatter.write("\nexample:\n" + "".join(f"  {line}\n" for line in self.example.strip().splitlines()))


class Group(click.Group):
    """A group of commands, such as ``index``, which lists its commands in the order in which they were added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names in the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Report an unknown option or a missing command, then let click parse the rest."""
        if not ctx.resilient_parsing:
            explain_unknown_options(self, ctx, args)
            if not args:
                raise click.UsageError(f"missing command; known: {', '.join(self.list_commands(ctx))}", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or raise an error that suggests the most similar one."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"unknown command {args[0]!r}{self._suggestion(ctx, args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        names = self.list_commands(ctx)
        deeper = {
            verb: f"{noun} {verb}"
            for noun in names
            if isinstance(group := self.get_command(ctx, noun), click.Group)
            for verb in group.list_commands(ctx)
        }
        if nearest(name, names) is None and name in deeper:
            return f"; did you mean {deeper[name]!r}?"
        return suggestion(name, names)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, purpose, options and commands."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        with formatter.section("options"):
            records = [each.get_help_record(ctx) for each in self.get_params(ctx)]
            formatter.write_dl([record for record in records if record is not None])
        self.write_all_commands(ctx, formatter)

    def write_all_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all commands to the help."""
        self.write_commands(formatter, "commands", self.list_commands(ctx), ctx)

    def write_commands(
        self, formatter: click.HelpFormatter, heading: str, names: Iterable[str], ctx: click.Context
    ) -> None:
        """Write one section of commands, each with the first sentence of its help."""
        found = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
        with formatter.section(heading):
            formatter.write_dl([(name, command.get_short_help_str(limit=100)) for name, command in found])


def option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Add an option to a command; takes the arguments of :func:`click.option` and :class:`Option`."""
    return click.option(*names, cls=Option, **attributes)


def argument(name: str, **attributes: Any) -> Callable[[Function], Function]:
    """Add a positional argument to a command; takes the arguments of :func:`click.argument` and :class:`Argument`."""
    return click.argument(name, cls=Argument, **attributes)


def command(name: str, *, example: str, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Turn a function into a command; its docstring becomes the help, and its result, if any, the exit code."""
    return click.command(name, cls=Command, example=example, **attributes)


def group(name: str, help: str, commands: Iterable[click.Command]) -> Group:
    """Return a group with these commands."""
    made = Group(name, help=help, no_args_is_help=False)
    for each in commands:
        made.add_command(each)
    return made


def spelling(parameter: click.Parameter) -> str:
    """Return the name of a parameter for messages, such as ``--window`` or ``INDEX``."""
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name


def explain_unknown_options(
    command: click.Command, ctx: click.Context, args: Sequence[str]
) -> tuple[dict[str, Any], list[str], list[click.Parameter]]:
    """Parse the arguments without converting values, and suggest a known name for an unknown option.

    Returns:
        Values by parameter name, leftover arguments, and the parameters in the order in which they were given.

    Raises:
        click.UsageError: An option is unknown, lacks its value, or is a flag with a value.
    """
    options = [each for each in command.get_params(ctx) if isinstance(each, click.Option)]
    names = [name for each in options for name in (*each.opts, *each.secondary_opts)]
    try:
        return command.make_parser(ctx).parse_args(args=list(args))
    except click.NoSuchOption as error:
        name = error.option_name
        raise click.UsageError(f"unknown option {name!r}{_hint(command, ctx, name, names)}", ctx) from error
    except click.BadOptionUsage as error:
        is_flag = any(each.is_flag for each in options if error.option_name in each.opts)
        raise click.UsageError(f"{error.option_name} {'takes no' if is_flag else 'needs a'} value", ctx) from error


def _hint(command: click.Command, ctx: click.Context, name: str, names: Sequence[str]) -> str:
    """Return what to write instead of an unknown option."""
    if not name.startswith("--"):
        return "; write -- before a value that begins with '-'"
    arguments = [each for each in command.get_params(ctx) if isinstance(each, click.Argument)]
    if any(each.name == name[2:].replace("-", "_") for each in arguments):
        return f"; write {' '.join([ctx.command_path, *(_usage(each, ctx) for each in arguments)])}"
    return suggestion(name, names)


def _is_given(value: object) -> bool:
    """Return whether the parser found a value; versions of click mark missing values differently."""
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and bool(value))


def _usage(parameter: click.Parameter, ctx: click.Context) -> str:
    if isinstance(parameter, click.Option):
        return f"{parameter.opts[0]} {parameter.metavar or ''}".rstrip()
    return " ".join(parameter.get_usage_pieces(ctx))
