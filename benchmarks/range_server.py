"""A web server for the files of a folder, as slow as an object store: ``python -m benchmarks.range_server DIR MS``.

It prints its port on a line of stdout and serves until it is killed. Each answer waits MS milliseconds, any number of
them at the same time. It understands GET with one range, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path


async def _serve(folder: Path, latency_s: float) -> None:
    files = {
        path.relative_to(folder).as_posix(): (os.open(path, os.O_RDONLY), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(latency_s)
                writer.write(_answer(head.decode("latin-1"), files))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _answer(head: str, files: dict[str, tuple[int, int]]) -> bytes:
    method, path, _ = head.split(" ", 2)
    found = files.get(path.lstrip("/"))
    if found is None:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    file, size = found
    wanted = re.search(r"^range: bytes=(\d+)-(\d+)", head, re.IGNORECASE | re.MULTILINE)
    begin, end = (int(wanted[1]), min(int(wanted[2]) + 1, size)) if wanted else (0, size)
    status = f"206 Partial Content\r\nContent-Range: bytes {begin}-{end - 1}/{size}" if wanted else "200 OK"
    body = b"" if method == "HEAD" else os.pread(file, end - begin, begin)
    return f'HTTP/1.1 {status}\r\nETag: "{size}"\r\nContent-Length: {end - begin}\r\n\r\n'.encode() + body


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2]) / 1000))
