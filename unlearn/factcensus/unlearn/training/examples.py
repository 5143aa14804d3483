"""Encode prompts and answers as token ids with answer-only labels, and collate them into batches.

Two common mistakes cannot happen here. If a tokenizer merges the first characters of the answer with the end of the
prompt, labels are silently off by a token or empty; here this is an error that names the fact. Masks come from lengths,
never from ``id != pad_id``: the padding token is often the end-of-text or end-of-turn token, and such a mask would hide
tokens inside the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from factcensus.unlearn.chat import render
from factcensus.unlearn.config.choices import check_template
from factcensus.unlearn.errors import ExampleError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a prompt, with the tokens that open a text, and of its answer. Losses use only the answer."""

    name: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answer: str,
    template: str = "plain",
    name: str = "",
    end: bool = False,
) -> Example:
    """Return the token ids of a prompt and its answer.

    Args:
        tokenizer: Any tokenizer of transformers.
        prompt: A question, or the beginning of a sentence.
        answer: The expected continuation.
        template: ``plain``: prompt, a space, answer, after the tokens that open a text. ``chat``: the prompt as a
            user message in the tokenizer's chat template, and the answer as the reply. Any other template is a text
            around ``{prompt}`` that ends with ``{answer}``, after the tokens that open a text.
        name: Name of the fact, for error messages.
        end: Append the end-of-text token to the answer, if the tokenizer has one.

    Raises:
        ExampleError: the answer is empty or contains an unknown token, or its first token merges with the prompt.
        ConfigError: the template is unknown, or it is ``chat`` and the tokenizer has no chat template.
    """
    prompt, answer = prompt.rstrip(), answer.strip()
    if not answer or not prompt:
        raise ExampleError(f"fact {name!r}: prompt is {prompt!r:.120} and answer {answer!r:.120}; neither may be empty")
    if check_template(template) == "chat":
        text = render(tokenizer, prompt)
        if prompt.strip() not in text:
            raise ExampleError(f"fact {name!r}: the chat template leaves out or changes the prompt {prompt!r:.120}")
        opened, whole = _plain_ids(tokenizer, text), _plain_ids(tokenizer, text + answer)
    else:
        text = "{prompt} {answer}" if template == "plain" else template
        text = text.replace("{prompt}", prompt)
        # A space between prompt and answer belongs to the answer's first token.
        opened = _opened(tokenizer, text.removesuffix("{answer}").removesuffix(" "))
        whole = _opened(tokenizer, text.removesuffix("{answer}") + answer)
    if whole[: len(opened)] != opened or len(whole) == len(opened):
        raise ExampleError(_merged(tokenizer, name, answer, opened, whole))
    answer_ids = whole[len(opened) :]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in answer_ids:
        raise ExampleError(
            f"fact {name!r}: the answer {answer!r:.120} contains a word that the tokenizer does not know, so the model "
            "cannot say it; write the answer with other words, or remove the fact"
        )
    if end and tokenizer.eos_token_id is not None:
        answer_ids = [*answer_ids, tokenizer.eos_token_id]
    return Example(name, tuple(opened), tuple(answer_ids))


def _merged(
    tokenizer: PreTrainedTokenizerBase, name: str, answer: str, opened: Sequence[int], whole: Sequence[int]
) -> str:
    """Return the error message for an answer that merges with its prompt; it shows the tokens of both cases."""
    same = 0
    while same < min(len(opened), len(whole)) and opened[same] == whole[same]:
        same += 1
    first = max(0, same - 1)
    alone = tokenizer.convert_ids_to_tokens(list(opened[first:]))
    together = tokenizer.convert_ids_to_tokens(list(whole[first : len(opened) + 2]))
    return (
        f"fact {name!r}: the tokenizer merges the end of the prompt with the answer {answer!r:.120}, so the answer "
        f"has no separate first token: the prompt alone ends with {alone}, with the answer it becomes {together}. "
        "End the prompt with another character (a colon, a line break), or use a template that adds one, such as "
        "template = 'Question: {prompt}\nAnswer: {answer}'"
    )


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _opened(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a text with the special tokens before it, but without those after it."""
    encoding = tokenizer(text, return_special_tokens_mask=True)
    ids, special = list(encoding["input_ids"]), list(encoding["special_tokens_mask"])
    while special and special[-1]:
        ids.pop()
        special.pop()
    return ids


@dataclass(frozen=True, slots=True)
class Batch:
    """B padded examples of at most L tokens, and the positions of their answers of at most T tokens.

    Attributes:
        input_ids: (B, L) int64.
        attention_mask: (B, L) int64, 1 for text and 0 for padding.
        position_ids: (B, L) int64: position of each token in its own text, independent of the padding side.
        answer_ids: (B, T) int64; 0 after the end of the answer.
        answer_positions: (B, T) int64: positions in L whose logits predict the answer's tokens; 0 after its end.
        answer_mask: (B, T) bool: true at the answer's tokens.
        padded_left: Whether any text begins after position 0.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    answer_ids: torch.Tensor
    answer_positions: torch.Tensor
    answer_mask: torch.Tensor
    padded_left: bool

    def to(self, device: torch.device) -> Batch:
        """Return the batch on this device."""
        return Batch(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            position_ids=self.position_ids.to(device),
            answer_ids=self.answer_ids.to(device),
            answer_positions=self.answer_positions.to(device),
            answer_mask=self.answer_mask.to(device),
            padded_left=self.padded_left,
        )


def collate(examples: Sequence[Example], pad_id: int, side: Literal["right", "left"] = "right") -> Batch:
    """Pad examples to the length of the longest one. No loss depends on ``pad_id`` or ``side``."""
    length = max(map(len, examples))
    answer_length = max(len(example.answer_ids) for example in examples)
    shape, answer_shape = (len(examples), length), (len(examples), answer_length)
    input_ids = torch.full(shape, pad_id, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    position_ids = torch.zeros(shape, dtype=torch.long)
    answer_ids = torch.zeros(answer_shape, dtype=torch.long)
    answer_positions = torch.zeros(answer_shape, dtype=torch.long)
    answer_mask = torch.zeros(answer_shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        first = length - len(example) if side == "left" else 0
        text = slice(first, first + len(example))
        input_ids[row, text] = torch.tensor(example.prompt_ids + example.answer_ids)
        attention_mask[row, text] = 1
        position_ids[row, text] = torch.arange(len(example))
        tokens = len(example.answer_ids)
        answer_ids[row, :tokens] = torch.tensor(example.answer_ids)
        answer_positions[row, :tokens] = torch.arange(tokens) + first + len(example.prompt_ids) - 1
        answer_mask[row, :tokens] = True
    padded_left = side == "left" and min(map(len, examples)) < length
    return Batch(input_ids, attention_mask, position_ids, answer_ids, answer_positions, answer_mask, padded_left)
