"""Finding the mentions of an entity in one document, in the text of any layout.

The text is an array of token ids, which is read through, or a
:class:`~factcensus.indexer.kernels.compact_search.Reader`, which has the blocks of each token. The compiler chooses by
the type of the text.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from factcensus.indexer.kernels.compact_search import count_in_document, find_in_document
from factcensus.indexer.kernels.compiled import Kernel, Lazy, compiled

#: Sort key of a position: segment 11 bits, position 40 (infini-gram's largest shards have 2^38 tokens), length of the
#: mention (longest first) 13.
LENGTH_BITS, SEGMENT_SHIFT = 13, 53
LONGEST_MENTION = (1 << LENGTH_BITS) - 1


@compiled(inline="always")
def mention_key(segment: Any, position: Any, length: Any) -> Any:
    """Return the sort key of a mention."""
    return (
        np.uint64(segment) << np.uint64(SEGMENT_SHIFT)
        | np.uint64(position) << np.uint64(LENGTH_BITS)
        | np.uint64(LONGEST_MENTION - length)
    )


@compiled(inline="always")
def occurs_at(ids: Any, position: Any, end: Any, tokens: Any, first: Any, last: Any) -> Any:
    """Return whether the form ``tokens[first:last]`` occurs at a position and ends by ``end``."""
    if position + last - first > end:
        return False
    for i in range(last - first):  # noqa: SIM110 - compiled
        if ids[position + i] != tokens[first + i]:
            return False
    return True


@compiled()
def _count_by_reading(text: Any, begin: Any, end: Any, forms: Any, entity: Any) -> Any:
    found = 0
    for position in range(begin, end):
        for form in range(forms.entities[entity], forms.entities[entity + 1]):
            if occurs_at(text, position, end, forms.tokens, forms.starts[form], forms.starts[form + 1]):
                found += 1
    return found


@compiled()
def _append_by_reading(
    text: Any, begin: Any, end: Any, forms: Any, entity: Any, segment: Any, keys: Any, count: Any
) -> Any:
    for position in range(begin, end):
        for form in range(forms.entities[entity], forms.entities[entity + 1]):
            if occurs_at(text, position, end, forms.tokens, forms.starts[form], forms.starts[form + 1]):
                if count == keys.size:
                    return -1
                keys[count] = mention_key(segment, position, forms.starts[form + 1] - forms.starts[form])
                count += 1
    return count


@compiled()
def _count_by_blocks(text: Any, begin: Any, end: Any, forms: Any, entity: Any) -> Any:
    found = 0
    for form in range(forms.entities[entity], forms.entities[entity + 1]):
        found += count_in_document(text, form, begin, end)
    return found


@compiled()
def _append_by_blocks(
    text: Any, begin: Any, end: Any, forms: Any, entity: Any, segment: Any, keys: Any, count: Any
) -> Any:
    found = np.empty(end - begin, np.uint32)
    for form in range(forms.entities[entity], forms.entities[entity + 1]):
        size = find_in_document(text, form, begin, end, found)
        if count + size > keys.size:
            return -1
        for i in range(size):
            keys[count] = mention_key(segment, found[i], forms.starts[form + 1] - forms.starts[form])
            count += 1
    return count


def _by_text(reading: Kernel[..., Any], blocks: Kernel[..., Any]) -> Lazy:
    """Return a function that runs one of two others, depending on the type of its first argument."""

    def make() -> Any:
        from numba.core import types
        from numba.extending import overload

        by_reading, by_blocks = reading.dispatcher, blocks.dispatcher

        def chosen(text: Any, *others: Any) -> Any:
            raise NotImplementedError  # the compiler chooses

        @overload(chosen, strict=False)
        def choose(text: Any, *others: Any) -> Any:
            del others
            if isinstance(text, types.Array):
                return lambda text, *others: by_reading(text, *others)
            return lambda text, *others: by_blocks(text, *others)

        return chosen

    return Lazy(make)


#: ``count_mentions(text, begin, end, forms, entity)`` returns the occurrences of an entity's forms within [begin, end).
count_mentions: Any = _by_text(_count_by_reading, _count_by_blocks)
#: ``append_mentions(text, begin, end, forms, entity, segment, keys, count)`` appends the keys of these occurrences to
#: ``keys``, and returns the new number of keys; -1 if they do not fit.
append_mentions: Any = _by_text(_append_by_reading, _append_by_blocks)
