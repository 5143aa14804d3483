"""Errors of the index and of counting. Every message names the value, the expected value and the remedy."""

from __future__ import annotations


class FactcensusError(Exception):
    """Base class of all errors that a user can cause; the command line exits with ``exit_code``."""

    exit_code = 1


class IndexerError(FactcensusError):
    """Base class of the errors of indexes, readers and counting."""


class InputError(IndexerError, ValueError):
    """An invalid value, file or row (exit 2)."""

    exit_code = 2


class UnknownNameError(InputError):
    """An unknown name; the message suggests the most similar one (see :mod:`factcensus.indexer.names`)."""


class RequestLimitError(InputError):
    """A query to an index at a URL needs more requests or bytes than allowed (exit 2)."""


class EmptyQueryError(InputError):
    """A text without tokens, which is an error rather than a count of 0."""


class IndexFormatError(IndexerError):
    """An index folder that cannot be opened: missing, partly copied, damaged, or in another format version."""


class IndexChangedError(IndexFormatError):
    """An index whose files were replaced after it was opened, so that a file needed for an answer is gone."""


class NoIndexError(IndexFormatError, InputError):
    """A path that is not an index (exit 2)."""

    exit_code = 2


class DiskFullError(IndexerError, OSError):
    """The disk is full; finished work is kept and can be continued.

    ``errno`` and ``filename`` are those of the operating system's error.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DeadlineError(IndexerError):
    """A count was stopped because it timed out or the client disconnected."""


class VerificationError(IndexerError):
    """A file of an index does not match its manifest (exit 3)."""

    exit_code = 3


def too_many_files(path: object) -> IndexerError:
    """Return the error for a file that could not be opened because the process has too many open files."""
    return IndexerError(
        f"cannot open {path}: this process has too many open files; raise the limit (ulimit -n 65536) or open fewer "
        "indexes"
    )


class MissingExtraError(FactcensusError):
    """A command needs an optional library that is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"this command needs {module!r}: install it with  pip install 'factcensus[{extra}]'")
