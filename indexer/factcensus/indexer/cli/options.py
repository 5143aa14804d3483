"""Values and options that several commands share: numbers, sizes, names, paths, indexes and scopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import click

from factcensus.indexer.cli.command import Function, option, spelling
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import nearest
from factcensus.indexer.numbers import decimal_number, parse_size, whole_number
from factcensus.indexer.paths import check_output_file, check_output_folder
from factcensus.indexer.system.progress import to_stderr

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from factcensus.indexer.counting.deadline import Deadline
    from factcensus.indexer.counting.scope import Scope
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.system.places import Place

    ParamType: TypeAlias = click.ParamType[Any]
    BaseChoice: TypeAlias = click.Choice[str]
else:  # in older versions of click, these classes take no type parameter
    ParamType, BaseChoice = click.ParamType, click.Choice


def complete_path(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the names of files and folders, for a text that may be a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


class AnyPath(click.Path):
    """A local path.

    An empty text, such as from an unset variable, is refused rather than read as the folder ``.``. So is a URL, which
    would be read as a folder that does not exist.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        from factcensus.indexer.system.places import Place, is_url

        if value == "":
            raise click.UsageError(f"{_name(param)} is empty; give a path", ctx)
        if isinstance(value, str) and is_url(value):
            try:
                place = Place.of(value)
            except InputError as error:
                raise click.UsageError(f"{_name(param)}: {error}", ctx) from None
            if not place.is_local:
                raise click.UsageError(
                    f"{_name(param)}: {place} is a URL, but this command needs a local path; copy it to this machine",
                    ctx,
                )
            value = str(place.path)
        return super().convert(value, param, ctx)


#: A path that the command reads or writes; the library that opens it reports errors.
PATH = AnyPath()


class PlaceType(ParamType):
    """A local path or a URL; a URL of an unknown protocol is refused before any work starts.

    Args:
        check: A function that raises InputError for a local path that cannot be written.
    """

    name = "place"

    def __init__(self, check: Callable[[Path], None] = lambda _path: None) -> None:
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Return the place."""
        from factcensus.indexer.system.places import Place

        if value == "":
            raise click.UsageError(f"{_name(param)} is empty; give a path or a URL", ctx)
        try:
            place = Place.of(value)
            if place.is_local:
                self._check(place.path)
        except InputError as error:
            raise click.UsageError(f"{_name(param)}: {error}", ctx) from None
        return place

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete the names of files and folders."""
        return complete_path(ctx, param, incomplete)


#: A path or URL that the command reads or writes; a table or an index that it writes.
PLACE, OUTPUT_TABLE, OUTPUT_INDEX = PlaceType(), PlaceType(check_output_file), PlaceType(check_output_folder)


class Output(AnyPath):
    """An output path; a folder given for a file, or a file for a folder, is refused before any work starts.

    Args:
        check: A function that raises InputError for a path that cannot be written.
    """

    def __init__(self, check: Callable[[Path], None]) -> None:
        super().__init__()
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        from factcensus.indexer.system.places import Place

        try:
            if value != "":
                if not (place := Place.of(value)).is_local:
                    raise InputError(f"{place} is a URL, but this output must be a local path; give one")
                self._check(place.path)
        except InputError as error:
            raise click.UsageError(f"{_name(param)}: {error}", ctx) from None
        return super().convert(value, param, ctx)


OUTPUT_FILE, OUTPUT_FOLDER = Output(check_output_file), Output(check_output_folder)


