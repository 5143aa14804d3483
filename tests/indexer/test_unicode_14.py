"""The frozen Unicode version of the word analyzers, and the parts of it that the oracle takes from Python.

Run with a Python with ``unicodedata`` 14.0 (such as 3.11) and a Perl of the same Unicode version (such as 5.36),
``python tests/indexer/test_unicode_14.py`` rewrites ``unicode_14_assigned.txt`` and ``unicode_14_properties.txt``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import regex

ASSIGNED_FILE = Path(__file__).with_name("unicode_14_assigned.txt")
ASSIGNED_HEADER = """\
# Code points that Unicode 14.0 assigns (category other than Cn; surrogates and private use count as assigned).
# Written from the unicodedata of Python 3.11 by: python tests/indexer/test_unicode_14.py
"""
PROPERTIES_FILE = Path(__file__).with_name("unicode_14_properties.txt")
PROPERTIES_HEADER = """\
# Properties of code points in Unicode 14.0 that Python's unicodedata does not have.
# Written from the Unicode data of Perl 5.36 by: python tests/indexer/test_unicode_14.py
"""
PROPERTIES = (
    "Default_Ignorable_Code_Point",
    "Script=Cyrillic",
    "Script_Extensions=Han",
    "Script_Extensions=Hiragana",
    "Script_Extensions=Katakana",
    "Script_Extensions=Thai",
    "Script_Extensions=Lao",
    "Script_Extensions=Khmer",
    "Script_Extensions=Myanmar",
)
PERL = """\
use Unicode::UCD qw(prop_invlist);
print Unicode::UCD::UnicodeVersion(), "\\n";
print join(" ", $_, prop_invlist($_)), "\\n" for @ARGV;
"""


def assigned_ranges() -> Iterator[str]:
    """Return the ranges of code points assigned in this Python's Unicode version, in the format of the file."""
    assigned = [False, *(unicodedata.category(chr(c)) != "Cn" for c in range(sys.maxunicode + 1)), False]
    return spelled(c for c, (before, now) in enumerate(pairwise(assigned)) if before != now)


def spelled(edges: Iterable[int]) -> Iterator[str]:
    """Format ranges, given by their first code points and the code points after them, like the Unicode data files."""
    edges = iter(edges)
    for first in edges:
        last = next(edges, sys.maxunicode + 1) - 1
        yield f"{first:X}" if first == last else f"{first:X}..{last:X}"


@cache
def perls_properties() -> tuple[str, str]:
    """Return the Unicode version of Perl (empty without Perl) and the ranges of each property as in the file."""
    perl = shutil.which("perl")
    made = subprocess.run([perl or "", "-e", PERL, *PROPERTIES], capture_output=True, text=True) if perl else None
    if made is None or made.returncode != 0:
        return "", ""
    version, *lines = made.stdout.splitlines()
    found = ""
    for line in lines:
        name, *edges = line.split(" ")
        found += "".join(f"{each} ; {name}\n" for each in spelled(map(int, edges)))
    return version, found


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python's unicodedata is not Unicode 14.0")
def test_list_of_assigned_code_points_equals_unicode_14() -> None:
    assert ASSIGNED_FILE.read_text(encoding="ascii") == ASSIGNED_HEADER + "\n".join(assigned_ranges()) + "\n"


@pytest.mark.skipif(perls_properties()[0] != "14.0.0", reason="there is no Perl with Unicode 14.0")
def test_list_of_properties_equals_unicode_14() -> None:
    assert PROPERTIES_FILE.read_text(encoding="ascii") == PROPERTIES_HEADER + perls_properties()[1]


def test_classes_of_assigned_characters_are_the_same_in_the_newer_unicode_of_the_regex_module() -> None:
    """Both Unicode versions agree on all relevant categories of characters assigned in 14.0.

    So the oracle gives the same results on a Python with a newer ``unicodedata``.
    """
    from .reference import ASSIGNED_IN_14

    word, letter, enclosing = regex.compile(r"[\p{L}\p{M}\p{N}]"), regex.compile(r"\p{L}"), regex.compile(r"\p{Me}")
    superscript = regex.compile(r"[\p{No}\p{So}\p{Sm}\p{Sk}]")
    moved = []
    for code_point in sorted(ASSIGNED_IN_14):
        category = unicodedata.category(character := chr(code_point))
        if category != "Cs":
            expected = [category[0] in "LMN", category[0] == "L", category == "Me"]
            found = [pattern.match(character) is not None for pattern in (word, letter, enclosing)]
            if unicodedata.decomposition(character).startswith("<super>"):
                expected.append(category in ("No", "So", "Sm", "Sk"))
                found.append(superscript.match(character) is not None)
            if found != expected:
                moved.append(hex(code_point))
    assert moved == []


if __name__ == "__main__":
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this Python has Unicode {unicodedata.unidata_version}; 14.0.0 is needed")
    version, properties = perls_properties()
    if version != "14.0.0":
        sys.exit(f"this Perl has Unicode {version or 'data that cannot be read'}; 14.0.0 is needed (Perl 5.36)")
    ASSIGNED_FILE.write_text(ASSIGNED_HEADER + "\n".join(assigned_ranges()) + "\n", encoding="ascii")
    PROPERTIES_FILE.write_text(PROPERTIES_HEADER + properties, encoding="ascii")
