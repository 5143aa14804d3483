"""Names of people whom the model has never seen; the same questions are asked about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from factcensus.eval.asking.matching import words
from factcensus.eval.errors import EvaluationInputError
from factcensus.indexer.paths import not_found
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


#: The fewest people for comparison: with fewer, no fact could be more probable than for 99 of 100 people.
LEAST = 99


def made_up_names(seed: int) -> Iterator[str]:
    """Yield made-up names in random order: every pair of a first and a last name of the invented worlds."""
    pairs = list(itertools.product(FIRST_NAMES, LAST_NAMES))
    for index in np.random.default_rng([seed, 30]).permutation(len(pairs)):
        yield " ".join(pairs[index])


def read_names(path: Path) -> list[str]:
    """Return the names in a text file, one per line, without blank lines and repetitions.

    Raises:
        EvaluationInputError: the file is missing, is not UTF-8 text, or has no names.
    """
    if not path.is_file():
        raise EvaluationInputError(not_found("file of names", path))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise EvaluationInputError(f"{path} is not UTF-8 text ({error}); save it as UTF-8, one name per line") from None
    names = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not names:
        raise EvaluationInputError(f"{path} has no names; write one per line")
    return names


def choose_names(
    candidates: Iterator[str],
    number: int,
    subjects: Collection[str],
    tokenizer: PreTrainedTokenizerBase,
    in_corpus: Callable[[str], bool] | None = None,
) -> tuple[str, ...]:
    """Return the first suitable names, at least :data:`LEAST` and at most ``number``.

    Left out are names that share a word with the name of an audited person, because they would remind the model of this
    person; names with a word that the tokenizer does not know; and names that occur in the corpus.

    Args:
        candidates: Names in order of preference.
        number: Maximum number of names.
        subjects: Names and aliases of the people who are audited.
        in_corpus: Returns whether a name occurs in the corpus that the model was trained on; None if it is not known.

    Raises:
        EvaluationInputError: too few names are suitable.
    """
    of_subjects = {word for name in subjects for word in words(name)}
    chosen: dict[tuple[str, ...], str] = {}
    shared = unknown = seen = 0
    for name in candidates:
        if not words(name) or words(name) in chosen:
            continue
        if of_subjects & {*words(name)}:
            shared += 1
        elif _has_unknown_word(tokenizer, name):
            unknown += 1
        elif in_corpus is not None and in_corpus(name):
            seen += 1
        else:
            chosen[words(name)] = name
            if len(chosen) == number:
                break
    if len(chosen) >= LEAST:
        return tuple(chosen.values())
    why = [f"{shared} share a word with an audited name"] if shared else []
    why += [f"{unknown} have words that the tokenizer does not know"] if unknown else []
    why += [f"{seen} occur in the corpus"] if seen else []
    raise EvaluationInputError(
        f"an audit compares with at least {LEAST} never-seen people, because chance could explain any difference from "
        f"fewer, but only {len(chosen)} names are suitable{' (' + ', '.join(why) + ')' if why else ''}; give more "
        "names with --names FILE"
    )


def _has_unknown_word(tokenizer: PreTrainedTokenizerBase, name: str) -> bool:
    ids = tokenizer(f"a {name}", add_special_tokens=False)["input_ids"]
    alone = tokenizer("a", add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    return unknown is not None and list(ids).count(unknown) > list(alone).count(unknown)
