"""infini-gram's engine behind two servers: ``python -m benchmarks.peer_servers {fastapi,werkzeug} INDEX``.

Both print their port on a line of stdout and serve until they are killed. They answer from the files of our index,
whose layout is the engine's, and convert texts to token ids as we do. They validate nothing and have no limits.

* ``fastapi``: our routes for a count, a co-occurrence and a table of facts, written as in FastAPI's guide.
* ``werkzeug``: the wire format of infini-gram's own server behind the server that Flask starts, with threads. The
original starts ten processes instead, each with a persistent connection, so further clients would wait.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

from factcensus.indexer import CountIndex

#: Limits of the engine, high enough to have no effect.
LIMITS = {"max_clause_freq": 10**8, "max_diff_tokens": 10**7}


class Engine:
    """The engine on one of our indexes, queried with texts."""

    def __init__(self, folder: str) -> None:
        from infini_gram.engine import InfiniGramEngine

        self.index = CountIndex.open(folder)
        self._engine: Any = InfiniGramEngine(
            index_dir=folder, eos_token_id=0, vocab_size=2**32 - 1, version=4, token_dtype="u32"
        )

    def count(self, text: str) -> dict[str, Any]:
        """Return the occurrences of a text."""
        ids = self.index.token_ids(text)
        counted = 0 if ids is None else self._engine.count(input_ids=list(ids))["count"]
        return {"index": self.index.name, "text": text, "occurrences": counted}

    def together(self, subject: str, object: str) -> dict[str, Any]:
        """Return the occurrences of both near one another, as the engine counts them, and of each."""
        terms = [self.index.token_ids(subject), self.index.token_ids(object)]
        each = [0 if ids is None else self._engine.count(input_ids=list(ids))["count"] for ids in terms]
        both = 0
        if all(each):
            both = self._engine.count_cnf(cnf=[[list(ids or ())] for ids in terms], **LIMITS)["count"]
        return {
            "index": self.index.name,
            "subject": {"name": subject, "mentions": each[0]},
            "object": {"name": object, "mentions": each[1]},
            "cooccurrence": both,
        }


def fastapi_app(engine: Engine) -> Any:
    """Return an app with our routes."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Text(BaseModel):
        text: str

    class Name(BaseModel):
        name: str

    class Pair(BaseModel):
        subject: Name
        object: Name

    class Facts(BaseModel):
        facts: list[dict[str, Any]]

    app = FastAPI()

    # Without "async", so that the framework calls them in threads; the engine releases the GIL.
    def count(index: str, body: Text) -> dict[str, Any]:
        assert index == engine.index.name
        return engine.count(body.text)

    def cooccurrence(index: str, body: Pair) -> dict[str, Any]:
        assert index == engine.index.name
        return engine.together(body.subject.name, body.object.name)

    def facts(index: str, body: Facts) -> dict[str, Any]:
        assert index == engine.index.name
        return {"facts": [fact | engine.together(fact["subject"], fact["object"]) for fact in body.facts]}

    # The types above are local to this function, so annotations as strings would not find them.
    for name, route, body in (
        ("count", count, Text),
        ("cooccurrence", cooccurrence, Pair),
        ("facts:count", facts, Facts),
    ):
        route.__annotations__ = {"index": str, "body": body, "return": dict[str, Any]}
        app.post(f"/v1/indexes/{{index}}/{name}")(route)
    return app


def wsgi_app(engine: Engine) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """Return an app for ``POST /`` with ``query_type`` count: a text, or two with `` AND `` between them."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        from werkzeug.wrappers import Request, Response

        query = Request(environ).get_json()["query"]
        subject, both, object_ = query.partition(" AND ")
        answer = engine.together(subject, object_) if both else engine.count(query)
        return Response(json.dumps(answer), mimetype="application/json")(environ, start_response)

    return app


def main(kind: str, folder: str) -> None:
    """Serve."""
    engine = Engine(folder)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # like our service
        print(listener.getsockname()[1], flush=True)
        if kind == "fastapi":
            import uvicorn

            config = uvicorn.Config(fastapi_app(engine), log_level="warning", access_log=False)
            uvicorn.Server(config).run([listener])
        else:
            import logging

            from werkzeug.serving import make_server

            logging.getLogger("werkzeug").setLevel(logging.WARNING)
            server = make_server("127.0.0.1", 0, wsgi_app(engine), threaded=True, fd=listener.fileno())
            server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
