"""The characters of the exhaustive tests of the analyzers.

Every character is tested in :data:`EVERYWHERE`: between letters, signs and white space, which shows its class and its
spelling; after a plus sign; and before a stress mark, which only Cyrillic letters lose. Further neighbours matter only
to characters that Unicode composes, folds, reorders or ignores, so the tests put all of those into more contexts, and
every 29th of the rest.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

from . import reference

#: The context in which every character is tested.
EVERYWHERE = "{0} a{0}b{0}+ a+{0}\u0301"
#: Categories of letters, signs and code points without a meaning; most of their characters only stand for themselves.
_PLAIN = ("Lo", "Ll", "So", "Po", "Co", "Cn")
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@cache
def all_characters() -> list[str]:
    """Return all 1,112,064 characters of Unicode, assigned or not."""
    return [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]


@cache
def characters_by_plainness() -> tuple[list[str], list[str]]:
    """Return the characters with a property that may matter to their neighbours (about 30,000), and all others.

    The others have one of the categories above, stay the same in every normal form and casefolded, are no part of a
    decomposition, and are not default-ignorable.
    """
    ignorable = reference.PROPERTIES_OF_14["Default_Ignorable_Code_Point"]
    parts = {part for c in all_characters() for part in unicodedata.normalize("NFKD", c) if part != c}
    special, plain = [], []
    for c in all_characters():
        same = all(form == c for form in (c.casefold(), *(unicodedata.normalize(form, c) for form in _FORMS)))
        stands_alone = same and c not in parts and c not in ignorable
        (plain if stands_alone and unicodedata.category(c) in _PLAIN else special).append(c)
    return special, plain


@cache
def characters_for_many_contexts() -> list[str]:
    """Return all characters that may matter to their neighbours, and every 29th other one."""
    special, plain = characters_by_plainness()
    return sorted([*special, *plain[::29]])
