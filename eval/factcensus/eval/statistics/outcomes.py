"""Outcomes of facts: each fact before and after unlearning, paired, in each form of asking.

The unit is one (seed, method, fact, form, variant). A fact that the original model never knew cannot be forgotten. Such
facts stay in the table with ``known_before`` false and null outcomes, are counted as excluded, and never enter a share.

**Never-seen level.** A fact counts as forgotten by probability if its answer is at most as probable as if the model had
never read about its subject. Phantom people (unused names, same questions, same objects) measure that level under the
*original* model. It is the mean log-probability per token of the answers in the phantom rows of the same seed,
relation, form and variant. If at least :data:`MIN_PHANTOMS_PER_OBJECT` of these ask about the same object, only they
are used. Without phantoms the level and the outcome are null. In the two worlds of the demo, models retrained without
the forget set lay 0.0 to 0.1 nats below the level on average.

The level is a mean, and guesses differ between names, so about half of all never-seen answers lie above it. Every share
that depends on the level is therefore reported next to that of the phantoms. ``never_seen_rank`` needs no level: it is
the share of phantom answers that are less probable, 0.5 on average if no knowledge is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.names import AFTER, BEFORE, COUNT, ORIGINAL

#: With fewer phantoms per object, the mean over the relation is the more accurate level: with three per object, the
#: object's mean missed the answers of a retrained model by 2.2 nats per token (RMS), the relation's mean by 2.0.
MIN_PHANTOMS_PER_OBJECT = 10
#: The columns that identify a question put to a model; used to pair before and after.
ASKED = ["seed", "fact_id", "form", "variant"]
_CARRIED = [
    "relation",
    "subject",
    "object",
    "subject_code",
    "object_code",
    "relation_code",
    COUNT,
    "subject_documents",
    "object_documents",
    "stratum",
    "stratum_label",
    "stratum_low",
    "stratum_high",
    "answer_tokens",
]
_REQUIRED = [
    *ASKED,
    "method",
    "point",
    "group",
    "relation",
    "subject",
    "object",
    "log_probability",
    "log_probability_mean",
    "match",
]


def with_defaults(facts: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that a user's table may lack, and ``group``, the way the run used each fact.

    ``subject_code``, ``object_code`` and ``relation_code`` number the subjects, objects and relations within a seed.

    ========================  ==========================================================================
    ``forget``                its forgetting was trained (without a column ``used``: role forget, or no role)
    ``retain``                kept by the retain loss
    ``retain_held``           a retain fact that no loss used
    ``bystander``             no loss used it, and its question was never part of the training
    ``bystander_used``        a bystander whose question the retain loss used
    ``phantom``               a person whom no text mentions: shows the result of guessing
    ========================  ==========================================================================
    """
    missing: dict[str, Any] = {
        "role": None,
        "relation": "",
        "variant": 0,
        COUNT: np.nan,
        "object_documents": np.nan,
        "stratum": -1,
        "stratum_label": "all",
        "stratum_low": np.nan,
        "stratum_high": np.nan,
    }
    facts = facts.assign(**{name: value for name, value in missing.items() if name not in facts.columns})
    used = facts["used"] if "used" in facts.columns else pd.Series(None, index=facts.index, dtype=object)
    pairs = zip(facts["role"].map(_text), used.map(_text), strict=True)
    facts = facts.assign(relation=facts["relation"].map(_text), group=[_group(role, use) for role, use in pairs])
    return facts.assign(**{f"{name}_code": _codes(facts, name) for name in ("subject", "object", "relation")})


def _codes(facts: pd.DataFrame, name: str) -> pd.Series[int]:
    """Number the values of a column within a seed; the codes define clusters and intercepts."""
    if name not in facts.columns:
        return pd.Series(-1, index=facts.index)
    return facts.groupby(["seed", name], sort=False, dropna=False).ngroup()


def _text(value: object) -> str:
    """Return a text, or an empty one for null."""
    return value if isinstance(value, str) else ""


def _group(role: str, used: str) -> str:
    """Return the group of a fact; see :func:`with_defaults`."""
    if role == "phantom":
        return role
    if not used:
        return role or "forget"
    if used == "none":
        return {"": "bystander", "retain": "retain_held", "forget": "forget_held"}.get(role, role)
    return "bystander_used" if (role, used) == ("bystander", "retain") else used


