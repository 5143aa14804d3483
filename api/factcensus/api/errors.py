"""Errors of the service and of its client. A caller may catch the family (:class:`ServiceError`) or the case."""

from __future__ import annotations

from factcensus.indexer.errors import FactcensusError


class ListenError(FactcensusError):
    """An address on which the service cannot listen."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "choose another --port, or 0 for a free one"
        )


class ServiceError(FactcensusError):
    """A service that did not answer as hoped: what it said (RFC 9457), or that nothing came back.

    Attributes:
        status: HTTP status; None where no answer came.
        title: The kind of problem, in words.
        detail: What is wrong in this case.
        type: The kind of problem as a URI, such as ``urn:factcensus:problem:unknown-index``.
        request_id: Under which the service's log has more; None where no answer came.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        title: str = "",
        detail: str = "",
        type: str = "about:blank",
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.title = title
        self.detail = detail or message
        self.type = type
        self.request_id = request_id


class AddressError(ServiceError):
    """A text that is not the address of a service (exit 2)."""

    exit_code = 2


class UnreachableError(ServiceError):
    """Nothing answers at the address, or the connection broke."""


class NotReadyError(ServiceError):
    """The service did not become ready in time, or is overloaded (503, 429)."""


class RejectedError(ServiceError):
    """The service refuses the request as it stands (4xx); repeating it would not help (exit 2)."""

    exit_code = 2

    def add_rows_before(self, rows: int) -> None:
        """Say that the request held a part of a table, behind so many rows of it: the service counts from the part."""
        self.args = (f"{self.args[0]} (rows are counted from row {rows + 1} of the table on)",)


class UnknownIndexError(RejectedError):
    """The service has no index of this name."""


class ServerFailureError(ServiceError):
    """The service failed (5xx), or answered something that is no answer of this service."""
