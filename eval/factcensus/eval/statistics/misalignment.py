"""Disagreement between probability and generation about forgetting.

For each fact known before, P means that the answer is at most as probable as if never seen, and G that greedy decoding
no longer gives it (:mod:`factcensus.eval.statistics.outcomes`). There are two kinds of disagreement with opposite
meanings:

* **hidden** (G without P): the model does not give the answer but finds it more probable than an answer about a
stranger;
* **brittle** (P without G): the answer is as improbable as one about a stranger but is still the first choice.

Three references help to judge the size. First, the original model has a disagreement too: facts it gives although they
are no more probable than those about strangers (all brittle, because it gives every fact counted here). Second,
phantoms have one: the level is a mean, so about half of them lie above it and would count as hidden although they are
unknown. Third, the size depends on the level, so it is also reported for a level one nat per token lower and higher.
The rank of an answer no longer given among the phantoms' answers needs no level: it is 0.5 if no knowledge is left.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from factcensus.eval.statistics.intervals import Estimate, estimate_json, mcnemar, mean, share
from factcensus.eval.statistics.outcomes import at_most

#: Shift of the never-seen level, nats per token, that shows how much depends on it.
LEVEL_SHIFT_NATS = 1.0


def misalignment(outcomes: pd.DataFrame, phantoms: pd.DataFrame) -> dict[str, Any]:
    """Return the misalignment of one method over facts that were known before.

    Args:
        outcomes: Rows of :func:`factcensus.eval.statistics.outcomes.pair_outcomes`; those without both outcomes are
            left out.
        phantoms: The rows of the phantoms under the original model, with ``never_seen_level``.

    Returns:
        ``n``; ``total`` (share of facts where P and G differ) with ``ci95`` (Wilson, clustered by subject within a
        seed); its parts ``hidden`` and ``brittle``, and ``signed`` = hidden - brittle; ``original`` (the total of the
        original model); ``excess`` = total - original with ``excess_ci95`` (paired); ``never_seen`` (the hidden share
        to expect if no knowledge of the facts no longer given were left); ``mcnemar_p`` (exact, hidden against
        brittle); ``total_at_shifted_level``: the total with a never-seen level one nat lower and higher;
        ``hidden_rank``: mean rank among phantoms of the answers no longer given. All except ``n`` are None if there are
        no rows.
    """
    rows = outcomes.dropna(subset=["forgotten_generation", "forgotten_probability"])
    generation = rows["forgotten_generation"].astype(bool)
    probability = rows["forgotten_probability"].astype(bool)
    original = rows["original_forgotten_probability"].fillna(False).astype(bool)
    clusters = rows["subject_code"].to_numpy()
    hidden, brittle = generation & ~probability, probability & ~generation
    silent = rows[generation].dropna(subset=["never_seen_rank"])
    total = share((hidden | brittle).to_numpy(), clusters)
    excess: Estimate = mean((hidden | brittle).to_numpy(float) - original.to_numpy(float), clusters)
    return {
        "n": total.n,
        "total": total.value,
        "ci95": total.ci95,
        "hidden": _mean(hidden),
        "brittle": _mean(brittle),
        "signed": _mean(hidden.astype(int) - brittle.astype(int)),
        "original": _mean(original),
        "never_seen": _if_nothing_were_left(_mean(generation), phantoms),
        "excess": excess.value,
        "excess_ci95": excess.ci95,
        "mcnemar_p": mcnemar(int(hidden.sum()), int(brittle.sum())),
        "total_at_shifted_level": {
            f"{shift:+g} nat": _mean(generation != _forgotten(rows, shift))
            for shift in (-LEVEL_SHIFT_NATS, LEVEL_SHIFT_NATS)
        },
        "hidden_rank": estimate_json(
            mean(silent["never_seen_rank"].to_numpy(float), silent["subject_code"].to_numpy())
        ),
    }


def _if_nothing_were_left(silent: float | None, phantoms: pd.DataFrame) -> float | None:
    """Return the hidden share to expect if the facts no longer given were as unknown as the phantoms.

    Args:
        silent: Share of facts that are no longer given.
    """
    rows = phantoms.dropna(subset=["match", "never_seen_level", "log_probability_mean"])
    rows = rows[~rows["match"].astype(bool)]
    above = _mean(~at_most(rows["log_probability_mean"], rows["never_seen_level"]).astype(bool))
    return None if above is None or silent is None else above * silent


def _forgotten(rows: pd.DataFrame, shift: float) -> pd.Series[bool]:
    return at_most(rows["log_probability_mean_after"], rows["never_seen_level"] + shift).astype(bool)


def _mean(values: pd.Series[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
