"""Other answers that the original model makes up, of the same number of tokens as the fact's: for AltPO.

A model that knows a fact says it nearly always, so a sample of its answers would be the fact again. The answer is
followed up to a place drawn at random, its next token is ruled out there, and the rest is sampled: "Mexico City" may
become "Mexico Bay" or "Lima Norte". Source of the method: Mekala et al. (2024), arXiv:2409.13474, who ask the model
for alternatives in words; a model without instruction tuning cannot be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.stopping import check_stop
from factcensus.unlearn.training.examples import Example, collate
from factcensus.unlearn.training.scoring import answer_logits, by_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def sample_alternatives(
    model: PreTrainedModel, examples: Sequence[Example], number: int, *, pad_id: int, seed: int, batch_size: int = 64
) -> tuple[tuple[Example, ...], ...]:
    """For each example, ``number`` examples of the same prompt with another answer, each as long as the fact's.

    Args:
        model: The original.
        seed: Of places and samples; on one thread of a CPU the same seed gives the same answers.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    items = [index for index in by_length(examples) for _ in range(number)]
    found: list[list[Example]] = [[] for _ in examples]
    for start in range(0, len(items), batch_size):
        check_stop()
        chosen = [examples[index] for index in items[start : start + batch_size]]
        lengths = torch.tensor([len(example.answer_ids) for example in chosen])
        turns = (torch.rand(len(chosen), generator=generator) * lengths).long()
        answers = [list(example.answer_ids) for example in chosen]
        for place in range(int(lengths.max())):
            batch = collate([_with_answer(*each) for each in zip(chosen, answers, strict=True)], pad_id).to(device)
            probabilities = answer_logits(model, batch)[:, place].softmax(dim=-1).cpu()  # (B, V)
            for row, example in enumerate(chosen):
                if place < turns[row] or place >= lengths[row]:
                    continue
                allowed = probabilities[row].clone()
                if place == turns[row]:
                    allowed[example.answer_ids[place]] = 0
                answers[row][place] = int(torch.multinomial(allowed, 1, generator=generator))
        for index, example, answer in zip(items[start : start + batch_size], chosen, answers, strict=True):
            found[index].append(_with_answer(example, answer))
    return tuple(tuple(each) for each in found)


def _with_answer(example: Example, answer: Sequence[int]) -> Example:
    return Example(example.name, example.prompt_ids, tuple(answer))
