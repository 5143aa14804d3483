"""The findings of a summary as sentences; rules derive every sentence from the numbers of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from factcensus.eval.report.formatting import count_unit, interval, number, percent, ratio, span


def findings(summary: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return (heading, sentences) for each form of asking, the main result first, and for the whole run."""
    found = []
    for form in ("cloze", "question"):
        sentences = [say(summary, form) for say in (_slope, _residual, _hidden, _recall)]
        found.append((f"Asked as a {form}", [sentence for sentence in sentences if sentence]))
    overall = [sentence for sentence in (_damage(summary), _seeds(summary)) if sentence]
    return [(heading, sentences) for heading, sentences in [*found, ("Overall", overall)] if sentences]


def headline(summary: Mapping[str, Any]) -> str | None:
    """Return the main result in two sentences: the method that forgot most.

    Prefers the cloze, because unlearning was not trained on it: a fact that is gone there is gone.
    """
    for form in ("cloze", "question"):
        found = [(method, method["forgotten_by_stratum"].get(form) or []) for method in _methods(summary)]
        found = [(method, [row for row in rows if row["generation"]["n"]]) for method, rows in found]
        found = [(method, rows) for method, rows in found if len(rows) > 1]
        if found:
            method, rows = max(found, key=lambda each: _overall(each[1]))
            found_in_strata = _rarest_and_commonest(method, rows, form, count_unit(summary))
            return f"{found_in_strata} {_odds(summary, method, form)}".strip()
    return None


