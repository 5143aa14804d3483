"""A tiny corpus that can be counted by hand, and the service on a loopback port for tests with real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from factcensus.api.app import create_app
from factcensus.api.server import Server, listen
from factcensus.api.settings import Settings

#: (id, source, text)
DOCUMENTS = [
    ("w1", "wiki", "Marie Curie was born in Warsaw. Curie left Warsaw for Paris."),
    ("w2", "wiki", "Paris is the capital of France. Marie Curie worked in Paris."),
    ("w3", "wiki", "Warsaw is the capital of Poland."),
    ("b1", "books", "Maria Skłodowska was born in Warsaw; Marie Curie is the same person."),
    ("b2", "books", "C++ and C# are languages. Paris Paris Paris!"),
    ("b3", "books", "<script>alert('Curie')</script> Warsaw & Curie"),
]


def write_corpus(folder: Path) -> Path:
    """Write the documents as one JSON Lines file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": id_, "source": source, "text": text}) for id_, source, text in DOCUMENTS]
    (folder / "part-0.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@contextmanager
def serving(app: Settings | ASGIApp, port: int = 0) -> Iterator[str]:
    """Run a service or another application in a thread of this process, and yield its base URL."""
    if isinstance(app, Settings):
        service, listener = create_app(app), listen("127.0.0.1", port)
        server: uvicorn.Server = Server(service, listener, announce=None)
        run = partial(server.run, sockets=[listener])
    else:
        service = None
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
        run = server.run
    server.config.timeout_graceful_shutdown = 2
    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended during its start"
            time.sleep(0.01)
        while service is not None and service.state.service.catalog.is_warming:
            time.sleep(0.002)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first true result of the condition; fail after a timeout in seconds."""
    for _ in range(int(seconds / 0.02)):
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"the condition was still false after {seconds:g} s")
