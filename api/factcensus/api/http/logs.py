"""The log format of the service: one line of text or one JSON object per entry."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from time import monotonic

import orjson

from factcensus.indexer.system import progress

#: Names in the ``extra`` of a log call that become fields of the JSON object.
FIELDS = ("request_id", "method", "path", "route", "status", "milliseconds", "holder")


#: Loggers whose entries clients can cause in any number.
BOUNDED = frozenset({"asyncio", "uvicorn.error", "factcensus.api.http.connections"})
#: Maximum number of kinds of entries that are tracked.
MOST_KINDS = 1000


class JsonLines(logging.Formatter):
    """Formats entries as JSON: time, level, logger, worker, message, fields of the request, and traceback."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an entry."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._worker,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if getattr(record, name, None) not in (None, "")},
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        # A lone surrogate cannot be encoded as UTF-8, so it is shown as an escape.
        plain = {
            name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
            for name, value in entry.items()
        }
        return orjson.dumps(plain, default=str).decode()


class Bounded(logging.Filter):
    """Passes a few entries of each kind per period, and reports the number of dropped entries.

    The server and the event loop log a traceback for every invalid request and refused connection. Clients could cause
    megabytes of log per second without this limit.
    """

    def __init__(self, most: int = 5, seconds: float = 10.0) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        #: Start of the period and its number of entries, by logger and message.
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
                record.msg = f"{record.msg} ({number - self._most} more entries like this were dropped)"
            if len(self._periods) >= MOST_KINDS:
                self._periods.clear()
            began, number = now, 0
        self._periods[kind] = (began, number + 1)
        return number < self._most


def notify(text: str) -> None:
    """Write a message that every log level shows: an entry if the log is in JSON, otherwise a line of the program."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonLines):
            record = logging.makeLogRecord(
                {"name": "factcensus.api", "levelno": logging.INFO, "levelname": "INFO", "msg": text}
            )
            print(handler.formatter.format(record), file=sys.stderr, flush=True)
            return
    progress.to_stderr(text)


def set_up(level: str, format: str, worker: int | None = None) -> None:
    """Send all entries of at least a level to stderr, with the number of the worker if there are several."""
    handler = logging.StreamHandler(sys.stderr)
    number = "" if worker is None else f" [{worker}]"
    handler.setFormatter(
        JsonLines(worker) if format == "json" else logging.Formatter(f"%(asctime)s %(levelname)s{number} %(message)s")
    )
    handler.addFilter(Bounded())
    # No format here has the place in the code, the thread or the process, and finding them takes a fifth of an entry.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level.upper(), handlers=[handler])
    progress.notify = notify
    # Of the messages of the server itself, only warnings and errors are useful.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
