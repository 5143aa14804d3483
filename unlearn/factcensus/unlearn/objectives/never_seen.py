"""Our loss: move every answer token to its probability for subjects that the corpus never mentions, and no further."""

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
    """KL(Bernoulli(q) || Bernoulli(p)): p is the probability of the answer token, q its never-seen level.

    q is the probability that the *original* model gives this answer for subjects that do not exist. It never exceeds
    the probability for this subject, so the loss teaches nothing. The gradient with respect to the token's log-odds is
    p - q:

    - It is largest for the facts the model is surest of. Gradient ascent on log p weights a token by 1 - p, which is
      almost 0 for well-known facts, so frequent facts are hardly forgotten.
    - It is at most 1, is 0 at the level, and changes sign below it, so a fact that overshoots the level returns to it.
      A margin of q in SimNPO pushes with weight 2 until the level is reached, which destroys models.
    - Tokens that are predictable without the fact (q near p) hardly change.

    At q = 0 this is unlikelihood training, -log(1 - p) (Welleck et al. 2020).

    Reduction: mean over the answer's tokens, then over facts.
    """
    assert scores.logits is not None
    assert scores.target is not None
    assert scores.answer_ids is not None
    index = scores.answer_ids.unsqueeze(-1)
    others = scores.logits.scatter(-1, index, float("-inf")).logsumexp(dim=-1)
    odds = scores.logits.gather(-1, index).squeeze(-1) - others  # (B, T); stable up to p = 1 - 1e-9
    q = scores.target.exp()
    divergence = torch.nn.functional.binary_cross_entropy_with_logits(odds, q, reduction="none") - _entropy(q)
    return scores.mean_over_tokens(divergence)


def _entropy(q: torch.Tensor) -> torch.Tensor:
    """Return the entropy of a Bernoulli variable in nats."""
    return -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q))
