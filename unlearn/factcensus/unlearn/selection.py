"""Forget and retain sets from a fact or strata table, and the table itself in one shape."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from factcensus.indexer import InputError, read_facts
from factcensus.indexer.names import suggestion
from factcensus.indexer.tables.added import check_one_analyzer
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.config.run_config import ForgetConfig, RetainConfig, SelectionConfig
from factcensus.unlearn.errors import ConfigError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """The fact table of a run and the two sets.

    Attributes:
        facts: The table with the column ``used``: ``forget``, ``retain`` or ``none``.
        rows: Its rows.
        forget, retain: Indices of rows, ascending.
    """

    facts: pa.Table
    rows: tuple[Row, ...]
    forget: tuple[int, ...]
    retain: tuple[int, ...]


def read_fact_table(path: Path, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Read a fact, counts or strata table, with ``fact_id``, ``answer`` and ``paraphrases`` filled in.

    Args:
        path: A .parquet, .csv or .jsonl file.
        columns: The table's own names by the names they are to have.

    Raises:
        ConfigError: there is no such file.
        InputError: the table cannot be used; see :func:`factcensus.indexer.read_facts` and
            :func:`factcensus.indexer.tables.complete.complete_facts`.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such fact table; `facts` names a .parquet, .csv or .jsonl file")
    try:
        facts = complete_facts(read_facts(path, columns=columns))
        check_one_analyzer(facts)
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return facts


def select(
    table: pa.Table,
    config: SelectionConfig,
    seed: int,
    known: Collection[str] | None = None,
    *,
    needs_retain: bool = True,
) -> Selection:
    """The forget and the retain set of a table; draws depend on the seed only.

    Args:
        table: As :func:`read_fact_table` returns it.
        config: The conditions.
        seed: Of the draws.
        known: Ids of the facts that the original model knows, for ``known_before``; without it that condition is not
            looked at.
        needs_retain: Whether the retain set may not be empty.

    Raises:
        ConfigError: a column that a condition asks for is missing, or a set is empty.
    """
    rows = tuple(table.to_pylist())
    _check_columns(table, config)
    forget = _limited(_known(rows, _forget(rows, config.forget), config.forget, known), config.forget.limit, seed)
    if not forget:
        raise _nothing_meets("forget", config.forget, rows)
    pool = _retain_pool(rows, forget, config.retain, "role" in table.column_names, seed)
    retain = _retain(rows, forget, _known(rows, pool, config.retain, known), config, seed)
    if not retain and needs_retain:
        raise _nothing_meets("retain", config.retain, rows)
    used = ["none"] * len(rows)
    for index in forget:
        used[index] = "forget"
    for index in retain:
        used[index] = "retain"
    if "used" in table.column_names:
        table = table.drop_columns(["used"])
    return Selection(table.append_column("used", pa.array(used)), rows, tuple(forget), tuple(retain))


def doubts(selection: Selection) -> list[str]:
    """Return warnings about facts whose missing values leave them out of later numbers."""
    rows = [selection.rows[index] for index in (*selection.forget, *selection.retain)]
    if "stratum" not in selection.facts.column_names:
        return []
    missing = sum(row["stratum"] is None for row in rows)
    if not missing:
        return []
    to_forget = sum(selection.rows[index]["stratum"] is None for index in selection.forget)
    return [
        f"{missing:,} of the {len(rows):,} facts in the two sets have no stratum ({to_forget:,} of them to forget): "
        "every number by stratum leaves them out, and training that controls strata bins the facts by count instead; "
        "stratify the table again, or drop these rows"
    ]


def candidates(table: pa.Table, config: SelectionConfig, seed: int) -> list[int]:
    """Indices of the rows that :func:`select` may choose, before it asks what is known and draws."""
    rows = tuple(table.to_pylist())
    _check_columns(table, config)
    forget = _forget(rows, config.forget)
    # With a limit any of them may be left out of the forget set, and then be retained.
    losing = forget if config.forget.limit is None and not config.forget.known_before else []
    return sorted({*forget, *_retain_pool(rows, losing, config.retain, "role" in table.column_names, seed)})


def balance(selection: Selection, column: str) -> dict[str, float | None]:
    """How alike the two sets are in frequency: means of log10(1 + count), and their distance in standard deviations.

    Empty if a set is empty or one of its facts has no count. The deviation is the pooled one; None where both sets
    have one count.
    """
    logs = [
        [math.log10(1 + row[column]) for row in map(selection.rows.__getitem__, indices) if _is_count(row.get(column))]
        for indices in (selection.forget, selection.retain)
    ]
    if [len(values) for values in logs] != [len(selection.forget), len(selection.retain)]:
        return {}
    if not all(logs):
        return {}
    means = [float(np.mean(values)) for values in logs]
    deviation = math.sqrt((np.var(logs[0]) + np.var(logs[1])) / 2)
    difference = round((means[0] - means[1]) / deviation, 4) if deviation > 0 else None
    return {
        "forget_mean_log10": round(means[0], 4),
        "retain_mean_log10": round(means[1], 4),
        "standardised_difference": difference,
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _check_columns(table: pa.Table, config: SelectionConfig) -> None:
    wanted = {
        "role": config.forget.roles,
        "stratum": config.forget.strata or config.retain.strata or "stratum" in config.retain.match,
        "relation": config.forget.relations or config.retain.relations or "relation" in config.retain.match,
        config.count_column: "count" in config.retain.match,
    }
    for column, asked in wanted.items():
        if asked and column not in table.column_names:
            counted = " (`factcensus facts count` adds it, and `index.url` lets the run count by itself)"
            hints = {"stratum": " (`factcensus facts stratify` adds it)", config.count_column: counted}
            hint = hints.get(column, "")
            raise ConfigError(f"the selection asks for the column {column!r}, and the fact table has none{hint}")
    default = SelectionConfig.model_fields["count_column"].default
    if config.count_column != default and config.count_column not in table.column_names:
        near = suggestion(config.count_column, table.column_names)
        raise ConfigError(f"selection.count_column is {config.count_column!r}, a column the fact table lacks{near}")
    _check_values(table, "relation", "relations", config)
    _check_values(table, "role", "roles", config)


def _check_values(table: pa.Table, column: str, key: str, config: SelectionConfig) -> None:
    """Check that the table has every value that a condition names: a misspelt one would leave its facts out silently.

    Raises:
        ConfigError: it lacks one.
    """
    if column not in table.column_names:
        return
    there = sorted({value for value in table[column].to_pylist() if value is not None})
    for section, conditions in (("forget", config.forget), ("retain", config.retain)):
        default = type(conditions).model_fields[key].default
        asked = getattr(conditions, key)
        unknown = [value for value in asked or () if value not in there]
        # A set for which no value exists is reported as empty.
        if unknown and asked != default and len(unknown) < len(asked):
            raise ConfigError(
                f"selection.{section}.{key} names {unknown[0]!r}, and no fact has this {column}"
                f"{suggestion(unknown[0], there)}"
            )


def _nothing_meets(name: str, section: ForgetConfig | RetainConfig, rows: Sequence[Row]) -> ConfigError:
    """The error for an empty set: what was asked for, and what the table has in those columns."""
    asked = section.model_dump(exclude_none=True)
    there = {
        column: sorted({str(row.get(column)) for row in rows})
        for column, key in (("role", "roles"), ("stratum", "strata"), ("relation", "relations"))
        if key in asked
    }
    has = "; ".join(f"{column} {', '.join(values[:20])}" for column, values in there.items())
    advice = f"the table has {has}" if has else "loosen them"
    return ConfigError(f"no fact meets the conditions of selection.{name}: {asked}; {advice}")


def _meets(row: Row, roles: Any, strata: Any, relations: Any) -> bool:
    return (
        (roles is None or row.get("role") in roles)
        and (strata is None or row.get("stratum") in strata)
        and (relations is None or row.get("relation") in relations)
    )


def _forget(rows: tuple[Row, ...], config: ForgetConfig) -> list[int]:
    return [index for index, row in enumerate(rows) if _meets(row, config.roles, config.strata, config.relations)]


def _known(
    rows: tuple[Row, ...], indices: list[int], config: ForgetConfig | RetainConfig, known: Collection[str] | None
) -> list[int]:
    if known is None or not config.known_before:
        return indices
    return [index for index in indices if str(rows[index]["fact_id"]) in known]


def _limited(indices: list[int], limit: int | None, seed: int) -> list[int]:
    if limit is not None and len(indices) > limit:
        return sorted(np.random.default_rng([seed, 10]).choice(indices, limit, replace=False).tolist())
    return indices


def _retain_pool(
    rows: tuple[Row, ...], forget: list[int], config: RetainConfig, has_roles: bool, seed: int
) -> list[int]:
    """Facts that may be held in place, of subjects that lose nothing."""
    losing = {_subject(rows[index]) for index in forget}
    bystanders = _drawn_bystanders(rows, config.bystanders_share, seed) if has_roles else set()
    roles = config.roles if has_roles else None
    return [
        index
        for index, row in enumerate(rows)
        if _subject(row) not in losing
        and _meets(row, None, config.strata, config.relations)
        and (_meets(row, roles, None, None) or _subject(row) in bystanders)
    ]


def _retain(
    rows: tuple[Row, ...], forget: list[int], pool: list[int], selection: SelectionConfig, seed: int
) -> list[int]:
    """As many of the pool as the configuration asks for, matched as it says."""
    config = selection.retain
    if config.match:
        return _matched(rows, forget, pool, selection, seed)
    if config.per_forget is None:
        return pool
    number = min(len(pool), round(config.per_forget * len(forget)))
    return sorted(np.random.default_rng([seed, 11]).choice(pool, number, replace=False).tolist()) if number else []


def _subject(row: Row) -> str:
    return str(row["subject"]).casefold()


def _drawn_bystanders(rows: tuple[Row, ...], share: float, seed: int) -> set[str]:
    """So many of the bystanders, by person, so that the others stay wholly untouched."""
    people = sorted({_subject(row) for row in rows if row.get("role") == "bystander"})
    number = round(share * len(people))
    return set(np.random.default_rng([seed, 12]).permutation(people)[:number].tolist()) if people else set()


def _matched(
    rows: tuple[Row, ...], forget: list[int], pool: list[int], selection: SelectionConfig, seed: int
) -> list[int]:
    """The same number of retain facts per forget fact in every cell of the matched columns.

    Without ``per_forget`` the number is the largest one that every cell of the forget set can give. With ``count``
    among the columns, those nearest in count are taken instead of drawn.
    """
    config = selection.retain
    random = np.random.default_rng([seed, 13])
    columns = [column for column in config.match if column != "count"]
    wanted: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    there: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index in forget:
        wanted[tuple(rows[index].get(column) for column in columns)].append(index)
    for index in pool:
        there[tuple(rows[index].get(column) for column in columns)].append(index)
    ratio = config.per_forget or min(len(there[cell]) / len(losing) for cell, losing in wanted.items())
    chosen: list[int] = []
    for cell, losing in wanted.items():
        needed = round(ratio * len(losing))
        if needed > len(there[cell]):
            named = ", ".join(f"{column}={value}" for column, value in zip(columns, cell, strict=True)) or "count"
            raise ConfigError(
                f"retain facts matched on {named}: {needed} wanted, {len(there[cell])} there; "
                "lower selection.retain.per_forget or match less"
            )
        if "count" in config.match:
            order = random.permutation(losing).tolist()
            chosen += _nearest(rows, order, there[cell], needed, selection.count_column)
        else:
            chosen += random.choice(there[cell], needed, replace=False).tolist() if needed else []
    return sorted(chosen)


def _nearest(rows: tuple[Row, ...], forget: list[int], pool: list[int], needed: int, column: str) -> list[int]:
    """So many of the pool: each forget fact in turn takes the one nearest in log10(1 + count) that is still there."""
    left = sorted((_log_count(rows[index], column), index) for index in pool)
    chosen: list[int] = []
    while len(chosen) < needed:
        for index in forget[: needed - len(chosen)]:
            wanted = _log_count(rows[index], column)
            place = bisect_left(left, (wanted, -1))
            nearest = min(left[max(0, place - 1) : place + 1], key=lambda pair: abs(pair[0] - wanted))
            left.remove(nearest)
            chosen.append(nearest[1])
    return chosen


def _log_count(row: Row, column: str) -> float:
    if not _is_count(row.get(column)):
        raise ConfigError(
            f"fact {row['fact_id']!r} has {column} = {row.get(column)!r}, which is no count; selection.retain.match "
            "asks for the count of every fact that may be chosen"
        )
    return math.log10(1 + int(row[column]))
