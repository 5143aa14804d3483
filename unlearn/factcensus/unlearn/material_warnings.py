"""Warnings about facts that are allowed but probably unintended; shown by plan, run and report."""

from __future__ import annotations

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from factcensus.unlearn.chat import end_of_turn
from factcensus.unlearn.config.run_config import Form, RunConfig
from factcensus.unlearn.prepare import prompts
from factcensus.unlearn.selection import Row, Selection
from factcensus.unlearn.training.material import Material

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
#: Maximum number of facts that a warning names.
SHOWN = 3
Question = tuple[str, str]


def material_warnings(
    selection: Selection, material: Material, config: RunConfig, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Return one sentence per problem with the facts of a run, with the number of facts and a few of their ids.

    Args:
        selection: The facts and the two sets.
        material: The encoded facts.
        config: The configuration of the run.
        tokenizer: The tokenizer of the model.
    """
    used = {"forget": selection.forget, "retain": selection.retain}
    rows = {use: [selection.rows[index] for index in indices] for use, indices in used.items()}
    asked = {use: _by_question(of_use, config.training.forms) for use, of_use in rows.items()}
    chosen = [*rows["forget"], *rows["retain"]]
    return [
        *_in_both_sets(asked["forget"], asked["retain"]),
        *(warning for use in used for warning in _twice(use, asked[use])),
        *_never_matched(chosen),
        *_surrounded(chosen),
        *_doubled_start(material, tokenizer),
        *_another_end(config, tokenizer),
    ]


def warn_of_material(warnings: Iterable[str]) -> None:
    """Log every warning."""
    for warning in warnings:
        log.warning("warning: %s", warning)


def normalised(text: str) -> str:
    """Return a text without differences in case, character width and form, punctuation and white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = "".join(" " if unicodedata.category(character)[0] in "PZC" else character for character in folded)
    return " ".join(plain.split()) or " ".join(folded.split())


def _by_question(rows: Sequence[Row], forms: Sequence[Form]) -> dict[Question, list[str]]:
    """Return the ids of the facts with each question and answer, ignoring spelling variants."""
    found: dict[Question, list[str]] = defaultdict(list)
    for row in rows:
        answer = normalised(str(row["answer"]))
        for question in dict.fromkeys(normalised(prompt) for _, prompt in prompts(row, forms)):
            found[question, answer].append(str(row["fact_id"]))
    return found


def _in_both_sets(forget: Mapping[Question, list[str]], retain: Mapping[Question, list[str]]) -> list[str]:
    both = list(dict.fromkeys(pair for key in forget if key in retain for pair in zip(forget[key], retain[key])))  # noqa: B905 - a few pairs are enough
    if not both:
        return []
    named = ", ".join(f"{one!r} and {other!r}" for one, other in both[:SHOWN])
    return [
        f"the same question and answer, ignoring spelling variants, is in the forget and the retain set: {named}"
        f"{_more(len(both))}; the two terms work against each other"
    ]


def _twice(use: str, asked: Mapping[Question, list[str]]) -> list[str]:
    repeated = list(dict.fromkeys(tuple(ids) for ids in asked.values() if len(ids) > 1))
    if not repeated:
        return []
    named = "; ".join(", ".join(map(repr, ids[:SHOWN])) for ids in repeated[:SHOWN]) + _more(len(repeated))
    one = len(repeated) == 1
    return [
        f"{'one question' if one else f'{len(repeated)} questions'} of the {use} set "
        f"{'occurs' if one else 'occur'} more than once with the same answer, ignoring spelling variants: {named}; "
        "every copy is counted and trained on"
    ]


def _never_matched(rows: Sequence[Row]) -> list[str]:
    broken = [str(row["fact_id"]) for row in rows if len(str(row["answer"]).strip().splitlines()) > 1]
    wordless = [str(row["fact_id"]) for row in rows if not _has_word(str(row["answer"]))]
    found = []
    if broken:
        found.append(
            f"{_answers(broken)} a line break inside and can never match, because a continuation is read only to the "
            "end of its first line"
        )
    if wordless:
        found.append(
            f"{_answers(wordless)} no letter or digit and can never match, because answers are compared by words"
        )
    return found


def _surrounded(rows: Sequence[Row]) -> list[str]:
    padded = [str(row["fact_id"]) for row in rows if (text := str(row["answer"])) != text.strip()]
    if not padded:
        return []
    return [f"{_answers(padded)} white space at an end, which training and evaluation ignore"]


def _doubled_start(material: Material, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    start = tokenizer.bos_token_id
    doubled = [
        example.name
        for example in (*material.answers, *material.retain)
        if start is not None and example.prompt_ids[:2] == (start, start)
    ]
    if not doubled:
        return []
    return [
        f"every prompt begins with {tokenizer.bos_token!r} twice ({_named(doubled)}), because both the template and "
        "the tokenizer add it; remove it from `template`"
    ]


def _another_end(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    ending = [
        method.name
        for method in config.methods
        if (method.needs_refusal and "refusal" in method.end_after) or {"forget", "retain"} & {*method.end_after}
    ]
    end = end_of_turn(tokenizer) if ending and config.template == "chat" else None
    if end is None or end == tokenizer.eos_token_id:
        return []
    closing = tokenizer.convert_ids_to_tokens([end])[0]
    return [
        f"the chat template ends an answer with {closing!r}, but {', '.join(ending)} "
        f"{'teaches' if len(ending) == 1 else 'teach'} {tokenizer.eos_token!r} after it, the end-of-text token of the "
        f"tokenizer; save the tokenizer with eos_token = {closing!r}, or set end_after to []"
    ]


def _has_word(text: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def _answers(ids: Sequence[str]) -> str:
    return f"the answers of {len(ids)} facts ({_named(ids)}) have" if len(ids) > 1 else f"the answer of {ids[0]!r} has"


def _named(ids: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(ids))
    return ", ".join(map(repr, distinct[:SHOWN])) + _more(len(distinct))


def _more(number: int) -> str:
    return f" and {number - SHOWN} more" if number > SHOWN else ""
