"""The Unicode version the analyzer ``words`` is frozen at, and what the oracle may take from the Python that runs it.

Run on a Python whose ``unicodedata`` is 14.0 (3.11 is), ``python tests/indexer/test_unicode_14.py`` rewrites
``unicode_14_assigned.txt``.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex

FILE = Path(__file__).with_name("unicode_14_assigned.txt")
HEADER = """\
# Code points that Unicode 14.0 assigns (category other than Cn; surrogates and private use count as assigned).
# Written from the unicodedata of Python 3.11 by: python tests/indexer/test_unicode_14.py
"""


def assigned_ranges() -> Iterator[str]:
    """The ranges of assigned code points of this Python's Unicode version, as the file spells them."""
    first = None
    for code_point in range(sys.maxunicode + 2):
        assigned = code_point <= sys.maxunicode and unicodedata.category(chr(code_point)) != "Cn"
        if assigned and first is None:
            first = code_point
        if not assigned and first is not None:
            yield f"{first:X}" if first == code_point - 1 else f"{first:X}..{code_point - 1:X}"
            first = None


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python's unicodedata is not Unicode 14.0")
def test_list_of_assigned_code_points_is_that_of_unicode_14() -> None:
    assert FILE.read_text(encoding="ascii") == HEADER + "\n".join(assigned_ranges()) + "\n"


def test_classes_of_assigned_characters_are_the_same_in_the_newer_unicode_of_the_regex_module() -> None:
    """Two versions of Unicode agree on what is a letter, mark or number and what is Cf, where 14.0 assigns it.

    So the oracle means the same on a Python with a newer ``unicodedata``.
    """
    from .reference import ASSIGNED_IN_14

    word, format_ = regex.compile(r"[\p{L}\p{M}\p{N}]"), regex.compile(r"\p{Cf}")
    moved = [
        hex(code_point)
        for code_point in sorted(ASSIGNED_IN_14)
        if (category := unicodedata.category(character := chr(code_point))) != "Cs"
        and ((category[0] in "LMN") is not (word.match(character) is not None)
             or (category == "Cf") is not (format_.match(character) is not None))
    ]  # fmt: skip
    assert moved == []


if __name__ == "__main__":
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this Python has Unicode {unicodedata.unidata_version}; 14.0.0 is needed")
    FILE.write_text(HEADER + "\n".join(assigned_ranges()) + "\n", encoding="ascii")
