"""A gate for pipelines: check the numbers of a run's summary against limits.

A requirement is a list of clauses separated by commas. A clause compares one number with a limit, with a multiple of
the original model's value (``base``), or with another number::

    forgotten_by_stratum.min >= 95%, retain_accuracy >= 0.9 * base, simnpo.seconds < 60

A number is named ``[METHOD.]NUMBER[.FORM][.PART]...``. Without a method the clause must hold for every method except
the oracle; without a form, for every form of asking. Any part that is left out takes its default. A value that could
not be measured fails the clause.

==============================  ============================================  ========================================
number                          meaning                                       parts after the form (first: default)
==============================  ============================================  ========================================
``forgotten``                   share of known facts forgotten                generation, probability
``forgotten_by_stratum``        the same share in one stratum                 generation, probability; then min, max,
                                                                              mean, rarest, most_frequent; then low,
                                                                              high (interval)
``retain_accuracy``             accuracy on questions about retain people
``bystander_accuracy``          accuracy on questions about people whom no
                                loss saw
``accuracy``                    accuracy on one group of facts                a group (required); low, high
``slope_per_decade`` and        change per factor 10 of the count, in nats    low, high, p, p_holm
``adjusted_…``, ``residual_…``
``misalignment``                disagreement of probability and generation    total, hidden, brittle, signed
``agreement``                   the threshold-free index of disagreement      excess, index, probability, generation,
                                                                              low, high
``forget_quality``,             numbers under their published names
``model_utility``, …            (``statistics.published.METRICS``)
``not_finite``                  losses that were not finite
``facts``, ``known_before``,    of the whole run
``seconds``
==============================  ============================================  ========================================
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from factcensus.eval.errors import EvaluationInputError
from factcensus.indexer.names import suggestion

BASE = "base"
OF_THE_RUN = ("facts", "known_before", "seconds")
SLOPES = ("slope_per_decade", "adjusted_slope_per_decade", "residual_slope_per_decade")
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_NAME = r"(?:\"[^\"]+\"|[^\W\d]\w*)(?:\.(?:\"[^\"]+\"|\w+))*"
_DECIMAL = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CLAUSE = re.compile(
    rf"(?P<name>{_NAME})\s*(?P<comparison>{'|'.join(COMPARISONS)})\s*"
    rf"(?:(?P<limit>{_DECIMAL})\s*(?P<percent>%?)|(?:(?P<factor>{_DECIMAL})\s*\*\s*)?(?P<reference>{_NAME}))"
)
#: A method (None: the whole run), a form (None: no form), and the rest of the name.
Key = tuple[str | None, str | None, str]


@dataclass(frozen=True, slots=True)
class Checked:
    """One clause for one method and form: both sides of the comparison, None where a value is missing."""

    method: str | None
    form: str | None
    left: float | None
    right: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One clause and every method and form it was checked for."""

    clause: str
    comparison: str
    passed: bool
    checked: Sequence[Checked]


