"""The training sets of a run, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.examples import Example

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Material:
    """The encoded input of training. Examples are (fact, form) pairs.

    Attributes:
        answers: The answers of the facts to forget, n examples.
        refusals: The refusal and the end-of-text token after the same prompts, n examples; empty if no method needs
            them.
        given: The answers of the column ``alternatives`` after the same prompts, n tuples; empty if no method needs
            them.
        fact_of: (n,) index of the fact of each example, 0 to m - 1.
        keys: (n,) relation and form of each example.
        retain: The retain examples.
        never_seen: Examples of facts that the corpus does not contain, with their relation and form.
        relations: (m,) relation of each fact to forget.
        counts: (m,) counts of the facts to forget, or None if the table has none.
        strata: (m,) strata of the facts to forget, or None if the table has none.
        watched: Whether the over-forgetting alarm is on.
        end_id: The end-of-text token; None if the tokenizer has none.
    """

    answers: tuple[Example, ...]
    refusals: tuple[Example, ...]
    given: tuple[tuple[Example, ...], ...]
    fact_of: tuple[int, ...]
    keys: tuple[Key, ...]
    retain: tuple[Example, ...]
    never_seen: tuple[tuple[Key, Example], ...]
    relations: tuple[str, ...]
    counts: tuple[int, ...] | None
    strata: tuple[int, ...] | None
    watched: bool = False
    end_id: int | None = None

    def of(self, method: MethodConfig) -> Material:
        """Return the examples for one method, with its end-of-text tokens and its span of the retain term.

        The answers, the refusals and ``given`` are equal for methods with the same ``end_after``.

        Raises:
            ConfigError: an answer should end with the end-of-text token, but the tokenizer has none.
        """
        ends = method.end_after
        if self.end_id is None and {"forget", "retain"} & {*ends}:
            raise ConfigError(
                f"method {method.name!r}: end_after needs an end-of-text token, but the tokenizer has none; "
                "set end_after to []"
            )
        retain = self._ended(self.retain) if "retain" in ends else self.retain
        forget = "forget" in ends
        return replace(
            self,
            answers=self._ended(self.answers) if forget else self.answers,
            given=tuple(map(self._ended, self.given)) if forget else self.given,
            refusals=self.refusals if "refusal" in ends else tuple(map(self.not_ended, self.refusals)),
            retain=tuple(map(whole_text, retain)) if method.retain_over == "text" else retain,
        )

    def _ended(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        assert self.end_id is not None
        return tuple(replace(each, answer_ids=(*each.answer_ids, self.end_id)) for each in examples)

    def not_ended(self, refusal: Example) -> Example:
        """Return a refusal without the end-of-text token, if it has one."""
        ids = refusal.answer_ids
        return replace(refusal, answer_ids=ids[:-1]) if len(ids) > 1 and ids[-1] == self.end_id else refusal


def whole_text(example: Example) -> Example:
    """Return an example whose loss covers the prompt as well, except its first token, which nothing predicts."""
    ids = example.prompt_ids + example.answer_ids
    return replace(example, prompt_ids=ids[:1], answer_ids=ids[1:])