def _overall(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the share forgotten over all strata."""
    total = sum(row["generation"]["n"] for row in rows)
    return float(sum(row["generation"]["value"] * row["generation"]["n"] for row in rows) / total)


def _rarest_and_commonest(method: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], form: str, unit: str) -> str:
    rare, common = rows[0], rows[-1]
    return (
        f"Asked as a {form}, {method['name']} made the model forget {percent(rare['generation']['value'])} "
        f"{interval(rare['generation']['ci95'], percent)} of the known facts in {rare['label']} {unit}, and "
        f"{percent(common['generation']['value'])} {interval(common['generation']['ci95'], percent)} of those in "
        f"{common['label']}."
    )


def _odds(summary: Mapping[str, Any], method: Mapping[str, Any], form: str) -> str:
    """Describe the effect of the count on the odds of forgetting, and how many methods show one."""
    found = method["forgotten_odds_per_decade"][form]["generation"]
    slopes = {each["name"]: each["slope_per_decade"][form] for each in _methods(summary)}
    agree = [name for name, each in slopes.items() if _is_shown(each) and each["value"] > 0]
    if found["ci95"] is None:
        return (
            "The effect of the count on the odds of forgetting cannot be estimated: there are too few facts, or all "
            "had the same outcome."
        )
    low, high = sorted(1 / bound for bound in found["odds_ratio_ci95"])
    if low > 1:
        change = f"fell {ratio(1 / found['odds_ratio'])}-fold [{ratio(low)}, {ratio(high)}]"
    elif high < 1:
        change = f"rose {ratio(found['odds_ratio'])}-fold [{ratio(1 / high)}, {ratio(1 / low)}]"
    else:
        reach = math.exp(found["minimum_detectable_effect"])
        return (
            f"No effect of the count was found: an odds ratio of {ratio(found['odds_ratio'])} [{ratio(1 / high)}, "
            f"{ratio(1 / low)}] per factor 10 (minimum detectable at 80% power: {ratio(reach)})."
        )
    return (
        f"For every tenfold increase in the count, the odds of forgetting {change}. The log-probability of the answer "
        f"shows the same effect, after Holm's correction, for {len(agree)} of {len(slopes)} "
        f"method{'s' if len(slopes) > 1 else ''}."
    )


def _methods(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [method for method in summary["methods"] if method["name"] != summary["oracle"]]


def _slope(summary: Mapping[str, Any], form: str) -> str | None:
    """State for which methods frequency protects facts."""
    slopes = {method["name"]: method["slope_per_decade"][form] for method in _methods(summary)}
    slopes = {name: found for name, found in slopes.items() if found["ci95"] is not None}
    if not slopes:
        return None
    shown = [name for name, found in slopes.items() if _is_shown(found)]
    above = [name for name in shown if slopes[name]["value"] > 0]
    below = [name for name in shown if slopes[name]["value"] < 0]
    alone = [name for name, found in slopes.items() if name not in shown and _excludes_0(found)]
    open_ = [name for name in slopes if name not in shown + alone]
    parts = []
    if above:
        parts.append(f"frequent facts lost less with {_names(above, slopes)}")
    if below:
        parts.append(f"frequent facts lost more with {_names(below, slopes)}")
    if alone:
        parts.append(
            f"for {_names(alone, slopes)} the interval excludes 0, but not after Holm's correction over all methods "
            "and forms"
        )
    if open_:
        reach = [slopes[name]["minimum_detectable_effect"] or 0.0 for name in open_]
        parts.append(
            f"no effect was found for {_names(open_, slopes)}: the interval includes 0, and the minimum detectable "
            f"slope is about ±{max(reach):.2f} (80% power)"
        )
    return f"Per factor 10 of the count, {'; '.join(parts)}."


def _is_shown(found: Mapping[str, Any]) -> bool:
    """Return whether a slope differs from 0 after the correction for multiple tests."""
    p: float | None = found.get("p_holm", found.get("p"))
    return p is not None and p < 0.05


def _excludes_0(found: Mapping[str, Any]) -> bool:
    return bool(found["ci95"][0] > 0 or found["ci95"][1] < 0)


def _names(names: Sequence[str], slopes: Mapping[str, Mapping[str, Any]]) -> str:
    """List methods with slope and interval, or more than two methods with the range of their slopes."""
    if len(names) <= 2:
        return " and ".join(
            f"{name} ({number(slopes[name]['value'])} nats {interval(slopes[name]['ci95'], number)})" for name in names
        )
    values = [slopes[name]["value"] for name in names]
    who = f"all {len(names)} methods" if len(names) == len(slopes) else ", ".join(names)
    return f"{who} ({number(min(values))} to {number(max(values))} nats)"


def _recall(summary: Mapping[str, Any], form: str) -> str | None:
    """State how recall before unlearning depends on the count."""
    rows = [row for row in summary["original"]["recall_by_count"][form] if row["value"] is not None]
    if len(rows) < 2:
        return None
    first, last = rows[0], rows[-1]
    return (
        f"Before unlearning, the model answered {percent(first['value'])} of the facts in "
        f"{_documents(summary, first)} and {percent(last['value'])} of those in {_documents(summary, last)}."
    )


def _documents(summary: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return f"{span(row['low'], row['high'])} {count_unit(summary, one=row['high'] == 1)}"


def _residual(summary: Mapping[str, Any], form: str) -> str | None:
    """State whether the remaining log-probability depends on the count."""
    slopes = {method["name"]: method["residual_slope_per_decade"][form] for method in summary["methods"]}
    oracle = slopes.pop(summary["oracle"], None)
    slopes = {name: found for name, found in slopes.items() if found["ci95"] is not None}
    if not slopes:
        return None
    above = [name for name, found in slopes.items() if found["ci95"][0] > 0]
    said = "does not rise measurably with the count"
    if above:
        said = f"still rises with the count for {_names(above, slopes)}"
    if oracle and oracle["ci95"]:
        said += (
            f"; for a model that never read about these people the slope is {number(oracle['value'])} "
            f"{interval(oracle['ci95'], number)}"
        )
    return f"The remaining log-probability {said}."


def _hidden(summary: Mapping[str, Any], form: str) -> str | None:
    """State how probable the answers still are that the model no longer gives."""
    ranks = {method["name"]: method["misalignment"]["by_form"][form]["hidden_rank"] for method in summary["methods"]}
    ranks = {name: found["value"] for name, found in ranks.items() if found["value"] is not None}
    oracle = ranks.pop(summary["oracle"], None)
    if not ranks:
        return None
    low, high = min(ranks, key=lambda name: ranks[name]), max(ranks, key=lambda name: ranks[name])
    extent = f"{percent(ranks[high])} ({high})"
    if low != high:
        extent = f"{percent(ranks[low])} ({low}) to {extent}"
    compared = "50% would mean that no knowledge is left"
    if oracle is not None:
        compared += f", and a model that never read about these people has {percent(oracle)}"
    return (
        f"Answers the model no longer gives are still more probable than {extent} of answers about people it never "
        f"saw; {compared}."
    )


def _damage(summary: Mapping[str, Any]) -> str | None:
    """State how much accuracy was lost on people outside the forget set."""
    before = summary["original"]["accuracy"].get("bystander", {}).get("question", {}).get("value")
    after = {method["name"]: method["bystander_accuracy"] for method in _methods(summary)}
    after = {name: value for name, value in after.items() if value is not None}
    if before is None or not after:
        return None
    worst, best = min(after, key=lambda name: after[name]), max(after, key=lambda name: after[name])
    if worst == best:
        extent = f"{percent(after[best])} after"
    else:
        extent = f"between {percent(after[worst])} ({worst}) and {percent(after[best])} ({best}) after"
    return f"Accuracy on bystanders, whose facts no loss used, was {percent(before)} before and {extent}."


def _seeds(summary: Mapping[str, Any]) -> str | None:
    """State how far the numbers generalise."""
    if not _methods(summary):
        return None
    seeds = len(summary["seeds"])
    if seeds == 1:
        return "There is one seed: one world and one model. The intervals do not cover other seeds."
    if seeds == 2:
        return "Two seeds are pooled, and each seed's slope is shown. Two seeds say little about a third."
    return f"{seeds} seeds are pooled; the table of slopes shows each one."
