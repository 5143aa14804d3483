"""Read a fact or strata table, and choose the forget and retain sets."""

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
        forget, retain: Row indices, ascending.
    """

    facts: pa.Table
    rows: tuple[Row, ...]
    forget: tuple[int, ...]
    retain: tuple[int, ...]


def read_fact_table(path: Path, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Read a fact, counts or strata table, with ``fact_id``, ``answer`` and ``paraphrases`` filled in.

    Args:
        path: A .parquet, .csv or .jsonl file.
        columns: Names in the table by the required names.

    Raises:
        ConfigError: the file does not exist.
        InputError: the table is invalid; see :func:`factcensus.indexer.read_facts` and
            :func:`factcensus.indexer.tables.complete.complete_facts`.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such fact table; set `facts` to a .parquet, .csv or .jsonl file")
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
    """Choose the forget and retain sets of a table; random choices depend only on the seed.

    Args:
        table: A table returned by :func:`read_fact_table`.
        config: The conditions.
        seed: Seed of random choices.
        known: Ids of the facts that the original model knows, for ``known_before``; None ignores that condition.
        needs_retain: Whether an empty retain set is an error.

    Raises:
        ConfigError: a column of a condition is missing, or a set is empty.
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
    """Return warnings about facts that later results will exclude because values are missing."""
    rows = [selection.rows[index] for index in (*selection.forget, *selection.retain)]
    if "stratum" not in selection.facts.column_names:
        return []
    missing = sum(row["stratum"] is None for row in rows)
    if not missing:
        return []
    to_forget = sum(selection.rows[index]["stratum"] is None for index in selection.forget)
    return [
        f"{missing:,} of the {len(rows):,} facts in the two sets have no stratum ({to_forget:,} of them to forget): "
        "results by stratum exclude them, and strata control divides the facts by count instead; stratify the table "
        "again, or remove these rows"
    ]


def candidates(table: pa.Table, config: SelectionConfig, seed: int) -> list[int]:
    """Return the indices of the rows that :func:`select` may choose, before random choices and ``known_before``."""
    rows = tuple(table.to_pylist())
    _check_columns(table, config)
    forget = _forget(rows, config.forget)
    # With a limit, facts that are not chosen for the forget set may be retained.
    losing = forget if config.forget.limit is None and not config.forget.known_before else []
    return sorted({*forget, *_retain_pool(rows, losing, config.retain, "role" in table.column_names, seed)})


def balance(selection: Selection, column: str) -> dict[str, float | None]:
    """Compare the frequencies of both sets: means of log10(1 + count) and their standardised difference.

    The result is empty if a set is empty or a fact has no count. The standard deviation is pooled; the difference is
    None if it is 0.
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
            counted = " (`factcensus facts count` adds it; with `index.url` the run counts the facts itself)"
            hints = {"stratum": " (`factcensus facts stratify` adds it)", config.count_column: counted}
            hint = hints.get(column, "")
            raise ConfigError(f"the selection needs the column {column!r}, but the fact table has none{hint}")
    default = SelectionConfig.model_fields["count_column"].default
    if config.count_column != default and config.count_column not in table.column_names:
        near = suggestion(config.count_column, table.column_names)
        raise ConfigError(f"selection.count_column is {config.count_column!r}, a column the fact table lacks{near}")
    _check_values(table, "relation", "relations", config)
    _check_values(table, "role", "roles", config)
    _check_values(table, "stratum", "strata", config)


def _check_values(table: pa.Table, column: str, key: str, config: SelectionConfig) -> None:
    """Check that the table has every value that a condition names, because misspelt values would match nothing.

    Raises:
        ConfigError: a value is missing.
    """
    if column not in table.column_names:
        return
    there = sorted({value for value in table[column].to_pylist() if value is not None})
    for section, conditions in (("forget", config.forget), ("retain", config.retain)):
        default = type(conditions).model_fields[key].default
        asked = getattr(conditions, key)
        unknown = [value for value in asked or () if value not in there]
        # If all values are missing, the set is empty and reported as such.
        if unknown and asked != default and len(unknown) < len(asked):
            raise ConfigError(
                f"selection.{section}.{key} names {unknown[0]!r}, but no fact has this {column}"
                f"{_known_values(unknown[0], there)}"
            )


def _known_values(value: Any, there: Sequence[Any]) -> str:
    """Return the end of a message: the nearest name, or the numbers that exist."""
    if isinstance(value, str):
        return suggestion(value, there)
    return f"; the table has {', '.join(map(str, there))}"


def _nothing_meets(name: str, section: ForgetConfig | RetainConfig, rows: Sequence[Row]) -> ConfigError:
    """Return the error for an empty set, with the conditions and the values of the table."""
    asked = section.model_dump(exclude_none=True)
    there = {
        column: sorted({str(row.get(column)) for row in rows})
        for column, key in (("role", "roles"), ("stratum", "strata"), ("relation", "relations"))
        if key in asked
    }
    has = "; ".join(f"{column} {', '.join(values[:20])}" for column, values in there.items())
    advice = f"the table has {has}" if has else "relax them"
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
    """Return the facts that may be retained: those of subjects without facts to forget."""
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
    """Choose retain facts from the pool, matched as configured."""
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
    """Choose a share of the bystanders by person, so that the other people stay untouched."""
    people = sorted({_subject(row) for row in rows if row.get("role") == "bystander"})
    number = round(share * len(people))
    return set(np.random.default_rng([seed, 12]).permutation(people)[:number].tolist()) if people else set()


def _matched(
    rows: tuple[Row, ...], forget: list[int], pool: list[int], selection: SelectionConfig, seed: int
) -> list[int]:
    """Choose the same number of retain facts per forget fact in every cell of the matched columns.

    By default this is the largest number that every cell can supply. With ``count`` among the columns, facts with the
    nearest counts are chosen instead of random ones.
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
                f"retain facts matched on {named}: {needed} wanted, {len(there[cell])} available; "
                "lower selection.retain.per_forget or match less"
            )
        if "count" in config.match:
            order = random.permutation(losing).tolist()
            chosen += _nearest(rows, order, there[cell], needed, selection.count_column)
        else:
            chosen += random.choice(there[cell], needed, replace=False).tolist() if needed else []
    return sorted(chosen)


def _nearest(rows: tuple[Row, ...], forget: list[int], pool: list[int], needed: int, column: str) -> list[int]:
    """Choose ``needed`` facts: each forget fact in turn takes the remaining one nearest in log10(1 + count)."""
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
            f"fact {row['fact_id']!r} has {column} = {row.get(column)!r}, which is not a count; selection.retain.match "
            "needs the count of every candidate fact"
        )
    return math.log10(1 + int(row[column]))
