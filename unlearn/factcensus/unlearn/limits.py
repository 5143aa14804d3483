"""The limits of a model: its positions and the rows of its embedding."""

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
        positions: Maximum number of tokens in a text; None if the architecture has no limit.
        vocabulary: Number of rows of the embedding.
    """

    positions: int | None
    vocabulary: int

    def room(self, tokens: int) -> int | None:
        """Return how many tokens may follow ``tokens`` tokens; None if the architecture has no limit."""
        return None if self.positions is None else max(0, self.positions - tokens)

    def problem(self, example: Example) -> str | None:
        """Return why the model cannot read an example, or None if it can."""
        if self.positions is not None and len(example) > self.positions:
            return (
                f"prompt and answer have {len(example)} tokens, but the model has {self.positions} positions; shorten "
                "the answer, the prompt or the template"
            )
        if (largest := max(example.prompt_ids + example.answer_ids)) >= self.vocabulary:
            return (
                f"the text contains token {largest}, but the model's embedding has {self.vocabulary} rows; use the "
                "tokenizer that belongs to the model, or resize the embedding and train it first"
            )
        return None

    def check(self, examples: Iterable[Example]) -> None:
        """Check that the model can read every example.

        Raises:
            ExampleError: it cannot; the message names the fact.
        """
        for example in examples:
            if problem := self.problem(example):
                raise ExampleError(f"fact {example.name!r}: {problem}")


#: The limits of an unknown model.
NO_LIMITS = Limits(None, sys.maxsize)


def limits_of(model_config: Any) -> Limits:
    """Return the limits of a model from its configuration."""
    text = model_config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    return Limits(positions if isinstance(positions, int) and positions > 0 else None, int(text.vocab_size))


def check_tokenizer_fits(tokenizer: PreTrainedTokenizerBase, limits: Limits, name: str) -> None:
    """Check that every token of the tokenizer, except a padding token, has a row in the model's embedding.

    Raises:
        ConfigError: a token has no row.
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
            f"({limits.vocabulary}), starting with {token!r} (id {outside[token]}); use the tokenizer that belongs "
            "to the model, or resize the embedding and train it first"
        )