class Value(ParamType):
    """A type of option value; its error message names the option, the expected value and the actual one.

    Attributes:
        expected: The end of the sentence "--window must be …".
    """

    name = "value"
    expected = ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a text to a value; a default that is not a text is returned unchanged.

        Raises:
            click.UsageError: The text is not a valid value.
        """
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except ValueError:
            raise click.UsageError(f"{_name(param)} must be {self.expected}, got {value!r}", ctx) from None

    def read(self, text: str) -> Any:
        """Convert a text to a value, or raise ValueError."""
        raise NotImplementedError


class Whole(Value):
    """An integer of at least ``least`` and at most ``most``."""

    name = "integer"

    def __init__(self, least: int = 0, most: int | None = None) -> None:
        self.least, self.most = least, most
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        self.expected = f"an integer {bounds}"

    def read(self, text: str) -> int:
        """Convert a text of ASCII digits only; ``1_000`` and ``１`` are refused."""
        return whole_number(text, self.least, self.most)


class Number(Value):
    """A decimal number greater than ``above`` and less than ``below``."""

    name = "number"

    def __init__(self, what: str, above: float, below: float) -> None:
        self.above, self.below = above, below
        self.expected = what

    def read(self, text: str) -> float:
        """Convert a text to a number; infinity and NaN are never between the bounds."""
        number = decimal_number(text)
        if not self.above < number < self.below:
            raise ValueError
        return number


class ShardRange(Value):
    """A range ``A-B`` of shard numbers, inclusive; ``A`` alone is one shard."""

    name = "shards"
    expected = "a range A-B of shard numbers with A at most B, such as 0-3"

    def read(self, text: str) -> tuple[int, int]:
        """Convert a text to (first, last)."""
        first, _, last = text.partition("-")
        ends = Whole().read(first), Whole().read(last or first)
        if ends[0] > ends[1] or text.endswith("-"):
            raise ValueError
        return ends


class TokenRange(Value):
    """A range ``FIRST:LAST`` of token positions; FIRST may be omitted."""

    name = "range"
    expected = "a range FIRST:LAST of tokens with FIRST at most LAST"

    def read(self, text: str) -> tuple[int, int]:
        """Convert a text to (first, last)."""
        first, _, last = text.partition(":")
        begin = whole_number(first or "0")
        return begin, whole_number(last, least=begin)


class Size(Value):
    """A size in bytes, written as in 8GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert a text such as ``8GiB`` to bytes."""
        try:
            return parse_size(value) if isinstance(value, str) else int(value)
        except InputError as error:
            raise click.UsageError(f"{_name(param)}: {error}", ctx) from None


class Names(Value):
    """Names separated by commas; repeated names are dropped.

    Args:
        known: A function that returns the names that exist; None allows any name.
    """

    name = "names"
    expected = "names separated by commas"

    def __init__(self, known: Callable[[], Sequence[str]] | None = None) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the names as a tuple."""
        names = super().convert(value, param, ctx)
        if self._known is not None and isinstance(value, str):
            known = self._known()
            for name in names:
                if name not in known:
                    _refuse(name, known, param, ctx)
        return names

    def read(self, text: str) -> tuple[str, ...]:
        """Split a text into at least one name, or raise ValueError."""
        names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if not names:
            raise ValueError
        return names


