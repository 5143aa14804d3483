"""Traces for OpenTelemetry: one span per request, sent with OTLP. Off unless configured; needs the extra ``otel``.

The exporter reads the standard variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``. A span continues the trace of the
client (header ``traceparent``). It has the route, the status, the request id and the name of the key, but neither the
key nor the texts of a query: a query string may contain personal data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factcensus.indexer.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

#: Routes without spans: programs request them every few seconds.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})


def tracer_provider(version: str) -> TracerProvider:
    """Return a provider that sends spans with OTLP.

    Raises:
        InputError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider

        processor = span_processor()
    except ImportError as error:
        raise InputError(
            f"FACTCENSUS_TELEMETRY is 1, but OpenTelemetry is not installed ({error.name}); install factcensus[otel]"
        ) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override these names.
    named = Resource({"service.name": "factcensus", "service.version": version})
    provider = TracerProvider(resource=Resource.create().merge(named).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(processor)
    return provider


def span_processor() -> SpanProcessor:
    """Return the processor that sends spans in batches, from a separate thread."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


class Tracing:
    """Records one span for each request."""

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.app = app
        self._tracer = provider.get_tracer("factcensus.api")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request; pass the lifespan and the quiet routes through."""
        if scope["type"] != "http" or scope["path"] in QUIET_ROUTES:
            await self.app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracer.start_as_current_span(
            scope["method"],
            self._propagator.extract(dict(Headers(scope=scope))),
            SpanKind.SERVER,
            record_exception=False,  # the message of an exception may contain the text of a query; the log has it
            set_status_on_exception=False,
        ) as span:
            try:
                await self.app(scope, receive, send_and_note)
            except Exception as error:
                status = status or 500
                scope.setdefault("state", {}).setdefault("problem", type(error).__name__)
                raise
            finally:
                route = getattr(scope.get("route"), "path", None)
                span.update_name(f"{scope['method']} {route}" if route else scope["method"])
                state: dict[str, Any] = scope.get("state", {})
                known = {
                    "http.request.method": scope["method"],
                    "http.route": route,
                    "http.response.status_code": status or None,
                    "factcensus.request_id": state.get("request_id"),
                    "factcensus.key": state.get("holder"),
                    "error.type": state.get("problem"),
                }
                span.set_attributes({name: value for name, value in known.items() if value is not None})
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
