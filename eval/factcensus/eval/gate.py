"""A gate for pipelines: does a run's summary meet a requirement, and where does it not?

A clause holds when it holds for every method (the oracle aside), and in every form of asking that its names leave
open. A number that could not be measured meets nothing: a gate that passes because nothing was known would be none.

========================  ===================================================  ======================================
name                      is                                                   further parts, in any order
========================  ===================================================  ======================================
``forgotten``             share of known facts forgotten, all strata           a form; ``generation`` (default) or
                                                                               ``probability``
``forgotten_by_stratum``  the same in one stratum                              as above; ``min`` (default), ``max``,
                                                                               ``mean``, ``rarest``,
                                                                               ``most_frequent``; ``low``, ``high``
                                                                               (its interval)
``retain_accuracy``       questions answered of retain people                  none
``bystander_accuracy``    questions answered of people that no loss saw        none
``accuracy``              facts answered of a group                            a group; a form; ``low``, ``high``
``slope_per_decade``      and ``adjusted_…``, ``residual_…``: nats per         a form; ``low``, ``high``, ``p``,
                          factor 10 of the count                               ``p_holm``
``misalignment``          disagreement of probability and generation           a form; ``total`` (default),
                                                                               ``hidden``, ``brittle``, ``signed``,
                                                                               ``excess``
``agreement``             its index without a threshold                        a form; ``excess`` (default),
                                                                               ``index``, ``probability``,
                                                                               ``generation``, ``low``, ``high``
``facts`` …               ``known_before``, ``seconds``, ``not_finite``        none
========================  ===================================================  ======================================

Before any of these may stand a method's name (``simnpo.retain_accuracy``) or ``base`` (``base.accuracy.bystander``),
the original model. ``base`` alone is the original's value of the first name of the clause.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.requirement import COMPARISONS, Clause, Name, evaluate, names, parse

BASE = "base"
#: Names with a value for each form of asking, then those with one value, then those of the whole run.
PER_FORM = (
    "forgotten", "forgotten_by_stratum", "accuracy", "slope_per_decade", "adjusted_slope_per_decade",
    "residual_slope_per_decade", "misalignment", "agreement",
)  # fmt: skip
PER_METHOD = ("retain_accuracy", "bystander_accuracy", "not_finite")
OF_THE_RUN = ("facts", "known_before", "seconds")
QUANTITIES = (*PER_FORM, *PER_METHOD, *OF_THE_RUN)
OUTCOMES = ("generation", "probability")
BOUNDS = ("low", "high")
#: What the name of a group of strata, or of a measure of disagreement, may be followed by.
STRATA = ("min", "max", "mean", "rarest", "most_frequent")
DISAGREEMENT = ("total", "hidden", "brittle", "signed", "excess")
AGREEMENT = ("excess", "index", "probability", "generation", *BOUNDS)


@dataclass(frozen=True, slots=True)
class Checked:
    """One clause for one method in one form: the two sides, None where there is no number."""

    method: str | None
    form: str | None
    left: float | None
    right: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One clause, and every place where it was looked at."""

    clause: str
    comparison: str
    passed: bool
    checked: Sequence[Checked]


def check(summary: Mapping[str, Any], requirement: str) -> list[Verdict]:
    """Every clause of a requirement against a summary.

    Raises:
        EvaluationInputError: the requirement cannot be read, or names what the summary does not have.
    """
    return [_verdict(summary, clause) for clause in parse(requirement)]


