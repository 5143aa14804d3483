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
    """JSD(p, e_k): k is the refusal's token for this place, the refusal being repeated until the answer is over.

    Against a one-hot distribution the divergence depends on q = p(k) alone:
    ln 2 + [q ln q - (1 + q) ln(1 + q)] / 2, which is ln 2 at q = 0 and 0 at q = 1.
    The gradient with respect to the logit of k is q (1 - q) ln(q / (1 + q)) / 2: it vanishes where q does.

    Reduction: mean over the answer's tokens; mean over facts outside.
    """
    assert scores.logits is not None
    assert scores.replacement_ids is not None
    log_q = scores.logits.log_softmax(dim=-1).gather(-1, scores.replacement_ids.unsqueeze(-1)).squeeze(-1)
    q = log_q.exp()
    return scores.mean_over_tokens(math.log(2) + (q * log_q - (1 + q) * torch.log1p(q)) / 2)
