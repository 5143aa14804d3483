"""Docstrings as Markdown: roles of reStructuredText become code, and examples become code blocks."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: A role, such as :func:`count_facts`.
_ROLE = re.compile(r":(?:func|class|meth|data|mod):`~?([^`]+)`")
#: Lines of an interactive session and what it prints, up to an empty line.
_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class AsMarkdown(griffe.Extension):
    """Rewrite every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value).replace("``", "`")
            obj.docstring.value = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
