"""Fonts for figures whose labels have characters that matplotlib's own font lacks, such as Chinese names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Fonts to look at first, because they are made for many scripts.
_LIKELY = re.compile(r"Noto|CJK|Unifont|Arial Unicode|Droid Sans Fallback", re.IGNORECASE)


def give_fonts(figure: Figure) -> str:
    """Let each text of a figure use further installed fonts for characters that its own font lacks.

    Returns:
        The characters that no installed font has.
    """
    from matplotlib.font_manager import findfont
    from matplotlib.text import Text

    texts: list[Any] = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    families: list[str] = []
    missing = ""
    if texts:
        own = _characters(findfont(texts[0].get_fontproperties()))
        wanted = {character for text in texts for character in text.get_text() if _is_drawn(character)} - own
        families, missing = _families_with(wanted)
    for text in texts if families else ():
        text.set_fontfamily([*text.get_fontfamily(), *families])
    return missing


def _families_with(wanted: set[str]) -> tuple[list[str], str]:
    """Return installed font families that together have as many of these characters as possible, and the others."""
    families: list[str] = []
    for name, path in _installed() if wanted else ():
        if found := wanted & _characters(path):
            families.append(name)
            wanted -= found
            if not wanted:
                break
    return families, "".join(sorted(wanted))


def _installed() -> Iterator[tuple[str, str]]:
    """Yield the name and the file of each upright font, without matplotlib's boxes for all characters."""
    from matplotlib.font_manager import fontManager

    fonts = {(font.name, font.fname) for font in fontManager.ttflist if font.style == "normal"}
    fonts = {font for font in fonts if not font[0].startswith("Last Resort")}
    yield from sorted(fonts, key=lambda font: (_LIKELY.search(font[0]) is None, font))


def _characters(path: str) -> frozenset[str]:
    """Return the characters of a font; none if it cannot be read, such as one of coloured emoji."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (RuntimeError, OSError, ValueError):
        return frozenset()


def _is_drawn(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"


def describe_missing(characters: Iterable[str]) -> str:
    """Return a message about characters that no installed font has, with the remedy."""
    shown = " ".join(list(characters)[:5])
    return (
        f"no installed font has {shown}, so the figure shows boxes in their place; install fonts for this script, such "
        "as Google's Noto fonts (on Debian and Ubuntu fonts-noto-core and fonts-noto-cjk), or write an .svg file, "
        "whose text is drawn with the fonts of its viewer"
    )