def check(summary: Mapping[str, Any], requirement: str) -> list[Verdict]:
    """Check every clause of a requirement against a summary.

    Raises:
        EvaluationInputError: A clause cannot be parsed, or names a number that the summary does not have.
    """
    clauses = [clause.strip() for clause in re.split(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", requirement)]
    return [_verdict(_Numbers(summary), clause) for clause in clauses]


def verdicts_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the object that ``eval check --json`` prints."""
    return {"passed": all(each.passed for each in verdicts), "clauses": [asdict(each) for each in verdicts]}


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """Return one line per clause, and one line for each method and form that fails it."""
    lines = []
    for verdict in verdicts:
        lines.append(f"{'ok    ' if verdict.passed else 'FAILED'}  {verdict.clause}")
        for each in verdict.checked:
            if not each.passed:
                where = ", ".join(part for part in (each.method, each.form) if part) or "the run"
                lines.append(
                    f"        {where}: {_shown(each.left)}, required {verdict.comparison} {_shown(each.right)}"
                )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "(not measured)" if value is None else f"{value:.4g}"


def _verdict(numbers: _Numbers, clause: str) -> Verdict:
    parsed = _CLAUSE.fullmatch(clause)
    if parsed is None:
        swapped = re.search(r"=[<>]", clause)
        hint = f"; did you mean {swapped[0][::-1]!r}?" if swapped else ""
        raise EvaluationInputError(
            f"cannot parse the clause {clause!r}{hint}; write NAME COMPARISON LIMIT, such as "
            "'retain_accuracy >= 0.9 * base', with one of " + ", ".join(COMPARISONS)
        )
    left = numbers.keys(parsed["name"], clause)
    if parsed["limit"]:
        limit = float(parsed["limit"]) / (100.0 if parsed["percent"] else 1.0)
        rights: dict[Key, float | None] = dict.fromkeys(left, limit)
    else:
        factor = float(parsed["factor"] or 1)
        references = {key: numbers.reference(parsed["reference"], key, clause) for key in left}
        rights = {key: None if value is None else factor * value for key, value in references.items()}
    checked = []
    for key in left:
        value, right = numbers.values[key], rights[key]
        passed = value is not None and right is not None and COMPARISONS[parsed["comparison"]](value, right)
        checked.append(Checked(key[0], key[1], value, right, passed))
    return Verdict(clause, parsed["comparison"], all(each.passed for each in checked), checked)


class _Numbers:
    """All numbers of a summary by method, form and name."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.methods = [method["name"] for method in summary["methods"]]
        self.checked = [name for name in self.methods if name != summary["oracle"]]
        if not self.checked:
            raise EvaluationInputError("the run has no unlearned model to check, only the original")
        self.forms = summary["forms"]
        self.values: dict[Key, float | None] = {(None, None, name): summary[name] for name in OF_THE_RUN}
        for method in summary["methods"]:
            for form, name, value in _of_method(method):
                self.values[method["name"], form, name] = value
        for form, name, value in _of_original(summary):
            self.values[BASE, form, name] = value

    def keys(self, text: str, clause: str) -> list[Key]:
        """Return the keys that a name refers to: one per method and form that the name leaves open.

        Raises:
            EvaluationInputError: The summary has no such number.
        """
        parts = [part.strip('"') for part in re.findall(r"\"[^\"]+\"|\w+", text)]
        method = parts.pop(0) if parts[0] == BASE or parts[0] in self.methods else None
        wanted = self.checked if method is None else [method]
        form = next((part for part in parts if part in self.forms), None)
        name = ".".join(part for part in parts if part != form)
        of_methods = [key for key in self.values if key[0] in wanted or (method is None and key[0] is None)]
        found = [key for key in of_methods if key[2] == name and form in (None, key[1])]
        if not found:
            known = dict.fromkeys(key[2] for key in of_methods)
            longer = [each for each in known if each.startswith(f"{parts[0]}.")] if parts else []
            others = [] if method else [*self.methods, *self.forms]
            hint = suggestion(name, longer) if longer and name not in known else suggestion(name, [*known, *others])
            if name not in known and not longer and len(parts) > 1:
                hint = suggestion(parts[0], others)
            raise EvaluationInputError(f"unknown number {text!r} in clause {clause!r}{hint}")
        return found

    def reference(self, text: str, left: Key, clause: str) -> float | None:
        """Return the value on the right side; ``base`` alone is the original model's value of the left side."""
        if text == BASE:
            if (BASE, *left[1:]) not in self.values:
                raise EvaluationInputError(f"clause {clause!r}: the original model has no {left[2]!r}")
            return self.values[BASE, left[1], left[2]]
        found = self.keys(text, clause)
        for wanted in (left[:2], (left[0], None), (BASE, left[1])):
            found = [key for key in found if key[:2] == wanted] or found
        if len(found) > 1:
            raise EvaluationInputError(f"clause {clause!r}: {text!r} is more than one number; name the method and form")
        return self.values[found[0]]


def _of_method(method: Mapping[str, Any]) -> Iterator[tuple[str | None, str, float | None]]:
    """Yield (form, name, value) of every number of one method."""
    for name in ("retain_accuracy", "bystander_accuracy", "not_finite"):
        yield None, name, method[name]
    yield from _published(method)
    yield from _accuracies(method["accuracy"])
    for name in SLOPES:
        for form, slope in method[name].items():
            fields = ("p", "p_holm") if name == "slope_per_decade" else ("p",)
            yield from ((form, *each) for each in _fields(name, slope, "value", *fields))
    for form, by_form in method["misalignment"]["by_form"].items():
        parts = ("total", "hidden", "brittle", "signed", "excess")
        yield from ((form, *each) for each in _fields("misalignment", by_form, *parts))
        agreement = ("excess", "index", "probability", "generation")
        yield from ((form, *each) for each in _fields("agreement", by_form.get("agreement"), *agreement))
    for form, strata in method["forgotten_by_stratum"].items():
        if strata:
            yield from ((form, *each) for each in _forgotten(strata))


def _of_original(summary: Mapping[str, Any]) -> Iterator[tuple[str | None, str, float | None]]:
    """Yield (form, name, value) of every number of the original model."""
    accuracy = summary["original"]["accuracy"]
    yield from _published(summary["original"])
    yield from _accuracies(accuracy)
    for group in ("retain", "bystander"):
        by_form = accuracy.get(f"{group}_held", accuracy.get(group, {}))
        values = [by_form[form]["value"] for form in ("question", *by_form) if form in by_form]
        yield None, f"{group}_accuracy", next((value for value in values if value is not None), None)
    for form, by_form in summary["methods"][0]["misalignment"]["by_form"].items():
        for name in ("misalignment", "misalignment.total"):
            yield form, name, by_form.get("original")


def _published(model: Mapping[str, Any]) -> Iterator[tuple[None, str, float | None]]:
    """Yield the numbers under their published names; summaries of earlier versions have none."""
    yield from ((None, name, found["value"]) for name, found in model.get("published", {}).items())


def _accuracies(accuracy: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    for group, by_form in accuracy.items():
        for form, found in by_form.items():
            yield from ((form, *each) for each in _fields(f"accuracy.{group}", found, "value"))


def _forgotten(strata: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float | None]]:
    """Yield the shares forgotten over all strata and in single ones."""
    for outcome, prefix in (("generation", ""), ("generation", ".generation"), ("probability", ".probability")):
        rows = [row[outcome] for row in strata if row[outcome]["value"] is not None]
        known = sum(row["n"] for row in rows)
        share = sum(row["value"] * row["n"] for row in rows) / known if known else None
        yield f"forgotten{prefix}", share
        for suffix, bound in (("", None), (".low", 0), (".high", 1)):
            values = [row["value"] if bound is None else (row["ci95"] or (None, None))[bound] for row in rows]
            for part, value in _picked(values).items():
                yield f"forgotten_by_stratum{prefix}{part}{suffix}", value


def _picked(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return the least, greatest, mean, first and last value; None if one is missing."""
    numbers = [value for value in values if value is not None]
    parts = ("", ".min", ".max", ".mean", ".rarest", ".most_frequent")
    if not numbers or len(numbers) < len(values):
        return dict.fromkeys(parts)
    least, mean = min(numbers), sum(numbers) / len(numbers)
    return dict(zip(parts, (least, least, max(numbers), mean, numbers[0], numbers[-1]), strict=True))


def _fields(name: str, found: Mapping[str, Any] | None, *fields: str) -> Iterator[tuple[str, float | None]]:
    """Yield the fields of an estimate and its interval bounds; the first field is also yielded under the bare name."""
    found = found or {}
    yield name, found.get(fields[0])
    for field in fields:
        if field != "value":
            yield f"{name}.{field}", found.get(field)
    if "ci95" in found and name != "misalignment":
        low, high = found["ci95"] or (None, None)
        yield f"{name}.low", low
        yield f"{name}.high", high
