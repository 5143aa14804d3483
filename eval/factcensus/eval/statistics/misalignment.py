"""Where probability and generation disagree about what was forgotten.

Per fact known before, P says "the answer is at most as probable as if never seen" and G says "greedy decoding no
longer gives it" (:mod:`factcensus.eval.statistics.outcomes`). They can disagree in two ways that mean opposite things:

* **hidden** (G without P): the model does not say it, but still holds it more probable than a stranger's answer;
* **brittle** (P without G): the answer is as improbable as a stranger's, yet still comes out first.

Three things put the size in proportion. The original model has an index of its own: facts it says, though no more
probably than a stranger's (it says every fact counted here, so these are all brittle). Phantoms would have one too:
the level is a mean, so about half of them lie above it without being known at all, and would pass for hidden. And
the size hangs on where the level lies, so it is also given for a level one nat per token lower and higher. What
needs no level is the rank of a no longer generated answer among the phantoms' answers: 0.5 when nothing is left.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from factcensus.eval.statistics.intervals import Estimate, estimate_json, mcnemar, mean, share
from factcensus.eval.statistics.outcomes import at_most

#: How far the never-seen level is moved, in nats per token, to show how much hangs on it.
LEVEL_SHIFT_NATS = 1.0


def misalignment(outcomes: pd.DataFrame, phantoms: pd.DataFrame) -> dict[str, Any]:
    """The misalignment of one method over facts that were known before.

    Args:
        outcomes: Rows of :func:`factcensus.eval.statistics.outcomes.pair_outcomes`; those without both outcomes are
            left out.
        phantoms: The phantoms' rows of the original model, with their ``never_seen_level``.

    Returns:
        ``n``; ``total`` (share where P and G differ) with ``ci95`` (Wilson, clusters are subjects within a seed);
        its parts ``hidden`` and ``brittle``, and ``signed`` = hidden - brittle; ``original`` (the original model's
        own total); ``excess`` = total - original with ``excess_ci95`` (paired); ``never_seen`` (the hidden share to
        expect if nothing were left of the facts no longer said); ``mcnemar_p`` (exact, hidden against brittle);
        ``total_at_shifted_level``: the total with the never-seen level one nat lower and higher; ``hidden_rank``:
        mean rank, among phantoms, of the answers no longer said. Everything but ``n`` is None when there is no row.
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
    """The hidden share to expect were the facts no longer said as unknown as the phantoms.

    Args:
        silent: Share of facts that are no longer said.
    """
    rows = phantoms.dropna(subset=["match", "never_seen_level", "log_probability_mean"])
    rows = rows[~rows["match"].astype(bool)]
    above = _mean(~at_most(rows["log_probability_mean"], rows["never_seen_level"]).astype(bool))
    return None if above is None or silent is None else above * silent


def _forgotten(rows: pd.DataFrame, shift: float) -> pd.Series[bool]:
    return at_most(rows["log_probability_mean_after"], rows["never_seen_level"] + shift).astype(bool)


def _mean(values: pd.Series[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
