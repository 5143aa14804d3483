"""The analysis of the controlled grid: what changes with the size of the model, at equal forgetting.

Everything is compared over facts that the models of *all* sizes knew in that world and form of asking. For every world,
size and method, the outcomes of all doses are interpolated at the loss of G of the rule
(:mod:`factcensus.eval.reproduce.doses`). The **slope over size** of an outcome is its least-squares slope on
log10(parameters): one slope per world and method, then their mean per world. Worlds are the clusters: the estimate is
the mean over worlds, and its interval is Student's over these means. docs/reproduce.md has the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from factcensus.eval.names import AFTER, BEFORE, COUNT, MAIN_FORMS, ORIGINAL
from factcensus.eval.reproduce.doses import FORM, at_lost
from factcensus.eval.runs import read_run
from factcensus.eval.statistics import effects
from factcensus.eval.statistics.agreement import agreement
from factcensus.eval.statistics.outcomes import pair_outcomes, with_defaults
from factcensus.eval.statistics.worlds import OverWorlds, over_worlds, verdict

if TYPE_CHECKING:
    from factcensus.eval.study import Study

#: The slope over size, per factor 10 of the parameters, below which a change of the index does not matter.
MARGIN = 0.02
#: The primary outcome, and further ones, in the tables.
PRIMARY = "excess_question"
OUTCOMES = {
    PRIMARY: "excess of the index, question",
    "excess_cloze": "excess of the index, cloze",
    "disagreement_question": "share of facts where thresholded P and G disagree, question",
    "disagreement_cloze": "share of facts where thresholded P and G disagree, cloze",
    "slope_question": "change of the log-probability per factor 10 of the count (nats), question",
    "slope_cloze": "change of the log-probability per factor 10 of the count (nats), cloze",
    "retain": "retain accuracy",
    "bystander": "bystander accuracy",
}
#: Outcomes that are 0 at the original model; the others are measured as they are.
_CHANGES = ("excess_", "disagreement_", "slope_", "forgotten_")
_KEYS = ["seed", "size", "parameters", "method"]


def dose_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Return one row per seed, size, method and dose with all outcomes over the facts that all sizes knew.

    Columns: ``seed``, ``size``, ``parameters``, ``method``, ``passes``, ``lost`` (loss of G, question), ``facts_FORM``
    (number of common facts) and the outcomes; ``forgotten_FORM_S`` is the share forgotten in stratum S.
    """
    rows: list[dict[str, Any]] = []
    for seed in sorted({study.seed for study in studies}):
        of_seed = [study for study in studies if study.seed == seed]
        tables = {study.part: _read(study) for study in of_seed}
        common = {form: _known_by_all(list(tables.values()), form) for form in MAIN_FORMS}
        for study in of_seed:
            parameters = _parameters(study)
            for row in _doses_of(study, tables[study.part], common):
                rows.append({"seed": seed, "size": study.part, "parameters": parameters, **row})
    return pd.DataFrame(rows).sort_values([*_KEYS[:1], "parameters", "method", "passes"], ignore_index=True)


def _read(study: Study) -> pd.DataFrame:
    return with_defaults(read_run(study.run).facts)


def _parameters(study: Study) -> int:
    from factcensus.unlearn.run_folder import read_record

    return int(read_record(study.run)["model"]["parameters"])


def _known_by_all(tables: Sequence[pd.DataFrame], form: str) -> set[str]:
    """Return the forget facts that the original models of all sizes knew in this form."""
    known = []
    for table in tables:
        rows = table[(table["method"] == ORIGINAL) & (table["form"] == form) & (table["group"] == "forget")]
        known.append(set(rows.loc[rows["match"].fillna(False).astype(bool), "fact_id"]))
    return set.intersection(*known)


def _doses_of(study: Study, table: pd.DataFrame, common: dict[str, set[str]]) -> Iterator[dict[str, Any]]:
    """Yield a row per method and dose."""
    original = table[(table["method"] == ORIGINAL) & (table["point"] == BEFORE)]
    outcomes = pair_outcomes(table)
    for method in [str(each["name"]) for each in study.config().model_dump()["methods"]]:
        named = {
            name: float(name.removeprefix(method + "-")) for name in set(table["method"]) if _is_dose(name, method)
        }
        for name, passes in sorted(named.items(), key=lambda item: item[1]):
            after = table[(table["method"] == name) & (table["point"] == AFTER)]
            row: dict[str, Any] = {"method": method, "passes": passes}
            for form in MAIN_FORMS:
                changed = outcomes[(outcomes["method"] == name) & (outcomes["form"] == form)]
                row |= _of_form(form, _only(after, form, common), _only(original, form, common), changed, common[form])
            yield row | _accuracies(after)


