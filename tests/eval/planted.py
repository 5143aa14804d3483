"""Rows of facts.parquet with a planted effect, for tests of statistics without a model."""

from __future__ import annotations

import numpy as np
import pandas as pd

COUNTS = (1, 2, 4, 8, 16, 32, 64)
RELATIONS = ("city", "employer", "school")
OBJECTS = 12


def planted_facts(  # noqa: PLR0913  # one argument per property of the world, all by name
    *,
    seed: int = 0,
    people: int = 70,
    slope: float = 0.5,
    methods: tuple[str, ...] = ("simnpo",),
    oracle: bool = False,
    known: float = 0.9,
    noise: float = 0.4,
    subject_noise: float = 0.4,
    forms: tuple[str, ...] = ("question", "cloze"),
) -> pd.DataFrame:
    """Make a world of ``people`` forget people and a few of every other group, at counts 1 to 64.

    Answers have two tokens and start at log-probability -0.5. Unlearning changes that of a forget fact by -6 +
    ``slope`` * log10(count) plus noise per subject and fact, and does not change the others. Phantoms are at -8 (-4 per
    token). A fact is generated after unlearning if its log-probability is above -5.
    """
    generator = np.random.default_rng(seed)
    groups = {"forget": people, "retain": 14, "retain_held": 14, "bystander": 14, "phantom": 28}
    rows: list[dict[str, object]] = []
    for role, size in groups.items():
        for number in range(size):
            count = 0 if role == "phantom" else COUNTS[number % len(COUNTS)]
            of_subject = subject_noise * generator.normal()
            for relation in RELATIONS:
                value = int(generator.integers(OBJECTS))
                for form in forms:
                    before = -8.0 if role == "phantom" else -0.5
                    is_known = role != "phantom" and bool(generator.random() < known)
                    fact = {
                        "seed": seed,
                        "fact_id": f"{role}-{number}-{relation}",
                        "form": form,
                        "variant": 0,
                        "role": role,
                        "used": role if role in ("forget", "retain") else "none",
                        "relation": relation,
                        "subject": f"{role} {number}",
                        "object": f"{relation} {value}",
                        "cooccurrence_documents": count,
                        "object_documents": 50 + value,
                        "stratum": -1 if role == "phantom" else COUNTS.index(count) // 3,
                        "stratum_label": "none" if role == "phantom" else str(COUNTS.index(count) // 3),
                        "stratum_low": 0.0,
                        "stratum_high": 0.0,
                        "answer_tokens": 2,
                    }
                    rows.append(_measured(fact, "original", "before", before, is_known))
                    for method in (*methods, *(["retrained"] if oracle else [])):
                        after = before
                        if method == "retrained" and role == "forget":
                            after = -8.0 + noise * generator.normal()
                        elif role == "forget":
                            change = slope * np.log10(count) - 6.0
                            after = before + change + of_subject + noise * generator.normal()
                        rows.append(_measured(fact, method, "after", after, is_known and after > -5.0))
    return pd.DataFrame(rows)


def _measured(fact: dict[str, object], method: str, point: str, log_p: float, match: bool) -> dict[str, object]:
    measured = {"log_probability": log_p, "log_probability_mean": log_p / 2, "match": match}
    return {**fact, "method": method, "point": point, **measured}
