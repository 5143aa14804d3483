"""What a model can read at all: so many positions, and the tokens that its embedding has rows for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.errors import ConfigError, ExampleError
from factcensus.unlearn.training.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one model.

    Attributes:
        positions: Tokens that a text may have; None if the architecture sets no limit.
        vocabulary: Rows of the embedding.
    """

    positions: int | None
    vocabulary: int

    def room(self, tokens: int) -> int | None:
        """Return how many tokens may follow so many; None if the architecture sets no limit."""
        return None if self.positions is None else max(0, self.positions - tokens)

    def problem(self, example: Example) -> str | None:
        """Return why the model cannot read an example, or None if it can."""
        if self.positions is not None and len(example) > self.positions:
            return (
                f"prompt and answer have {len(example)} tokens, and the model has {self.positions} positions; shorten "
                "the prompt or the template"
            )
        if (largest := max(example.prompt_ids + example.answer_ids)) >= self.vocabulary:
            return (
                f"token {largest} is in the text, and the model's embedding has {self.vocabulary} rows; use the "
                "tokenizer that belongs to the model, or resize the embedding and train it first"
            )
        return None

    def check(self, examples: Iterable[Example]) -> None:
        """Do nothing if the model can read every example.

        Raises:
            ExampleError: it cannot read one; the message names the fact.
        """
        for example in examples:
            if problem := self.problem(example):
                raise ExampleError(f"fact {example.name!r}: {problem}")


#: Of a model about which nothing is known.
NO_LIMITS = Limits(None, sys.maxsize)


def limits_of(model_config: Any) -> Limits:
    """Return the limits of a model from its configuration."""
    text = model_config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    return Limits(positions if isinstance(positions, int) and positions > 0 else None, int(text.vocab_size))


def check_tokenizer_fits(tokenizer: PreTrainedTokenizerBase, limits: Limits, name: str) -> None:
    """Do nothing if every token of the tokenizer has a row in the model's embedding; a padding token need not.

    Raises:
        ConfigError: one has none.
    """
    outside = {
        token: number
        for token, number in tokenizer.get_vocab().items()
        if number >= limits.vocabulary and number != tokenizer.pad_token_id
    }
    if outside:
        token = min(outside, key=lambda each: outside[each])
        raise ConfigError(
            f"model {name!r}: the tokenizer has {len(outside)} tokens more than the embedding has rows "
            f"({limits.vocabulary}), the first of them {token!r} (id {outside[token]}); use the tokenizer that belongs "
            "to the model, or resize the embedding and train it first"
        )
