"""The surface forms of many entities as flat arrays: what a table of facts is laid out in, once for all shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.entities import LONGEST_MENTION, find_simple

Array = npt.NDArray[Any]
TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextForms:
    """The token sequences that each of many texts may stand as.

    Attributes:
        tokens: int64: the ids of all sequences, one after another; -1 where a token stands nowhere in the corpus.
        starts: int64 (sequences + 1,): where each begins there.
        texts: int64 (texts + 1,): where the sequences of each text begin.
    """

    tokens: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    texts: npt.NDArray[np.int64]

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """bool (texts,): no token is left of the text."""
        begins = self.starts[self.texts]
        none: npt.NDArray[np.bool_] = begins[1:] == begins[:-1]
        return none


@dataclass(frozen=True, slots=True)
class Forms:
    """The surface forms of many entities, flat, as the compiled code takes them.

    Attributes:
        tokens: uint32: the ids of all forms, one after another.
        starts: int64 (forms + 1,): where each form begins there.
        entities: int64 (entities + 1,): where each entity's forms begin; the longest form comes first.
        simple: bool (entities,): no two mentions of the entity can overlap, so every occurrence of a form is one.
    """

    tokens: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    entities: npt.NDArray[np.int64]
    simple: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.simple)

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """Tokens, starts and entities."""
        return self.tokens, self.starts, self.entities


def flat_texts(texts: Sequence[Sequence[TokenIds]]) -> TextForms:
    """The token sequences of texts, laid flat."""
    flat = [ids for each in texts for ids in each]
    starts = _starts(np.fromiter(map(len, flat), np.int64, len(flat)))
    tokens = np.fromiter(chain.from_iterable(flat), np.int64, int(starts[-1]))
    return TextForms(tokens, starts, _starts(np.fromiter(map(len, texts), np.int64, len(texts))))


def forms_of_texts(texts: TextForms, named: npt.NDArray[np.int64], entities: npt.NDArray[np.int64]) -> Forms:
    """The forms of entities that are named by texts; of each the distinct ones whose tokens all occur.

    Args:
        texts: their token sequences.
        named: int64: the number of each text that names an entity, entity by entity.
        entities: int64 (entities + 1,): where each entity's begin there.

    Raises:
        InputError: a form is longer than a mention can be.
    """
    check_length(int(np.diff(texts.starts).max(initial=0)))
    most = int((texts.texts[named + 1] - texts.texts[named]).sum())
    chosen, sizes = np.empty(most, np.int64), np.empty(len(entities) - 1, np.int64)
    chosen = chosen[: _choose_forms(texts.tokens, texts.starts, texts.texts, named, entities, chosen, sizes)]
    begins, lengths = texts.starts[chosen], texts.starts[chosen + 1] - texts.starts[chosen]
    starts = _starts(lengths)
    tokens = texts.tokens[np.repeat(begins - starts[:-1], lengths) + np.arange(starts[-1])].astype(np.uint32)
    first_forms = _starts(sizes)
    simple = np.empty(len(sizes), np.bool_)
    find_simple(tokens, starts, first_forms, simple)
    return Forms(tokens, starts, first_forms, simple)


def check_length(tokens: int) -> None:
    """Raise unless a name of so many tokens can be counted.

    Raises:
        InputError: it is longer than a mention can be.
    """
    if tokens > LONGEST_MENTION:
        raise InputError(f"a name of {tokens:,} tokens is too long; the most are {LONGEST_MENTION:,}")


def forms_of_entities(entities: Sequence[Sequence[TokenIds]]) -> Forms:
    """The forms of entities that are given by their token sequences.

    Raises:
        InputError: a form is longer than a mention can be.
    """
    texts = flat_texts(entities)
    each = np.arange(len(entities) + 1)
    return forms_of_texts(texts, each[:-1], each)


def _starts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where things of these sizes begin, one after another, and where the last ends."""
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts


@compiled()
def _choose_forms(
    tokens: Array, starts: Array, texts: Array, named: Array, entities: Array, chosen: Array, sizes: Array
) -> int:
    """Write the numbers of each entity's forms to ``chosen``, the longest first, and how many they are to ``sizes``."""
    count = 0
    for entity in range(sizes.size):
        first = count
        for i in range(entities[entity], entities[entity + 1]):
            for form in range(texts[named[i]], texts[named[i] + 1]):
                size = starts[form + 1] - starts[form]
                occurs = size > 0
                for at in range(starts[form], starts[form + 1]):
                    occurs = occurs and tokens[at] >= 0
                at = count  # behind all that are at least as long
                while occurs and at > first and starts[chosen[at - 1] + 1] - starts[chosen[at - 1]] < size:
                    at -= 1
                other = at - 1
                while occurs and other >= first and starts[chosen[other] + 1] - starts[chosen[other]] == size:
                    same = True
                    for k in range(size):
                        if tokens[starts[chosen[other]] + k] != tokens[starts[form] + k]:
                            same = False
                            break
                    occurs = not same
                    other -= 1
                if occurs:
                    for k in range(count, at, -1):
                        chosen[k] = chosen[k - 1]
                    chosen[at] = form
                    count += 1
        sizes[entity] = count - first
    return count
