"""Queries as curl commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

#: The option that sends the key of the shell's environment; the Python client reads the same variable.
_KEY = '-H "Authorization: Bearer $FACTCENSUS_API_KEY"'


def curl_command(
    address: str, *, keyed: bool, body: Any = None, indent: int | None = None, options: Sequence[str] = ()
) -> str:
    """Return the curl command for a request.

    Args:
        address: The URL.
        keyed: Whether the service requires API keys.
        body: The body to send as JSON; None for none.
        indent: Spaces per level of the body; None for a single line.
        options: Further options, quoted for a shell: those that choose the method come before the URL.
    """
    parts = ["curl", *([_KEY] if keyed else []), *options, shlex.quote(address)]
    if body is not None:
        parts += ["--json", shlex.quote(json.dumps(body, ensure_ascii=False, indent=indent))]
    return " ".join(parts)
