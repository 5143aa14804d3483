"""Self-distillation from the original model's logits, with the logit of the answer token lowered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import AT_LEAST_ZERO, objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "undial",
    source="Dong et al. (2025), arXiv:2402.10052",
    needs=("logits", "reference_logits"),
    token_mean=True,
    accepted={"beta": AT_LEAST_ZERO},
)
def undial(scores: AnswerScores, *, beta: float = 10.0) -> torch.Tensor:
    """CE(softmax(z0 - beta e_y), p): z0 are the original model's logits, reduced by beta at the answer token.

    The loss uses only the answer's positions; the published code also averages over prompt and padding. It is bounded
    below by the entropy of the teacher. At beta 0 the teacher is the original model, and the initial gradient is 0.

    Args:
        scores: The forget answers with their logits and those of the original model.
        beta: Reduction of the answer's logit, in nats; 10 as published.

    Reduction: mean over the answer's tokens, then over facts.
    """
    assert scores.logits is not None
    assert scores.reference_logits is not None
    assert scores.answer_ids is not None
    lowered = scores.reference_logits.detach().clone()
    lowered.scatter_add_(-1, scores.answer_ids.unsqueeze(-1), lowered.new_full((*scores.answer_ids.shape, 1), -beta))
    return scores.mean_over_tokens(-(lowered.softmax(dim=-1) * scores.logits.log_softmax(dim=-1)).sum(dim=-1))
