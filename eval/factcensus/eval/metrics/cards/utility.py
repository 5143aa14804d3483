"""Cards of the utility metrics."""

from __future__ import annotations

from factcensus.eval.metrics.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        "accuracy (utility.parquet)",
        "utility",
        "Share of greedy answers that match, by group and by distance to the forget set (`neighbour_distance`).",
        "0 to 1",
        "higher means more kept",
        "the value before unlearning",
        "there are no such facts",
        "Accuracy on retain facts whose form was trained hides the loss on bystanders.",
        "groups: docs/runs.md",
    ),
    Card(
        "perplexity (utility.parquet)",
        "utility",
        "exp of the mean loss per token of neutral text.",
        "1 to inf",
        "lower means more kept",
        "the value before unlearning",
        "no neutral text was given",
        "Do not use text that the model was trained on, and do not compare models with different tokenizers.",
        "the usual definition, over all tokens and not as a mean over documents",
    ),
    Card(
        "kl_to_original_nats (utility.parquet)",
        "utility",
        "KL(original || model) of the next-token distribution, averaged over the tokens of neutral text, nats.",
        "0 to inf",
        "lower means more kept",
        "0",
        "no neutral text was given, or there is no original model",
        "It shows that something changed, not that it became worse.",
        "the usual definition",
    ),
)