def verdicts_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What ``eval check --json`` prints."""
    return {"passed": all(each.passed for each in verdicts), "clauses": [asdict(each) for each in verdicts]}


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """A line a clause, and a line for each place where it fails."""
    lines = []
    for verdict in verdicts:
        lines.append(f"{'ok    ' if verdict.passed else 'FAILED'}  {verdict.clause}")
        for each in verdict.checked:
            if not each.passed:
                where = ", ".join(part for part in (each.method, each.form) if part) or "the run"
                lines.append(
                    f"        {where}: {_shown(each.left)} {verdict.comparison} {_shown(each.right)} is not so"
                )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "(no value)" if value is None else f"{value:.4g}"


def _verdict(summary: Mapping[str, Any], clause: Clause) -> Verdict:
    known = _Known(summary)
    used = [*names(clause.left), *names(clause.right)]
    measured = next((name for name in used if name.parts != (BASE,)), None)
    if measured is None:
        raise EvaluationInputError(f"clause {clause.text!r} names nothing that was measured; {_list_of(QUANTITIES)}")
    paths = [known.path(measured if name.parts == (BASE,) else name, clause.text) for name in used]
    all_methods = any(path.method is None and path.quantity not in OF_THE_RUN for path in paths)
    all_forms = any(path.quantity in PER_FORM and path.form is None for path in paths)
    checked = []
    for method in known.methods if all_methods else (None,):
        for form in known.forms if all_forms else (None,):

            def value_of(name: Name, method: str | None = method, form: str | None = form) -> float | None:
                if name.parts == (BASE,):
                    return known.value(known.path(measured, clause.text), BASE, form, clause.text)
                path = known.path(name, clause.text)
                return known.value(path, path.method or method, form, clause.text)

            left, right = evaluate(clause.left, value_of), evaluate(clause.right, value_of)
            passed = left is not None and right is not None and COMPARISONS[clause.comparison](left, right)
            checked.append(Checked(method, form, left, right, passed))
    return Verdict(clause.text, clause.comparison, all(each.passed for each in checked), checked)


@dataclass(frozen=True, slots=True)
class _Path:
    """A name taken apart."""

    method: str | None
    quantity: str
    form: str | None
    rest: tuple[str, ...]


class _Known:
    """What a summary has values for."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.summary = summary
        self.of_method = {method["name"]: method for method in summary["methods"]}
        self.methods = [name for name in self.of_method if name != summary["oracle"]]
        self.forms = [
            form for form in summary["forms"]
            if any(method["forgotten_by_stratum"].get(form) for method in summary["methods"])
        ]  # fmt: skip
        if not self.methods:
            raise EvaluationInputError("the run has no unlearned model to check, only the original")

    def path(self, name: Name, clause: str) -> _Path:
        """A name taken apart; every part is known."""
        parts = list(name.parts)
        method = parts.pop(0) if parts[0] == BASE or parts[0] in self.of_method else None
        if not parts or parts[0] not in QUANTITIES:
            word = parts[0] if parts else name.parts[0]
            raise _unknown(word, clause, [*QUANTITIES, BASE, *(() if method else self.of_method)])
        quantity, *rest = parts
        if quantity in OF_THE_RUN and method:
            raise EvaluationInputError(f"{quantity!r} in clause {clause!r} is of the whole run, not of {method!r}")
        forms = [each for each in rest if quantity in PER_FORM and each in self.forms]
        others = tuple(each for each in rest if each not in forms)
        allowed = self._allowed(quantity)
        for each in others:
            if each not in allowed:
                choices = [*allowed, *(self.forms if quantity in PER_FORM else ())]
                raise _unknown(each, clause, choices, of=quantity)
        if len(forms) > 1:
            raise EvaluationInputError(f"{name} in clause {clause!r} names two forms")
        return _Path(method, quantity, forms[0] if forms else None, others)

    def _allowed(self, quantity: str) -> tuple[str, ...]:
        """What may follow a quantity, beside a form."""
        if quantity == "accuracy":
            return (*self.summary["groups"], *BOUNDS)
        if quantity == "forgotten_by_stratum":
            return (*OUTCOMES, *STRATA, *BOUNDS)
        if quantity.endswith("slope_per_decade"):
            return (*BOUNDS, "p", *(("p_holm",) if quantity == "slope_per_decade" else ()))
        return {"forgotten": OUTCOMES, "misalignment": DISAGREEMENT, "agreement": AGREEMENT}.get(quantity, ())

    def value(self, path: _Path, method: str | None, form: str | None, clause: str) -> float | None:
        """The number behind a path for one method, or for the original model."""
        if path.quantity in OF_THE_RUN:
            found: float | None = self.summary[path.quantity]
            return found
        form = path.form or form or "question"
        if method == BASE:
            return self._of_the_original(path, form, clause)
        record = self.of_method[str(method)]
        if path.quantity in PER_METHOD:
            of_method: float | None = record[path.quantity]
            return of_method
        if path.quantity == "accuracy":
            return self._accuracy(record["accuracy"], path, form, clause)
        if path.quantity.endswith("slope_per_decade"):
            return _estimate(record[path.quantity].get(form), path.rest, "value")
        if path.quantity.startswith("forgotten"):
            return _of_strata(record["forgotten_by_stratum"].get(form) or [], path)
        by_form = record["misalignment"]["by_form"].get(form, {})
        if path.quantity == "agreement":
            return _estimate(by_form.get("agreement"), path.rest, "excess")
        return _estimate(by_form, path.rest, "total")

    def _of_the_original(self, path: _Path, form: str, clause: str) -> float | None:
        accuracy = self.summary["original"]["accuracy"]
        if path.quantity in ("retain_accuracy", "bystander_accuracy"):
            group = path.quantity.removesuffix("_accuracy")
            group = "retain_held" if group == "retain" and "retain_held" in accuracy else group
            by_form = accuracy.get(group, {})
            return next(
                (by_form[each]["value"] for each in ("question", *by_form)
                 if by_form.get(each, {}).get("value") is not None),
                None,
            )  # fmt: skip
        if path.quantity == "accuracy":
            return self._accuracy(accuracy, path, form, clause)
        if path.quantity == "misalignment" and path.rest in ((), ("total",)):
            original: float | None = self.summary["methods"][0]["misalignment"]["by_form"].get(form, {}).get("original")
            return original
        raise EvaluationInputError(
            f"'{BASE}' in clause {clause!r}: the original model has no {path.quantity} of its own; "
            "it has retain_accuracy, bystander_accuracy, accuracy and misalignment"
        )

    def _accuracy(self, accuracy: Mapping[str, Any], path: _Path, form: str, clause: str) -> float | None:
        groups = [part for part in path.rest if part not in BOUNDS]
        if len(groups) != 1:
            raise EvaluationInputError(
                f"'accuracy' in clause {clause!r} needs one group, such as accuracy.bystander; "
                f"{_list_of(list(self.summary['groups']))}"
            )
        bounds = tuple(part for part in path.rest if part in BOUNDS)
        return _estimate(accuracy.get(groups[0], {}).get(form), bounds, "value")