def _is_dose(name: str, method: str) -> bool:
    passes = name.removeprefix(method + "-")
    return passes != name and passes.replace(".", "", 1).isdigit()


def _only(rows: pd.DataFrame, form: str, common: dict[str, set[str]]) -> pd.DataFrame:
    """Return the phantoms and the common forget facts in one form."""
    kept = (rows["group"] == "phantom") | rows["fact_id"].isin(common[form])
    return pd.DataFrame(rows[(rows["form"] == form) & kept])


def _of_form(
    form: str, after: pd.DataFrame, original: pd.DataFrame, outcomes: pd.DataFrame, common: set[str]
) -> dict[str, Any]:
    """Return the outcomes in one form."""
    found, _ = agreement(after, original)
    unchanged, _ = agreement(original, original)
    mine = outcomes[outcomes["fact_id"].isin(common)]
    forgotten, improbable = mine["forgotten_generation"], mine["forgotten_probability"]
    disagree = (forgotten != improbable).astype("Float64").mean()
    before = mine["original_forgotten_probability"].astype("Float64").mean()
    row: dict[str, Any] = {
        f"facts_{form}": found["n"],
        f"excess_{form}": found["excess"],
        f"probability_{form}": found["probability"],
        f"generation_{form}": found["generation"],
        f"disagreement_{form}": float(disagree) - float(before),
        f"slope_{form}": effects.slope_of(mine, "logprob_change").value,
    }
    if form == FORM:
        row["lost"] = unchanged["generation"] - found["generation"]
    for stratum, of_stratum in mine.groupby("stratum"):
        row[f"forgotten_{form}_{int(float(str(stratum)))}"] = float(
            of_stratum["forgotten_generation"].astype("Float64").mean()
        )
    return row


def _accuracies(after: pd.DataFrame) -> dict[str, float]:
    """Return the accuracy on retained people that no loss used, and on bystanders, asked as a question."""
    asked = after[after["form"] == FORM]
    return {
        name: float(asked.loc[asked["group"] == group, "match"].astype("Float64").mean())
        for name, group in (("retain", "retain_held"), ("bystander", "bystander"))
    }


def matched(doses: pd.DataFrame, originals: pd.DataFrame, lost: float) -> pd.DataFrame:
    """Return one row per seed, size and method: every outcome interpolated at a loss of G, null if it is not reached.

    Args:
        doses: The result of :func:`dose_table`.
        originals: The accuracies of the original models, by seed and size.
        lost: The loss of G.
    """
    outcomes = [
        name for name in doses.columns if name.startswith(_CHANGES) or name in ("retain", "bystander", "passes")
    ]
    rows = []
    for key, rising in doses.groupby(_KEYS, sort=False):
        row = dict(zip(_KEYS, key, strict=True))
        start = originals[(originals["seed"] == row["seed"]) & (originals["size"] == row["size"])].iloc[0]
        for name in outcomes:
            zero = float(start[name]) if name in start.index else 0.0
            values = [float(value) - zero for value in rising[name]]
            found = at_lost(rising["lost"].tolist(), values, lost)
            row[name] = None if found is None else found + zero
        rows.append(row)
    return pd.DataFrame(rows)