class Choice(BaseChoice):
    """One of a fixed set of names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        if value not in self.choices:
            _refuse(value, tuple(self.choices), param, ctx)
        return str(value)


def _refuse(name: str, known: Sequence[str], param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
    near = nearest(name, known)
    hint = f"; did you mean {near!r}?" if near is not None else ""
    raise click.UsageError(f"{_name(param)} must be one of {', '.join(known)}, got {name!r}{hint}", ctx)


def _name(param: click.Parameter | None) -> str:
    return "the value" if param is None else spelling(param)


SECONDS = Number("a number of seconds above 0 and below 1e9", 0, 1e9)

json_option = option("--json", "as_json", is_flag=True, help="print one JSON object instead of text")


def machine_options(function: Function) -> Function:
    """Add ``--jobs``, ``--memory``, ``--shard-tokens`` and ``--device`` to a command that builds shards."""
    shard_tokens = option(
        "--shard-tokens",
        type=Whole(1, (1 << 32) - 2),
        metavar="N",
        default_text="as many as fit in memory",
        help="maximum number of tokens of a shard",
    )
    return sort_options(shard_tokens(function))


def sort_options(function: Function) -> Function:
    """Add ``--jobs``, ``--memory`` and ``--device`` to a command that writes shards of a given size."""
    for add in (
        option("--device", default="auto", metavar="DEVICE", help="device for sorting: cpu, cuda, or auto"),
        option("--memory", "memory_bytes", type=Size(), default="8GiB", metavar="SIZE", help="total memory limit"),
        option(
            "--jobs", type=Whole(1), metavar="N", default_text="all processors", help="number of processes and threads"
        ),
    ):
        function = add(function)
    return function


@dataclass(frozen=True, slots=True)
class ScopeChoice:
    """The documents to count, the groups to show, and the deadline of a command."""

    no_duplicates: bool
    upto_document: int | None
    tokens: tuple[int, int] | None
    where: str | None
    deadline: float | None
    by: str | None = None
    order: Place | None = None

    def ordered(self, index: CountIndex) -> CountIndex:
        """Return an index after giving it the training order, if there is one."""
        if self.order is not None:
            from factcensus.indexer.tables.orders import read_order

            index.use_order(read_order(self.order))
        return index

    def scope(self) -> Scope:
        """Return the scope to pass to the index."""
        from factcensus.indexer.counting.scope import Scope

        return Scope(
            duplicates=not self.no_duplicates,
            documents=None if self.upto_document is None else (0, self.upto_document),
            tokens=self.tokens,
            where=self.where,
        )

    def timed(self) -> Deadline:
        """Return the deadline as a context manager that starts its clock."""
        from factcensus.indexer.counting.deadline import Deadline

        return Deadline(self.deadline)


def scope_options(*, by: bool = True, steps: bool = True) -> Callable[[Function], Function]:
    """Return a decorator that adds ``--by``, the scope options and ``--deadline``.

    The function receives a :class:`ScopeChoice`.

    Args:
        by: Whether the command groups what it counts.
        steps: Whether it can group counts by training step, with ``--order``.
    """
    heading = "documents to count (default: all except deleted ones)"
    options = [
        option(
            "--where",
            metavar="SQL",
            heading=heading,
            help="only documents that meet this condition over the document table",
        ),
        option(
            "--tokens",
            type=TokenRange(),
            metavar="FIRST:LAST",
            heading=heading,
            help="only documents that begin at these token positions of the corpus",
        ),
        option(
            "--upto-document",
            type=Whole(1),
            metavar="N",
            heading=heading,
            help="only the first N documents of the corpus, such as those a training run has seen",
        ),
        option(
            "--no-duplicates",
            is_flag=True,
            heading=heading,
            help="exclude documents with the same text as an earlier document",
        ),
        option("--deadline", type=SECONDS, metavar="SECONDS", help="abort after SECONDS"),
    ]
    if by and steps:
        options.append(
            option(
                "--order",
                type=PLACE,
                metavar="TABLE",
                help="training order for --by step:N: a table with step, and either id or path and record",
            )
        )
    if by:
        grouped = "also show the counts of each source, or of each value of another column or metadata field"
        options.append(
            option(
                "--by",
                metavar="COLUMN",
                help=f"{grouped}; step:N shows the counts after every N training steps" if steps else grouped,
            )
        )

    def add(function: Function) -> Function:
        @wraps(function)
        def with_scope(**given: Any) -> Any:
            choice = ScopeChoice(
                **{name: given.pop(name) for name in ScopeChoice.__dataclass_fields__ if name in given}
            )
            _check_steps(choice, steps=steps)
            return function(scope=choice, **given)

        added: Any = with_scope
        for each in options:
            added = each(added)
        return added  # type: ignore[no-any-return]

    return add


def _check_steps(choice: ScopeChoice, *, steps: bool) -> None:
    """Check that a grouping by training steps has their order, and is possible.

    Raises:
        InputError: The order or the grouping is missing, or the command shows no counts.
    """
    from factcensus.indexer.counting.steps import steps_of

    by_step = steps_of(choice.by) is not None
    if by_step and not steps:
        raise InputError("--by step:N shows counts, not documents; use it with 'factcensus count' or 'cooc'")
    if by_step != (choice.order is not None):
        raise InputError("--by step:N needs --order TABLE, and --order needs --by step:N; give both")


def strings_options(function: Function) -> Function:
    """Add the options that find a string in the original texts: ``verbatim``, ``normalise`` and ``region``."""
    for add in (
        option(
            "--region",
            metavar="CC",
            help="country of a phone number without a country code, as two letters such as DE",
        ),
        option(
            "--normalise",
            type=Choice(["phone", "email", "digits"]),
            help="treat the text as a number or address, and find its usual spellings",
        ),
        option(
            "--verbatim",
            is_flag=True,
            help="find the text exactly as written, not as part of a longer word, number or address; needs an index "
            "built with --keep-text",
        ),
    ):
        function = add(function)
    return function


def columns_option(function: Function) -> Function:
    """Add ``--columns``; the function receives a dict from new names to the names in the table."""

    @wraps(function)
    def with_columns(*, columns: tuple[str, ...], **others: Any) -> Any:
        from factcensus.indexer.tables.columns import parse_columns

        return function(columns=parse_columns(columns), **others)

    add = option(
        "--columns",
        multiple=True,
        metavar="A=B",
        help="rename columns of the table: subject=head,object=tail reads 'head' as 'subject'; may be repeated",
    )
    return add(with_columns)  # type: ignore[return-value]  # the same function, with a dict for the texts


def notice(message: str) -> None:
    """Print a line to stderr for the user."""
    to_stderr(message)
