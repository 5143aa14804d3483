"""Refusal training: learn to say that one does not know."""

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

    The scores are those of the refusal (closed with the end-of-text token), not of the fact's answer. Bounded below
    by 0, and falls like any fine-tuning; it teaches an answer over the old one rather than taking anything away.

    Reduction: mean over the refusal's tokens; mean over facts outside.
    """
    return scores.mean_nll
