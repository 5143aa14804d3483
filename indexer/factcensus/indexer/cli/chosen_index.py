"""The argument INDEX, a folder or URLs, with the options of commands that read an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.command import Function, argument, option
from factcensus.indexer.cli.options import PATH, PLACE, Whole, notice
from factcensus.indexer.errors import InputError

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.system.places import Place

REMOTE = "options of an index at a URL"
#: The argument of commands that change or verify an index.
folder_argument = argument("index", type=PATH, metavar="INDEX", help="an index folder")
_NAMES = ("analyzer", "also", "requester_pays", "anonymous", "most_requests")


def refuse_remote_options(requester_pays: bool, anonymous: bool, most_requests: int | None) -> None:
    """Refuse options that have no effect on a local folder.

    Raises:
        InputError: One is given.
    """
    given = {"requester-pays": requester_pays, "anonymous": anonymous, "most-requests": most_requests is not None}
    for name in (name for name, value in given.items() if value):
        raise InputError(f"--{name} has no effect on a local index; leave it out, or give the URL of an index")


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """The index that a command reads, as the user named it.

    Attributes:
        place: The folder or URL.
        analyzer: The analyzer of an index that does not name it.
        also: Further folders of the same corpus.
        requester_pays: Whether to agree to pay for requests to a bucket of another owner.
        anonymous: Whether to send no credentials.
        most_requests: Maximum number of requests of one query; None for the default.
    """

    place: Place
    analyzer: str | None = None
    also: tuple[Place, ...] = ()
    requester_pays: bool = False
    anonymous: bool = False
    most_requests: int | None = None

    @property
    def places(self) -> list[Place]:
        """All folders, with the way to access them.

        Raises:
            InputError: The protocol has no requester-pays option, or an option has no effect on local folders.
        """
        from factcensus.indexer.system.places import Access, Place

        if all(place.is_local for place in (self.place, *self.also)):
            refuse_remote_options(self.requester_pays, self.anonymous, self.most_requests)
        access = Access(anonymous=self.anonymous, requester_pays=self.requester_pays)
        return [Place.of(place.url, access) for place in (self.place, *self.also)]

    @contextmanager
    def open(self) -> Iterator[CountIndex]:
        """Open the index; at the end, report the reads of a remote index on stderr."""
        from factcensus.indexer.index import CountIndex
        from factcensus.indexer.opened import MOST_REQUESTS

        with CountIndex.open(
            self.places, analyzer=self.analyzer, most_requests=self.most_requests or MOST_REQUESTS
        ) as index:
            yield index
            if (used := index.usage()) is not None:
                asked, opening = used.asked, used.opening
                notice(
                    f"{self.place}: {asked.requests:,} requests in {asked.rounds} rounds, {asked.bytes:,} bytes "
                    f"(to open it: {opening.requests:,} requests, {opening.bytes:,} bytes)"
                )


def usage_of(index: CountIndex) -> dict[str, Any]:
    """Return the additional JSON field for a remote index: ``remote``, with its rounds, requests and bytes."""
    used = index.usage()
    return {} if used is None else {"remote": used.as_json()}


def index_options(function: Function) -> Function:
    """Add the options of an index to a command; the function receives them as they are."""
    added: Any = function
    for add in (
        option(
            "--most-requests",
            type=Whole(1),
            metavar="N",
            heading=REMOTE,
            default_text="100000",
            help="refuse a query that needs more than N requests",
        ),
        option("--anonymous", is_flag=True, heading=REMOTE, help="send no credentials"),
        option(
            "--requester-pays",
            is_flag=True,
            heading=REMOTE,
            help="agree to pay for requests to a requester-pays bucket",
        ),
        option(
            "--also",
            type=PLACE,
            multiple=True,
            metavar="URL",
            help="another folder of the same corpus, for indexes that infini-gram built; may be repeated",
        ),
    ):
        added = add(added)
    return added  # type: ignore[no-any-return]


analyzer_option = option(
    "--analyzer",
    metavar="ANALYZER",
    help="analyzer of an index that was built by infini-gram and does not name its analyzer",
)


def index_argument(function: Function) -> Function:
    """Add the argument ``INDEX`` with its options; the function receives an :class:`IndexChoice` as ``index``."""

    @wraps(function)
    def with_index(*, index: Place, **others: Any) -> Any:
        chosen = IndexChoice(index, **{name: others.pop(name) for name in _NAMES})
        return function(index=chosen, **others)

    folder = argument("index", type=PLACE, metavar="INDEX", help="an index folder or its URL")
    return folder(analyzer_option(index_options(with_index)))  # type: ignore[return-value]  # less some arguments