def _estimate(found: Mapping[str, Any] | None, rest: Sequence[str], default: str) -> float | None:
    """One field of an estimate, or a bound of its interval."""
    if not found:
        return None
    field = rest[-1] if rest else default
    if field in BOUNDS:
        bounds = found.get("ci95")
        return None if bounds is None else float(bounds[BOUNDS.index(field)])
    value: float | None = found.get(field)
    return value


def _of_strata(strata: Sequence[Mapping[str, Any]], path: _Path) -> float | None:
    """A share over strata: of all facts, or of one stratum."""
    outcome = next((part for part in path.rest if part in OUTCOMES), "generation")
    rows = [row[outcome] for row in strata if row[outcome]["value"] is not None]
    if not rows:
        return None
    which = next((part for part in path.rest if part in STRATA), "min")
    if path.quantity == "forgotten":
        return float(sum(row["value"] * row["n"] for row in rows) / sum(row["n"] for row in rows))
    bounds = tuple(part for part in path.rest if part in BOUNDS)
    values = [_estimate(row, bounds, "value") for row in rows]
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    pick: dict[str, Callable[[], float]] = {
        "min": lambda: min(numbers), "max": lambda: max(numbers), "mean": lambda: sum(numbers) / len(numbers),
        "rarest": lambda: numbers[0], "most_frequent": lambda: numbers[-1],
    }  # fmt: skip
    return pick[which]()


def _unknown(word: str, clause: str, choices: Sequence[str], *, of: str | None = None) -> EvaluationInputError:
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    what = f"{of!r} has no {word!r}" if of else f"there is nothing called {word!r}"
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else _list_of(choices)
    return EvaluationInputError(f"clause {clause!r}: {what}; {hint}")


def _list_of(choices: Sequence[str]) -> str:
    return f"there are {', '.join(choices)}" if choices else "nothing may follow it"
