"""Small tables of numbers as plain text, Markdown or LaTeX, ready to paste into a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

from factcensus.indexer.system.display import display_width, isolated, on_one_line, pad_left, pad_right

#: A cell: text, or a number, which is right-aligned; None is an empty cell.
Cell = str | int | float | None

STYLES = ("text", "markdown", "latex")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "–": "--",
    "—": "---",
    "−": "$-$",
    "…": r"\dots{}",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    # In the old font encoding, these three are other characters.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
#: Markdown would read these as emphasis, code, HTML, a link, mathematics or an entity; an underscore only at the edge
#: of a word.
_MARKDOWN = re.compile(r"[\\`*<\[|~^$]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
#: The last letter, and further signs, that the usual fonts of pdfLaTeX have.
_LAST_LATIN, _SIGNS = "\u017f", frozenset("‘’‚“”„†‡•‰‹›€™")
#: Between two hyphens, which LaTeX would join to a dash.
_HYPHENS = re.compile("(?<=-)(?=-)")


def format_table(rows: Sequence[Sequence[object]], header: Sequence[str], style: str = "text") -> str:
    """Format a table; columns of numbers are right-aligned, and integers have thousands separators.

    Every cell is one line, and columns are aligned as a terminal shows them. As plain text, names that are written from
    right to left are isolated, so that they do not reverse the numbers next to them.

    Args:
        rows: The cells of each row, one per column.
        header: The names of the columns.
        style: One of :data:`STYLES`. LaTeX needs the package ``booktabs``.
    """
    numeric = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(header))]
    lines = [[on_one_line(_text(cell)) for cell in line] for line in (header, *rows)]
    if style == "latex":
        return _latex(lines, numeric)
    if style == "markdown":
        lines = [[_MARKDOWN.sub(r"\\\g<0>", cell) for cell in line] for line in lines]
    else:
        lines = [[isolated(cell) for cell in line] for line in lines]
    widths = [max(3, *(display_width(line[i]) for line in lines)) for i in range(len(header))]
    padded = [
        [
            pad_left(cell, width) if right else pad_right(cell, width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        for line in lines
    ]
    if style == "text":
        return "\n".join("  ".join(line).rstrip() for line in padded)
    rule = [f"{'-' * (width - 1)}:" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def _latex(lines: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    head, *body = [" & ".join(map(_latex_cell, line)) + r" \\" for line in lines]
    columns = "".join("r" if right else "l" for right in numeric)
    foreign = next(filter(_is_foreign, "".join(cell for line in lines for cell in line)), None)
    remark = f"% pdfLaTeX has no font with {foreign}; use XeLaTeX or LuaLaTeX, and a font such as Noto for this script"
    begin = [*([remark] if foreign else []), f"\\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"])


def _latex_cell(cell: str) -> str:
    escaped = "{}".join(
        "".join(_LATEX.get(character, character) for character in part) for part in _HYPHENS.split(cell)
    )
    # After the end of a row, LaTeX would take these for an option of the command \\\\.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def _is_foreign(character: str) -> bool:
    return character > _LAST_LATIN and character not in _LATEX and character not in _SIGNS
