"""The surface forms of many entities as flat arrays, made once per table of facts for all shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array, TokenIds
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.overlap import find_simple
from factcensus.indexer.kernels.reading import LONGEST_MENTION


@dataclass(frozen=True, slots=True)
class TextForms:
    """The possible token sequences of each of many texts.

    Attributes:
        tokens: int64: the concatenated ids of all sequences; -1 for a token that does not occur in the corpus.
        starts: int64 (sequences + 1,): the start of each sequence in ``tokens``.
        texts: int64 (texts + 1,): the first sequence of each text.
    """

    tokens: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    texts: npt.NDArray[np.int64]

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """bool (texts,): whether the text has no tokens."""
        begins = self.starts[self.texts]
        none: npt.NDArray[np.bool_] = begins[1:] == begins[:-1]
        return none


@dataclass(frozen=True, slots=True)
class Forms:
    """The surface forms of many entities as flat arrays for compiled code.

    Attributes:
        tokens: uint32: the concatenated ids of all forms.
        starts: int64 (forms + 1,): the start of each form in ``tokens``.
        entities: int64 (entities + 1,): the first form of each entity; the longest form comes first.
        simple: bool (entities,): no two mentions of the entity can overlap, so every occurrence of a form is a mention.
    """

    tokens: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    entities: npt.NDArray[np.int64]
    simple: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.simple)

    @property
    def ngrams(self) -> list[TokenIds]:
        """The token ids of each form."""
        ids = self.tokens.tolist()
        return [tuple(ids[begin:end]) for begin, end in pairwise(self.starts.tolist())]

    def sums(self, of_forms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the sum over the forms of each entity, int64 (entities,), of a number per form."""
        before = np.concatenate([[0], np.cumsum(of_forms)])
        found: npt.NDArray[np.int64] = before[self.entities[1:]] - before[self.entities[:-1]]
        return found

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """The arrays ``tokens``, ``starts`` and ``entities``."""
        return self.tokens, self.starts, self.entities


def flat_texts(texts: Sequence[Sequence[TokenIds]]) -> TextForms:
    """Return the token sequences of texts as flat arrays."""
    flat = [ids for each in texts for ids in each]
    starts = _starts(np.fromiter(map(len, flat), np.int64, len(flat)))
    tokens = np.fromiter(chain.from_iterable(flat), np.int64, int(starts[-1]))
    return TextForms(tokens, starts, _starts(np.fromiter(map(len, texts), np.int64, len(texts))))


def forms_of_texts(texts: TextForms, named: npt.NDArray[np.int64], entities: npt.NDArray[np.int64]) -> Forms:
    """Return the distinct forms of entities whose tokens all occur in the corpus.

    Args:
        texts: The token sequences of all texts.
        named: int64: the numbers of the texts that name the entities, entity by entity.
        entities: int64 (entities + 1,): the start of each entity in ``named``.

    Raises:
        InputError: A form is too long.
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
    """Check the number of tokens of a name.

    Raises:
        InputError: The name is too long.
    """
    if tokens > LONGEST_MENTION:
        raise InputError(f"a name of {tokens:,} tokens is too long; give at most {LONGEST_MENTION:,} tokens")


def forms_of_entities(entities: Sequence[Sequence[TokenIds]]) -> Forms:
    """Return the forms of entities that are given as token sequences.

    Raises:
        InputError: A form is too long.
    """
    texts = flat_texts(entities)
    each = np.arange(len(entities) + 1)
    return forms_of_texts(texts, each[:-1], each)


def _starts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the start of each of several consecutive ranges of these sizes, and the end of the last."""
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts


@compiled()
def _choose_forms(  # noqa: C901 - compiled: one loop that keeps its state in local variables
    tokens: Array, starts: Array, texts: Array, named: Array, entities: Array, chosen: Array, sizes: Array
) -> int:
    """Write the numbers of each entity's forms to ``chosen``, longest first, and the number of forms to ``sizes``."""
    count = 0
    for entity in range(sizes.size):
        first = count
        for i in range(entities[entity], entities[entity + 1]):
            for form in range(texts[named[i]], texts[named[i] + 1]):
                size = starts[form + 1] - starts[form]
                occurs = size > 0
                for at in range(starts[form], starts[form + 1]):
                    occurs = occurs and tokens[at] >= 0
                at = count  # after all forms that are at least as long
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
