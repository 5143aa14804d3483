"""Refusal training: learn to answer that the fact is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "idk",
    source="Maini et al. (2024), arXiv:2401.06121 (IDK without the preference term)",
    answer="refusal",
    token_mean=True,
)
def idk(scores: AnswerScores) -> torch.Tensor:
    """+l of the refusal: mean loss of the refusal after the forget prompt.

    The scores are those of the refusal (ending with the end-of-text token), not of the fact's answer. The loss is
    bounded below by 0 and decreases as in ordinary fine-tuning. It teaches a new answer rather than removing the old
    one.

    Reduction: mean over the refusal's tokens, then over facts.
    """
    return scores.mean_nll