def pair_outcomes(facts: pd.DataFrame) -> pd.DataFrame:
    """Compute outcomes from the rows of facts.parquet of one or more runs.

    Args:
        facts: One row per (seed, method, point, fact, form, variant), after :func:`with_defaults`. The original model
            has method "original" and point "before"; unlearned and retrained models have point "after". Other points
            are ignored.

    Returns:
        One row per (seed, method, fact, form, variant) of every method except the original, with the columns of the
        facts and: ``log_probability_before``, ``log_probability_after`` (nats, sum over answer tokens),
        ``logprob_change`` (after - before; negative: the answer became less probable), ``never_seen_level`` (nats per
        token), ``known_before``, ``match_after``, and the nullable booleans ``forgotten_generation``,
        ``forgotten_probability`` and ``original_forgotten_probability``, which are null unless the fact was known
        before. ``never_seen_rank`` is the share of phantom answers that are less probable than this one after
        unlearning, 0 to 1.

    Raises:
        EvaluationInputError: a column is missing, a question occurs twice, or a question put to an unlearned model was
            not put to the original one.
    """
    if missing := [column for column in _REQUIRED if column not in facts.columns]:
        raise EvaluationInputError(
            f"the facts table lacks the columns {', '.join(missing)}; make it with `factcensus eval run`"
        )
    before = facts[(facts["method"] == ORIGINAL) & (facts["point"] == BEFORE)]
    after = facts[(facts["method"] != ORIGINAL) & (facts["point"] == AFTER)]
    for rows, key in ((before, ASKED), (after, ["method", *ASKED])):
        if rows.duplicated(key).any():
            first = rows[rows.duplicated(key)].iloc[0]
            raise EvaluationInputError(
                f"fact {first['fact_id']!r} ({first['form']}) of method {first['method']!r} at seed {first['seed']} "
                "occurs twice in the facts table; pool runs that differ in seed or method"
            )
    before = before.assign(never_seen_level=never_seen_levels(before))
    carried = [column for column in _CARRIED if column in before.columns]
    measured = ["log_probability", "log_probability_mean", "match"]
    paired = after[["method", *ASKED, "group", *measured]].merge(
        before[[*ASKED, *carried, *measured, "never_seen_level"]],
        on=ASKED,
        how="left",
        suffixes=("_after", "_before"),
        indicator=True,
        validate="many_to_one",
    )
    if (unpaired := paired[paired["_merge"] != "both"]).size:
        first = unpaired.iloc[0]
        raise EvaluationInputError(
            f"fact {first['fact_id']!r} ({first['form']}) at seed {first['seed']} was asked of method "
            f"{first['method']!r} but not of the original model; add the run folder of the original model"
        )
    return _with_outcomes(paired.drop(columns="_merge")).assign(
        never_seen_rank=_ranks(paired, before[before["group"] == "phantom"]).to_numpy()
    )


def _with_outcomes(paired: pd.DataFrame) -> pd.DataFrame:
    """Add the change and the four boolean columns."""
    known = paired["match_before"].astype("boolean")
    level = paired["never_seen_level"]
    was_known = known.fillna(False)
    return paired.assign(
        logprob_change=paired["log_probability_after"] - paired["log_probability_before"],
        known_before=known,
        forgotten_generation=(~paired["match_after"].astype("boolean")).where(was_known),
        forgotten_probability=at_most(paired["log_probability_mean_after"], level).where(was_known),
        original_forgotten_probability=at_most(paired["log_probability_mean_before"], level).where(was_known),
    )


def at_most(values: pd.Series[float], levels: pd.Series[float]) -> pd.Series[bool]:
    """Compare ``value <= level`` row by row as nullable booleans: null if either is unknown."""
    result = (values <= levels).astype("boolean")
    return result.mask(values.isna() | levels.isna())


def never_seen_levels(before: pd.DataFrame) -> pd.Series[float]:
    """Return the never-seen level (nats per token; see the module) of each row of the original model; NaN without
    phantoms.

    The row of a phantom also gets the mean of its group.
    """
    phantoms = before[before["group"] == "phantom"].dropna(subset=["log_probability_mean"])
    group = ["seed", "relation", "form", "variant"]
    of_relation = _mean_by(phantoms, group, least=1)
    of_object = _mean_by(phantoms, [*group, "object"], least=MIN_PHANTOMS_PER_OBJECT)
    return _look_up(before, [*group, "object"], of_object).fillna(_look_up(before, group, of_relation))


def _ranks(paired: pd.DataFrame, phantoms: pd.DataFrame) -> pd.Series[float]:
    """Return the rank of each answer after unlearning among the phantoms of its group, by log-probability per token."""
    group = ["seed", "relation", "form", "variant"]
    levels = {key: np.sort(rows["log_probability_mean"].dropna()) for key, rows in phantoms.groupby(group)}
    ranks = pd.Series(np.nan, index=paired.index)
    for key, rows in paired.groupby(group):
        of_group = levels.get(key)
        if of_group is None or not len(of_group):
            continue
        values = rows["log_probability_mean_after"].to_numpy(dtype=float, na_value=np.nan)
        below, upto = np.searchsorted(of_group, values, "left"), np.searchsorted(of_group, values, "right")
        ranks[rows.index] = np.where(np.isnan(values), np.nan, (below + upto) / 2 / len(of_group))
    return ranks


def _mean_by(rows: pd.DataFrame, keys: Sequence[str], *, least: int) -> pd.Series[float]:
    """Return the mean log-probability per token of each group with at least ``least`` rows."""
    grouped = rows.groupby(list(keys), observed=True)["log_probability_mean"].agg(["mean", "size"])
    return grouped.loc[grouped["size"] >= least, "mean"]


def _look_up(rows: pd.DataFrame, keys: Sequence[str], values: pd.Series[float]) -> pd.Series[float]:
    """Return the value of each row's group, or NaN."""
    wanted = pd.MultiIndex.from_frame(rows[list(keys)])
    return pd.Series(values.reindex(wanted).to_numpy(dtype=float, na_value=np.nan), index=rows.index)
