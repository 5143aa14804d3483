"""The routes of the service, which are called directly, and the checks that precede them.

The framework derives the OpenAPI document and the validators from the signature of a route. Its own way to call a route
allows for much that no route here uses, and takes longer than counting. So routes are called directly here. The
validators are still the framework's, and so are the values and the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import fields
from inspect import iscoroutinefunction
from typing import Any

from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from factcensus.api.http.headers import header_of
from factcensus.api.http.negotiation import media_type_of
from factcensus.api.http.origins import refuse_other_sites
from factcensus.api.http.parameters import body_fields, check_query, parsed_json, query_parameters
from factcensus.api.http.problems import Problem

#: The parts of a signature that :func:`_arguments` provides, and those without an effect on it.
_PROVIDED = {"path_params", "query_params", "body_params", "dependencies", "request_param_name"}
_WITHOUT_EFFECT = {"name", "call", "path", "scope"}
_MISSING_BODY = {"type": "missing", "loc": ("body",), "msg": "Field required"}


async def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON; the framework would report a validation error.

    It is a dependency in the signature of routes, but :class:`NamedRoute` makes the check itself, which is faster.
    """
    _check_json(media_type_of(header_of(request.scope, b"content-type")))


class DirectRoute(APIRoute):
    """A route that is called without the framework.

    Its function is a coroutine function that returns a response. It may have the request, parameters of the path and
    the query, one JSON body, and dependencies of the same kind.

    Raises:
        TypeError: The route needs something else.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app = self._answer

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        _check_signature(self.path, self.dependant)
        if self.response_field is not None:
            raise TypeError(f"{self.path}: the function must return a response")
        return self._handle

    async def read(self, request: Request) -> bytes:  # noqa: ARG002  # for other classes of routes
        """Return the body if the route has a parameter for it; other routes read it themselves."""
        return b""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _handle(self, request: Request) -> Response:
        """Call the function.

        Raises:
            Problem: The body is not JSON.
            RequestValidationError: Parameters or the body are invalid.
        """
        content = await self.read(request)
        body_parameters = self.dependant.body_params
        body = parsed_json(content) if body_parameters and content else None
        errors: list[Any] = []
        values = await _arguments(self.dependant, request, {}, errors)
        for field in body_parameters:
            if content:
                values[field.name], wrong = field.validate(body, {}, loc=("body",))
                errors += wrong
            else:
                errors.append(_MISSING_BODY)
        if errors:
            raise RequestValidationError(errors, body=body)
        response: Response = await self.endpoint(**values)
        return response


class NamedRoute(DirectRoute):
    """A route that accepts only the query parameters of its signature."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        self._needs_json = _take_out(self.dependant, require_json)
        self._known = query_parameters(self.dependant)
        self._in_body = body_fields(self.dependant)
        if self._in_body and not self._needs_json:
            raise TypeError(f"{self.path}: a route with a JSON body needs the dependency JsonBody")
        return super().get_route_handler()

    async def read(self, request: Request) -> bytes:
        """Check names, origin and media type; return the body, unless it is a form, which the route reads itself."""
        scope = request.scope
        if scope["query_string"]:
            check_query(request, self._known, self._in_body)
        if scope["method"] == "GET":
            return b""
        refuse_other_sites(request, request.app.state.service.settings)
        media_type = media_type_of(header_of(scope, b"content-type"))
        # The request gets its slot when its body has arrived; no route runs without one.
        body = b"" if media_type == "multipart/form-data" else await request.body()
        if self._needs_json:
            _check_json(media_type)
        return body


class Routes:
    """Passes each request to the first route with its method and path; other messages to the framework's router."""

    def __init__(self, routes: Iterable[BaseRoute], router: ASGIApp) -> None:
        self._router = router
        self._by_method: dict[str, list[DirectRoute]] = {}
        for route in routes:
            if not isinstance(route, DirectRoute):
                raise TypeError(f"{route} is not called directly")
            for method in route.methods or ():
                self._by_method.setdefault(method, []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request, or the lifespan."""
        if scope["type"] == "http":
            for route in self._by_method.get(scope["method"], ()):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    await route.app(scope, receive, send)
                    return
        await self._router(scope, receive, send)


def _check_json(media_type: str) -> None:
    if media_type != "application/json":
        raise Problem(
            "unsupported-format",
            f"the Content-Type is {media_type[:100] or 'missing'}; send JSON with Content-Type: application/json",
        )


def _take_out(dependant: Dependant, dependency: Callable[..., Any]) -> bool:
    """Remove a dependency of a route, and return whether it had it."""
    kept = [each for each in dependant.dependencies if each.call is not dependency]
    found = len(kept) < len(dependant.dependencies)
    dependant.dependencies[:] = kept
    return found


def _check_signature(path: str, dependant: Dependant, *, inside: bool = False) -> None:
    """Refuse a signature with parameters that :func:`_arguments` does not provide."""
    usual = Dependant()
    if not iscoroutinefunction(dependant.call):
        raise TypeError(f"{path}: {dependant.call} is not a coroutine function")
    for name in {each.name for each in fields(Dependant)} - _PROVIDED - _WITHOUT_EFFECT:
        if (getattr(dependant, name) or None) != (getattr(usual, name) or None):
            raise TypeError(f"{path}: direct routes cannot have {name}")
    for field in dependant.body_params:
        info = field.field_info
        if inside or type(info) is not params.Body or info.embed or not info.is_required():
            raise TypeError(f"{path}: {field.name} must be one required JSON body of the route itself")
    for dependency in dependant.dependencies:
        _check_signature(path, dependency, inside=True)


async def _arguments(
    dependant: Dependant, request: Request, solved: dict[Any, Any], errors: list[Any]
) -> dict[str, Any]:
    """Return the arguments of a route or a dependency, without the body.

    Args:
        dependant: The signature.
        request: The request.
        solved: Results of dependencies by function; each is called once for a request.
        errors: Receives the errors of the validators.
    """
    values: dict[str, Any] = {}
    for dependency in dependant.dependencies:
        before = len(errors)
        arguments = await _arguments(dependency, request, solved, errors)
        if len(errors) > before:
            continue
        call: Any = dependency.call
        if call not in solved:
            solved[call] = await call(**arguments)
        if dependency.name is not None:
            values[dependency.name] = solved[call]
    for field in dependant.path_params:
        text = request.scope["path_params"][field.alias]
        values[field.name], wrong = field.validate(text, {}, loc=("path", field.alias))
        errors += wrong
    if dependant.query_params:
        asked, wrong = request_params_to_args(dependant.query_params, request.query_params)
        values |= asked
        errors += wrong
    if dependant.request_param_name:
        values[dependant.request_param_name] = request
    return values
