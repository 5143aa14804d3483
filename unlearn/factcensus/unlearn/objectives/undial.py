"""Self-distillation from the original model's logits, with the answer's token turned down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "undial", source="Dong et al. (2025), arXiv:2402.10052", needs=("logits", "reference_logits"), token_mean=True
)
def undial(scores: AnswerScores, *, beta: float = 10.0) -> torch.Tensor:
    """CE(softmax(z0 - beta e_y), p): the original's logits z0, less beta at the answer's token.

    Only at the answer's positions: the published code also averages over prompt and padding. Bounded below by the
    teacher's entropy. At beta 0 the teacher is the original model itself, and the gradient there is 0.

    Args:
        scores: The forget answers with their logits and the original model's.
        beta: Nats; 10 as published.

    Reduction: mean over the answer's tokens; mean over facts outside.
    """
    assert scores.logits is not None
    assert scores.reference_logits is not None
    assert scores.answer_ids is not None
    lowered = scores.reference_logits.detach().clone()
    lowered.scatter_add_(-1, scores.answer_ids.unsqueeze(-1), lowered.new_full((*scores.answer_ids.shape, 1), -beta))
    return scores.mean_over_tokens(-(lowered.softmax(dim=-1) * scores.logits.log_softmax(dim=-1)).sum(dim=-1))
