"""How the service's log looks: a line of text, or a JSON object a line, an entry."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

#: What a log call may say in its ``extra``, and a JSON line has as fields of their own.
FIELDS = ("request_id", "method", "path", "route", "status", "milliseconds", "holder")


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


def set_up(level: str, format: str) -> None:
    """Send all entries from a level on to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # What the server says of itself is seldom news; its errors are.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
