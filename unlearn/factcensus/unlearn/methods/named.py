"""Named methods: published ones, ours, and the controls ours has to beat. Data only; a configuration may override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SIMNPO: dict[str, Any] = {"objective": "simnpo", "parameters": {"beta": 2.5}}
_STRATA: dict[str, Any] = {"objective": "never_seen"}

#: Settings of each method, as :class:`factcensus.unlearn.config.method_config.MethodConfig` takes them.
METHODS: dict[str, dict[str, Any]] = {
    "grad_ascent": {"objective": "grad_ascent", "retain": "none"},
    "grad_diff": {"objective": "grad_diff"},
    "npo": {"objective": "npo", "parameters": {"beta": 0.1}},
    "simnpo": {**_SIMNPO},
    "idk": {"objective": "idk"},
    "idk_dpo": {"objective": "dpo", "preferred": "refusal"},
    "dpo": {"objective": "dpo", "preferred": "given"},
    "alt_po": {"objective": "dpo", "preferred": "sampled"},
    "rmu": {"objective": "rmu", "retain": "embedding"},
    "undial": {"objective": "undial", "retain": "none"},
    "ce_u": {"objective": "ce_u", "retain": "none"},
    "wga": {"objective": "grad_diff", "token_confidence": 1.0},
    "sat_imp": {"objective": "grad_diff", "token_confidence": 5.0, "token_doubt": 1.0, "gamma": 0.1},
    "pdu": {"objective": "flatten", "constraint": {}},
    "jensun": {"objective": "jensun", "retain": "jsd"},
    "inverted_hinge": {"objective": "inverted_hinge"},
    "loku": {"objective": "inverted_hinge", "adapter": {"start": "fila"}},
    "flat": {"objective": "flat", "retain": "none"},
    "task_vector": {"objective": "learn", "retain": "none", "negate": 1.0},
    "npo_sam": {"objective": "npo", "parameters": {"beta": 0.1}, "sam_rho": 0.01},
    "grad_diff_gru": {"objective": "grad_diff", "gru": True, "gru_gamma": 0.8},
    "retrain": {"objective": "learn", "retain": "none"},
    "simnpo_never_seen": {**_SIMNPO, "margin": "never_seen"},
    "simnpo_count": {**_SIMNPO, "weights": "count", "weight_strength": 0.35},
    "simnpo_loss_rank": {**_SIMNPO, "weights": "loss_rank", "weight_strength": 0.35},
    "simnpo_shuffled_count": {**_SIMNPO, "weights": "shuffled_count", "weight_strength": 0.35},
    "never_seen": {**_STRATA},
    "never_seen_count": {**_STRATA, "weights": "count", "weight_strength": 0.35},
    "never_seen_loss_rank": {**_STRATA, "weights": "loss_rank", "weight_strength": 0.35},
    "never_seen_shuffled_count": {**_STRATA, "weights": "shuffled_count", "weight_strength": 0.35},
    "never_seen_strata": {**_STRATA, "strata_control": {"by": "count"}},
    "never_seen_strata_loss_rank": {**_STRATA, "strata_control": {"by": "loss_rank"}},
    "never_seen_strata_shuffled_count": {**_STRATA, "strata_control": {"by": "shuffled_count"}},
}

#: What each is for, for `factcensus unlearn list`.
PURPOSE: dict[str, str] = {
    "grad_ascent": "ascent on the answers, nothing retained: the lower bound of care",
    "grad_diff": "ascent on forget answers, descent on retain answers",
    "npo": "preference loss against the original model's own loss (one cached number a fact)",
    "simnpo": "length-normalised NPO without a reference",
    "idk": "learn to refuse",
    "idk_dpo": "prefer a refusal to the answer",
    "dpo": "prefer the answers of the column `alternatives`",
    "alt_po": "prefer answers that the original model makes up",
    "rmu": "scramble the activations of one layer where answers are predicted",
    "undial": "distil the original model with the answer's token turned down",
    "ce_u": "distil the model's own prediction without the answer's token",
    "wga": "gradient difference, token losses weighted by p",
    "sat_imp": "gradient difference, token losses weighted by p^5 (1 - p)",
    "pdu": "flatten the logits, the retain loss held under a limit by a dual variable",
    "jensun": "bounded divergence to a refusal, bounded divergence from the original elsewhere",
    "inverted_hinge": "push the answer below the runner-up (the loss of LoKU)",
    "loku": "the inverted hinge on adapters that start from what the forget set depends on most",
    "flat": "raise a template answer against the forget answer; no retain set",
    "task_vector": "learn the forget set, then step back past the start",
    "npo_sam": "NPO at the worst neighbour of the weights: harder to relearn",
    "grad_diff_gru": "gradient difference without what opposes the retain gradient",
    "retrain": "train again without the forget people (controlled world only): the gold standard",
    "simnpo_never_seen": "SimNPO with each fact's never-seen level as margin; unstable, kept for comparison",
    "simnpo_count": "SimNPO, frequent facts pushed harder",
    "simnpo_loss_rank": "control: the same weights by confidence instead of count",
    "simnpo_shuffled_count": "control: the same weights in a random order",
    "never_seen": "ours: each token to its never-seen level and no further, in proportion to what is left",
    "never_seen_count": "ours, frequent facts pushed harder",
    "never_seen_loss_rank": "control: the same weights by confidence instead of count",
    "never_seen_shuffled_count": "control: the same weights in a random order",
    "never_seen_strata": "ours, effort moved to the strata of the count that still remember",
    "never_seen_strata_loss_rank": "control: strata by confidence instead of count",
    "never_seen_strata_shuffled_count": "control: strata drawn at random",
}

#: Papers of what is a composition, and not a loss of its own.
SOURCES: dict[str, str] = {
    "loku": "Cha et al. (2025), arXiv:2408.06621",
    "idk_dpo": "Maini et al. (2024), arXiv:2401.06121 (TOFU)",
    "alt_po": "Mekala et al. (2024), arXiv:2409.13474",
    "wga": "Wang et al. (2025), arXiv:2502.19301",
    "sat_imp": "Yang et al. (2025), arXiv:2505.11953",
    "npo_sam": "Fan et al. (2025), arXiv:2502.05374 (smoothness by SAM, Foret et al. 2021)",
    "grad_diff_gru": "Wang et al. (2025), arXiv:2503.09117",
    "retrain": "the definition of exact unlearning",
}


def settings_of(preset: str) -> Mapping[str, Any]:
    """A preset's settings on every axis, defaults filled in."""
    return {
        "weights": "uniform", "token_confidence": 0.0, "token_doubt": 0.0, "margin": 0.0, "preferred": "refusal",
        "gamma": 1.0, "reduction": "fact", "retain": "nll", "alpha": 1.0, "strata_control": None, "constraint": None,
        "sam_rho": None, "gru": False, "negate": None, "adapter": None, **METHODS[preset],
    }  # fmt: skip
