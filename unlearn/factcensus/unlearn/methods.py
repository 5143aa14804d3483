"""Named methods: published ones, and ours with the controls it has to beat. Data only; a configuration may override."""

from __future__ import annotations

from typing import Any

#: Settings of each method, as :class:`factcensus.unlearn.config.MethodConfig` takes them.
METHODS: dict[str, dict[str, Any]] = {
    "grad_ascent": {"objective": "grad_ascent", "retain": "none"},
    "grad_diff": {"objective": "grad_diff"},
    "npo": {"objective": "npo", "parameters": {"beta": 0.1}},
    "simnpo": {"objective": "simnpo", "parameters": {"beta": 2.5}},
    "simnpo_never_seen": {"objective": "simnpo", "parameters": {"beta": 2.5}, "margin": "never_seen"},
    "idk": {"objective": "idk"},
    "simnpo_count": {
        "objective": "simnpo",
        "parameters": {"beta": 2.5},
        "weights": "count",
        "weight_strength": 0.35,
    },
    "simnpo_loss_rank": {
        "objective": "simnpo",
        "parameters": {"beta": 2.5},
        "weights": "loss_rank",
        "weight_strength": 0.35,
    },
    "simnpo_shuffled_count": {
        "objective": "simnpo",
        "parameters": {"beta": 2.5},
        "weights": "shuffled_count",
        "weight_strength": 0.35,
    },
}

#: What each is for, for `factcensus unlearn list`.
PURPOSE: dict[str, str] = {
    "grad_ascent": "ascent on the answers, nothing retained: the lower bound of care",
    "grad_diff": "ascent on forget answers, descent on retain answers",
    "npo": "preference loss against the original model's own loss (one cached number a fact)",
    "simnpo": "length-normalised NPO without a reference",
    "simnpo_never_seen": "SimNPO with a margin a relation: the loss on people who never occur",
    "idk": "learn to refuse",
    "simnpo_count": "SimNPO, frequent facts pushed harder",
    "simnpo_loss_rank": "control: the same weights by confidence instead of count",
    "simnpo_shuffled_count": "control: the same weights in a random order",
}
