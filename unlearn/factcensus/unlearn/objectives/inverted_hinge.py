"""The inverted hinge: push the answer token below the most likely other token, with a bounded loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("inverted_hinge", source="Cha et al. (2025), arXiv:2408.06621 (LoKU)", needs=["logits"], token_mean=True)
def inverted_hinge(scores: AnswerScores) -> torch.Tensor:
    """1 + p(y) - max_{v != y} p(v): between 0 and 2.

    Let v be the most likely token other than y. The gradient with respect to the logit of y is
    p(y) (1 - p(y) + p(v)): bounded, and 0 once p(y) is 0. The other half of LoKU, adapters initialised by Fisher
    information, is ``adapter.start = "fila"``.

    Reduction: mean over the answer's tokens, then over facts.
    """
    assert scores.logits is not None
    assert scores.answer_ids is not None
    p = scores.logits.softmax(dim=-1)
    index = scores.answer_ids.unsqueeze(-1)
    runner_up = p.scatter(-1, index, -1.0).amax(dim=-1)
    return scores.mean_over_tokens(1 + p.gather(-1, index).squeeze(-1) - runner_up)
