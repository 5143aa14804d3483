"""Run attacks on one model and summarise them by stratum: attack_facts.parquet and attacks.parquet (docs/runs.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from factcensus.eval.attacks.membership import auc_of, membership
from factcensus.eval.attacks.probe import probe
from factcensus.eval.attacks.prompts import few_shot, paraphrase, sample
from factcensus.eval.attacks.quantise import quantise
from factcensus.eval.attacks.relearn import relearn
from factcensus.eval.attacks.target import PHANTOM, Target
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.statistics.intervals import mean, share
from factcensus.indexer.names import suggestion
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.selection import Row

ATTACKS: dict[str, Callable[[Target], Iterator[Row]]] = {
    "relearn": relearn,
    "quantise": quantise,
    "few_shot": few_shot,
    "paraphrase": paraphrase,
    "sample": sample,
    "probe": probe,
    "membership": membership,
}

_WHAT = [
    ("attack", pa.string()),
    ("level", pa.float64()),
    ("level_label", pa.string()),
    ("form", pa.string()),
    ("part", pa.string()),
]
FACTS_SCHEMA = pa.schema(
    [
        *_WHAT,
        ("fact_id", pa.string()),
        ("subject", pa.string()),
        ("stratum", pa.int64()),
        ("stratum_label", pa.string()),
        ("measure", pa.string()),
        ("score", pa.float64()),
        ("log_probability", pa.float64()),
    ]
)
STRATA_SCHEMA = pa.schema(
    [
        *_WHAT,
        ("stratum", pa.int64()),
        ("stratum_label", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("reference", pa.float64()),
    ]
)


def check_attacks(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names without duplicates.

    Raises:
        EvaluationInputError: an attack does not exist.
    """
    for name in names:
        if name not in ATTACKS:
            raise EvaluationInputError(f"unknown attack {name!r}{suggestion(name, ATTACKS)}")
    return tuple(dict.fromkeys(names))


def run_attack(name: str, target: Target, progress: ProgressFunction = silent) -> tuple[pa.Table, pa.Table]:
    """Run one attack; return rows of attack_facts.parquet and of attacks.parquet. The model is restored.

    Raises:
        EvaluationInputError: the fact table lacks the columns that the attack needs, or the attack does not exist.
    """
    [name] = check_attacks([name])
    progress(Progress(f"attack {name}", 0, 1))
    rows = [{"attack": name, **row, **_fact_of(target, row["row"])} for row in ATTACKS[name](target)]
    progress(Progress(f"attack {name}", 1, 1))
    return (
        pa.Table.from_pylist(rows, schema=FACTS_SCHEMA),
        pa.Table.from_pylist(list(_by_stratum(rows)), schema=STRATA_SCHEMA),
    )


def _fact_of(target: Target, row: int) -> Row:
    fact = target.facts[row]
    return {
        "fact_id": str(fact["fact_id"]),
        "subject": str(fact.get("subject") or ""),
        "relation": str(fact.get("relation") or ""),
        "stratum": fact.get("stratum"),
        "stratum_label": fact.get("stratum_label"),
    }


def _by_stratum(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield every number over all strata, then by stratum."""
    what = ("attack", "level", "level_label", "form", "part", "measure")
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in what)].append(row)
    for key, of_group in groups.items():
        named: Row = dict(zip(what, key, strict=True))
        if named["attack"] == "membership":
            if named["part"] == PHANTOM:
                continue
            other: list[Row] = groups.get(tuple((named | {"part": PHANTOM}).values()), [])
            yield from _each_stratum(named, of_group, lambda some, other=other: _auc(some, other))  # type: ignore[misc]
        else:
            yield from _each_stratum(named, of_group, _mean)


def _each_stratum(named: Row, rows: Sequence[Row], value: Callable[[Sequence[Row]], Row]) -> Iterator[Row]:
    yield {**named, "stratum": None, "stratum_label": None, **value(rows)}
    strata: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["stratum"] is not None:
            strata[int(row["stratum"]), str(row["stratum_label"] or row["stratum"])].append(row)
    for (stratum, label), of_stratum in sorted(strata.items()):
        yield {**named, "stratum": stratum, "stratum_label": label, **value(of_stratum)}


def _mean(rows: Sequence[Row]) -> Row:
    """Return the mean score with an interval clustered by subject: Wilson's for shares, Student's for other means."""
    scored = [row for row in rows if row["score"] is not None]
    scores = np.array([row["score"] for row in scored], float)
    subjects = [row["subject"] for row in scored]
    is_share = bool(np.isin(scores, (0.0, 1.0)).all())
    found = share(scores.astype(bool), subjects) if is_share else mean(scores, subjects)
    low, high = (None, None) if found.ci95 is None else (max(0.0, found.ci95[0]), min(1.0, found.ci95[1]))
    known = [row["reference"] for row in scored if row["reference"] is not None]
    reference = float(np.mean(known)) if known else None
    return {"value": found.value, "low": low, "high": high, "n": found.n, "reference": reference}


def _auc(members: Sequence[Row], others: Sequence[Row]) -> Row:
    """Return the AUC of members against all phantoms."""

    def scored(rows: Sequence[Row]) -> list[tuple[str, str, float]]:
        return [(row["relation"], row["subject"], row["score"]) for row in rows if row["score"] is not None]

    found = auc_of(scored(members), scored(others))
    if found is None:
        return {"value": None, "low": None, "high": None, "n": 0, "reference": 0.5}
    value, (low, high), number = found
    return {"value": value, "low": low, "high": high, "n": number, "reference": 0.5}
