"""Jensen-Shannon divergence to a refusal, token by token: bounded by ln 2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "jensun",
    source="Singh et al. (2025), arXiv:2509.02820 (JensUn)",
    needs=("logits", "replacement_ids"),
    token_mean=True,
)
def jensun(scores: AnswerScores) -> torch.Tensor:
    """JSD(p, e_k): k is the refusal's token at this position; the refusal is repeated to the answer's length.

    The divergence from a one-hot distribution depends only on q = p(k):
    ln 2 + [q ln q - (1 + q) ln(1 + q)] / 2, which is ln 2 at q = 0 and 0 at q = 1.
    The gradient with respect to the logit of k is q (1 - q) ln(q / (1 + q)) / 2, which is 0 at q = 0.

    Reduction: mean over the answer's tokens, then over facts.
    """
    assert scores.logits is not None
    assert scores.replacement_ids is not None
    log_q = scores.logits.log_softmax(dim=-1).gather(-1, scores.replacement_ids.unsqueeze(-1)).squeeze(-1)
    q = log_q.exp()
    return scores.mean_over_tokens(math.log(2) + (q * log_q - (1 + q) * torch.log1p(q)) / 2)
