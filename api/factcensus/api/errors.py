"""Errors of the service and its client; callers may catch :class:`ServiceError` or one of its subclasses."""

from __future__ import annotations

from factcensus.indexer.errors import FactcensusError


class ListenError(FactcensusError):
    """The service cannot listen on an address."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "choose another --port, or 0 for a free one"
        )


class WorkerError(FactcensusError):
    """A worker of the service ended during its start."""


class ServiceError(FactcensusError):
    """An error response of the service (RFC 9457), or no response.

    Attributes:
        status: HTTP status; None without a response.
        title: The kind of problem.
        detail: The error in this case.
        type: The kind of problem as a URI, such as ``urn:factcensus:problem:unknown-index``.
        request_id: The id under which the service's log has more; None without a response.
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


class SliceError(FactcensusError):
    """A slice of an index does not respond or is not the expected one, so there is no answer (503)."""


class AddressError(ServiceError):
    """A text that is not the URL of a service (exit status 2)."""

    exit_code = 2


class UnreachableError(ServiceError):
    """Nothing responds at the address, or the connection failed."""


class NotReadyError(ServiceError):
    """The service did not become ready in time, or is overloaded (503, 429).

    Attributes:
        retry_after_s: Seconds to wait before the next attempt, from the header ``Retry-After``; 0 without one.
    """

    retry_after_s = 0.0


class RejectedError(ServiceError):
    """The service refused the request (4xx); repeating it does not help (exit status 2)."""

    exit_code = 2

    def add_rows_before(self, rows: int) -> None:
        """Add a note to the message: its row numbers refer to a part of the table that begins after ``rows`` rows."""
        self.args = (f"{self.args[0]} (row 1 is row {rows + 1} of the whole table)",)


class UnknownIndexError(RejectedError):
    """The service has no index of this name."""


class ServerFailureError(ServiceError):
    """The service failed (5xx), or the response is not one of this service."""
