"""Failures of reading and writing places: which of them are retried, and their error messages."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from factcensus.indexer.errors import FactcensusError, IndexerError
from factcensus.indexer.system.places.protocols import redact

#: Number of attempts, and seconds until no further one is made.
ATTEMPTS, TIMEOUT_S = 6, 120.0
#: Waits in seconds between attempts: the first, and the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0

_STATUS_WORTH_A_RETRY = {408, 425, 429}
_PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_PERMANENT_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EINVAL, errno.ENOTSUP}
#: Packages whose errors of connections are not OSErrors.
_DRIVERS = ("aiohttp", "botocore", "aiobotocore", "gcsfs", "google", "huggingface_hub", "requests", "httpx", "urllib3")
_SETTINGS = ("NoCredentials", "ParamValidation", "PartialCredentials", "NoRegion", "ProfileNotFound", "InvalidURL")

Result = TypeVar("Result")


class PlaceError(IndexerError):
    """A file or object could not be read or written, after all attempts; the message names it."""


class NoFileError(PlaceError):
    """There is no such file or object."""


class TransientError(Exception):
    """A failure that is retried; its text has no credentials, because retries are logged."""


def with_retries(what: str, act: Callable[[], Result]) -> Result:
    """Retry a function with increasing pauses while its failures are temporary.

    Args:
        what: The action for the message, such as "read s3://bucket/key", without credentials.
        act: The function.

    Raises:
        NoFileError: There is no such file.
        PlaceError: All attempts failed, or the failure is permanent.
    """
    import stamina  # slow to import, and not needed for local files

    try:
        for attempt in stamina.retry_context(
            on=TransientError,
            attempts=ATTEMPTS,
            timeout=TIMEOUT_S,
            wait_initial=_FIRST_WAIT_S,
            wait_max=_LONGEST_WAIT_S,
        ):
            with attempt:
                return _once(what, act)
    except TransientError as error:
        raise PlaceError(f"{error}; it failed {ATTEMPTS} times, try again later") from None
    raise AssertionError


def _once(what: str, act: Callable[[], Result]) -> Result:
    try:
        return act()
    except (FactcensusError, TransientError):
        raise
    except (TypeError, AttributeError, KeyError, AssertionError):  # a mistake in this program
        raise
    except Exception as error:
        raise failure(what, error) from None


def failure(what: str, error: Exception) -> PlaceError | TransientError:
    """Return the error for a failure of a driver: without credentials, and with the name of the file in ``what``."""
    origin = _origin(error)
    if isinstance(origin, FileNotFoundError) or status_of(origin) == 404:
        return NoFileError(f"cannot {what}: there is no such file")
    message = f"cannot {what}: {explanation(origin)}"
    return TransientError(message) if is_transient(origin) else PlaceError(message)


def _origin(error: BaseException) -> BaseException:
    """Return the reason of an error; fsspec reports every failed request about a URL as a missing file."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    return error if cause is None or (status_of(cause) is None and not is_transient(cause)) else cause


def is_transient(error: BaseException) -> bool:
    """Return whether a failure may be temporary: a lost connection, a timeout, a busy server, but not a refusal."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in _STATUS_WORTH_A_RETRY
    if isinstance(error, OSError):
        return not isinstance(error, _PERMANENT) and error.errno not in _PERMANENT_NUMBERS
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    return any(module in _DRIVERS for module, _ in names) and not type(error).__name__.startswith(_SETTINGS)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error of any driver; None if it has none."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(response, "status_code", None)
    found = found or getattr(error, "status", None) or getattr(error, "code", None)
    return found if isinstance(found, int) and 100 <= found < 600 else None


def explanation(error: BaseException) -> str:
    """Return the text of an error without credentials and line breaks."""
    status = status_of(error)
    text = getattr(error, "message", None) if status is not None else None
    if not isinstance(text, str) or not text:
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    text = " ".join(redact(text).split()) or type(error).__name__
    return f"status {status}, {text}" if status is not None and str(status) not in text else text