def original_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Return the accuracies of the original models: retained people, bystanders, and forget facts in both forms."""
    rows = []
    for study in studies:
        table = _read(study)
        original = table[(table["method"] == ORIGINAL) & (table["point"] == BEFORE)]
        row = {"seed": study.seed, "size": study.part, "parameters": _parameters(study), **_accuracies(original)}
        for form in MAIN_FORMS:
            asked = original[(original["form"] == form) & (original["group"] == "forget")]
            row[f"known_{form}"] = float(asked["match"].astype("Float64").mean())
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["seed", "parameters"], ignore_index=True)


def oracle_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Return P and G of the retrained models over the facts that all sizes knew, one row per seed and size, if any.

    Both are 0.5 on average for a model that never read about the people to forget.
    """
    rows = []
    for seed in sorted({study.seed for study in studies}):
        of_seed = [study for study in studies if study.seed == seed and (study.oracle / "facts.parquet").is_file()]
        tables = {study.part: _read(study) for study in of_seed}
        common = {form: _known_by_all(list(tables.values()), form) for form in MAIN_FORMS if tables}
        for study in of_seed:
            original = tables[study.part][tables[study.part]["method"] == ORIGINAL]
            oracle = with_defaults(read_run(study.oracle).facts)
            row: dict[str, Any] = {"seed": seed, "size": study.part, "parameters": _parameters(study)}
            for form in MAIN_FORMS:
                found, _ = agreement(_only(oracle, form, common), _only(original, form, common))
                row |= {f"probability_{form}": found["probability"], f"generation_{form}": found["generation"]}
            rows.append(row)
    return pd.DataFrame(rows)


def common_doses(doses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the largest dose that every size has, by seed and method: the same dose for all sizes."""
    kept = []
    for _, rows in doses.groupby(["seed", "method"], sort=False):
        shared = set.intersection(*(set(each["passes"]) for _, each in rows.groupby("size")))
        kept.append(rows[rows["passes"] == max(shared)])
    found: pd.DataFrame = pd.concat(kept, ignore_index=True)
    return found


def slopes_over_size(rows: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the slope of an outcome per factor 10 of the parameters, one row per seed and method.

    A method without a value at one of the sizes of a world is left out in that world.
    """
    sizes = rows["size"].nunique()
    found = []
    for (seed, method), of_method in rows.groupby(["seed", "method"], sort=False):
        complete = of_method.dropna(subset=[outcome])
        if len(complete) == sizes:
            x = np.log10(complete["parameters"].to_numpy(float))
            slope = float(np.polyfit(x, complete[outcome].to_numpy(float), 1)[0])
            found.append({"seed": seed, "method": method, "slope": slope})
    return pd.DataFrame(found, columns=["seed", "method", "slope"])


def size_effect(rows: pd.DataFrame, outcome: str) -> dict[str, OverWorlds]:
    """Return the slope over size of an outcome: ``all`` methods together, and each method."""
    slopes = slopes_over_size(rows, outcome)
    together = {"all": over_worlds(slopes.groupby("seed")["slope"].mean().tolist())}
    return together | {
        str(method): over_worlds(of_method["slope"].tolist())
        for method, of_method in slopes.groupby("method", sort=False)
    }


#: The words for each conclusion about the primary outcome.
_CONCLUSIONS = {
    "above": "the misalignment grows with size",
    "below": "the misalignment shrinks with size",
    "equivalent": f"no change with size that matters (equivalent within ±{MARGIN:g})",
    "undecided": "undecided",
}


def conclusion(found: OverWorlds) -> str:
    """Return the conclusion about the primary outcome by the rule of the plan."""
    if found.ci95 is None:
        return "undecided: fewer than two worlds with a method that reaches equal forgetting at every size"
    return _CONCLUSIONS[verdict(found, MARGIN)]


def mean_by_size(rows: pd.DataFrame, outcome: str, *, by: str | None = None) -> dict[tuple[str, ...], OverWorlds]:
    """Return the mean of an outcome at each size over worlds, after the mean over methods, or for each method.

    Only methods that have the outcome at every size of a world count in that world.
    """
    kept = slopes_over_size(rows, outcome)[["seed", "method"]]
    rows = rows.merge(kept, on=["seed", "method"])
    keys = ["size", *([by] if by else [])]
    found: dict[tuple[str, ...], OverWorlds] = {}
    for key, group in rows.groupby(keys, sort=False):
        names = tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)
        found[names] = over_worlds(group.groupby("seed")[outcome].mean().tolist())
    return found


def labels_of_strata(studies: Sequence[Study]) -> dict[int, str]:
    """Return the label of each stratum of the forget facts."""
    table = _read(studies[0])
    rows = table[(table["group"] == "forget") & (table[COUNT] > 0)]
    return {int(float(str(key))): str(each["stratum_label"].iloc[0]) for key, each in rows.groupby("stratum")}
