"""The framework's application, with fewer layers between a request and its route."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from factcensus.api.http.routes import Routes


class Application(FastAPI):
    """An application whose requests pass only its own layers, the error handlers and the routes.

    The framework's own layers are left out. One sends plain 500 responses, which :mod:`factcensus.api.http.middleware`
    does better; one limits bodies, as :mod:`factcensus.api.http.intake` does; the others record traces, which could
    contain the texts of queries, unlike those of :mod:`factcensus.api.http.telemetry`.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers; the middleware added last is the outermost."""
        app: ASGIApp = Routes(self.routes, self.router)
        app = ExceptionMiddleware(app, handlers=self.exception_handlers, debug=self.debug)
        for layer, arguments, options in reversed(self.user_middleware):
            app = layer(app, *arguments, **options)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request, or the lifespan."""
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)
