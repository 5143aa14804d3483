"""Errors of the index and of counting. Every message names the value, what was expected, and the next step."""

from __future__ import annotations


class FactcensusError(Exception):
    """Base of every error that a user of factcensus can cause; the command line exits with ``exit_code``."""

    exit_code = 1


class IndexerError(FactcensusError):
    """Base of what the index, the readers and the counting raise."""


class InputError(IndexerError, ValueError):
    """A value, a file or a row that cannot be used as it stands (exit 2)."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that does not exist; the message has the nearest known one (see :mod:`factcensus.indexer.names`)."""


class EmptyQueryError(InputError):
    """A text in which the analyzer finds no token: an error, not a zero."""


class IndexFormatError(IndexerError):
    """An index folder that cannot be opened: missing, half-copied, damaged, or of another format version."""


class IndexChangedError(IndexFormatError):
    """An index whose files were replaced after it was opened, where an answer needs one of the old files."""


class NoIndexError(IndexFormatError, InputError):
    """A path that holds no index at all (exit 2)."""

    exit_code = 2


class DiskFullError(IndexerError, OSError):
    """There is no room left for what is being written; what was finished stays, and the work can be continued."""


class DeadlineError(IndexerError):
    """A count was stopped, because its time was over or nobody waits for it any more."""


class VerificationError(IndexerError):
    """A file of an index does not hold what its manifest says (exit 3)."""

    exit_code = 3


def too_many_files(path: object) -> IndexerError:
    """Return the error for a file that could not be opened because the process has too many open."""
    return IndexerError(
        f"{path} cannot be opened: this process has too many open files; raise the limit (ulimit -n 65536) or open "
        "fewer indexes"
    )


class MissingExtraError(FactcensusError):
    """A command whose optional libraries are not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"this command needs {module!r}: install it with  pip install 'factcensus[{extra}]'")
