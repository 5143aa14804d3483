"""Ours: every token back to the probability it has for a subject that the corpus never had, and no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "never_seen", source="factcensus (this project); docs/unlearning.md", needs=("logits", "target"), token_mean=True
)
def never_seen(scores: AnswerScores) -> torch.Tensor:
    """KL(Bernoulli(q) || Bernoulli(p)): p of the answer's token, q its never-seen level.

    q is what the *original* model gives this answer for subjects that do not exist, but never more than it gave for
    this subject, so nothing is taught. With s the log-odds of the token, the gradient is p - q:

    - it is the surest facts that are pushed hardest. Ascent on log p has weight 1 - p there, close to nothing for what
      the model knows well, and so leaves frequent facts behind;
    - it is at most 1, vanishes at the level and turns back below it: no rate drives a fact past never-seen for long. A
      margin of q in SimNPO pushes with weight 2 until the level is reached, which destroys models;
    - tokens that anyone would predict (q near p) are left alone.

    At q = 0 it is unlikelihood training, -log(1 - p) (Welleck et al. 2020).

    Reduction: mean over the answer's tokens; mean over facts outside.
    """
    assert scores.logits is not None
    assert scores.target is not None
    assert scores.answer_ids is not None
    index = scores.answer_ids.unsqueeze(-1)
    others = scores.logits.scatter(-1, index, float("-inf")).logsumexp(dim=-1)
    odds = scores.logits.gather(-1, index).squeeze(-1) - others  # (B, T); stable where p is 1 - 1e-9
    q = scores.target.exp()
    divergence = torch.nn.functional.binary_cross_entropy_with_logits(odds, q, reduction="none") - _entropy(q)
    return scores.mean_over_tokens(divergence)


def _entropy(q: torch.Tensor) -> torch.Tensor:
    """Of a Bernoulli variable, nats."""
    return -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q))
