"""How the service's log looks: a line of text, or a JSON object a line, an entry."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from time import monotonic

import orjson

#: What a log call may say in its ``extra``, and a JSON line has as fields of their own.
FIELDS = ("request_id", "method", "path", "route", "status", "milliseconds", "holder")


#: Loggers whose entries clients can cause without end.
BOUNDED = frozenset({"asyncio", "uvicorn.error", "factcensus.api.http.connections"})
#: Kinds of entries that are remembered.
MOST_KINDS = 1000


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what is known of the request, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of an entry."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if getattr(record, name, None) not in (None, "")},
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        # A lone surrogate in a message would be no UTF-8: it is shown as an escape.
        plain = {
            name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
            for name, value in entry.items()
        }
        return orjson.dumps(plain, default=str).decode()


class Bounded(logging.Filter):
    """Lets a few entries of a kind through per period, and says how many more there were.

    What clients can cause again and again (invalid requests, connections that are refused) is logged by the server and
    the event loop once each time, with a traceback: without a bound that is megabytes a second.
    """

    def __init__(self, most: int = 5, seconds: float = 10.0) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        #: By logger and message: when the period began, and the entries in it.
        self._periods: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether an entry may be logged."""
        if record.name not in BOUNDED:
            return True
        kind = (record.name, str(record.msg)[:200])
        began, number = self._periods.get(kind, (float("-inf"), 0))
        now = monotonic()
        if now - began >= self._seconds:
            if number > self._most:
                record.msg = f"{record.msg} ({number - self._most} more like this were left out)"
            if len(self._periods) >= MOST_KINDS:
                self._periods.clear()
            began, number = now, 0
        self._periods[kind] = (began, number + 1)
        return number < self._most


def set_up(level: str, format: str) -> None:
    """Send all entries from a level on to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    handler.addFilter(Bounded())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # What the server says of itself is seldom news; its errors are.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
