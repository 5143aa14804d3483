"""Forget and retain sets from a fact or strata table, and the table itself in one shape."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from factcensus.unlearn.config import ForgetConfig, RetainConfig, SelectionConfig
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


def read_fact_table(path: Path) -> pa.Table:
    """Read .parquet, .csv or .jsonl; fill in ``fact_id``, ``answer`` (the object) and ``paraphrases`` (a list).

    Raises:
        ConfigError: no such file, another ending, no ``subject`` or ``object``, an empty one, or a ``fact_id`` twice.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such fact table")
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        elif path.suffix == ".csv":
            table = pa_csv.read_csv(path)
        elif path.suffix in (".jsonl", ".json"):
            table = pa_json.read_json(path)
        else:
            raise ConfigError(f"{path}: expected a name that ends in .parquet, .csv or .jsonl")
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path}: {error}") from error
    for column in ("subject", "object"):
        if column not in table.column_names:
            raise ConfigError(f"{path}: no column {column!r}; there are: {', '.join(table.column_names)}")
        for number, value in enumerate(table[column].to_pylist(), 1):
            if value is None or not str(value).strip():
                raise ConfigError(f"{path}: row {number} has an empty {column}")
    return _completed(table, path)


def _completed(table: pa.Table, path: Path) -> pa.Table:
    names = table.column_names
    if "fact_id" not in names:
        table = table.add_column(0, "fact_id", pa.array([f"fact-{number:06d}" for number in range(table.num_rows)]))
    else:
        table = table.set_column(names.index("fact_id"), "fact_id", table["fact_id"].cast(pa.string()))
    ids = table["fact_id"].to_pylist()
    if len(set(ids)) != len(ids):
        twice = next(identifier for identifier in ids if ids.count(identifier) > 1)
        raise ConfigError(f"{path}: fact_id {twice!r} stands in more than one row")
    if "answer" not in names:
        table = table.append_column("answer", table["object"].cast(pa.string()))
    if "paraphrases" in names or "paraphrase" in names:
        source = "paraphrases" if "paraphrases" in names else "paraphrase"
        lists = pa.array([_listed(value) for value in table[source].to_pylist()], pa.list_(pa.string()))
        position = table.column_names.index(source)
        table = table.set_column(position, "paraphrases", lists)
    return table


def _listed(value: Any) -> list[str]:
    """A cell of paraphrases: a list, a JSON list, or texts separated by ``|``."""
    if value is None:
        return []
    if isinstance(value, list):
        return [str(part) for part in value]
    text = str(value).strip()
    if text.startswith("["):
        try:
            return [str(part) for part in json.loads(text)]
        except ValueError:
            return [text]
    return [part.strip() for part in text.split("|") if part.strip()]


def select(table: pa.Table, config: SelectionConfig, seed: int) -> Selection:
    """The forget and the retain set of a table; draws depend on the seed only.

    Raises:
        ConfigError: a column that a condition asks for is missing, or a set is empty.
    """
    rows = tuple(table.to_pylist())
    _check_columns(table, config)
    forget = _forget(rows, config.forget, seed)
    if not forget:
        raise ConfigError(f"no fact meets the conditions of selection.forget: {_conditions(config.forget)}")
    retain = _retain(rows, forget, config.retain, "role" in table.column_names, seed)
    if not retain:
        raise ConfigError(f"no fact meets the conditions of selection.retain: {_conditions(config.retain)}")
    used = ["none"] * len(rows)
    for index in forget:
        used[index] = "forget"
    for index in retain:
        used[index] = "retain"
    if "used" in table.column_names:
        table = table.drop_columns(["used"])
    return Selection(table.append_column("used", pa.array(used)), rows, tuple(forget), tuple(retain))


def _check_columns(table: pa.Table, config: SelectionConfig) -> None:
    wanted = {
        "role": config.forget.roles,
        "stratum": config.forget.strata or config.retain.strata or "stratum" in config.retain.match,
        "relation": config.forget.relations or config.retain.relations or "relation" in config.retain.match,
    }
    for column, asked in wanted.items():
        if asked and column not in table.column_names:
            hint = " (`factcensus facts stratify` adds it)" if column == "stratum" else ""
            raise ConfigError(f"the selection asks for the column {column!r}, and the fact table has none{hint}")


def _conditions(section: ForgetConfig | RetainConfig) -> str:
    return str(section.model_dump(exclude_none=True))


def _meets(row: Row, roles: Any, strata: Any, relations: Any) -> bool:
    return (
        (roles is None or row.get("role") in roles)
        and (strata is None or row.get("stratum") in strata)
        and (relations is None or row.get("relation") in relations)
    )


def _forget(rows: tuple[Row, ...], config: ForgetConfig, seed: int) -> list[int]:
    chosen = [index for index, row in enumerate(rows) if _meets(row, config.roles, config.strata, config.relations)]
    if config.limit is not None and len(chosen) > config.limit:
        chosen = np.random.default_rng([seed, 10]).choice(chosen, config.limit, replace=False).tolist()
    return sorted(chosen)


def _retain(rows: tuple[Row, ...], forget: list[int], config: RetainConfig, has_roles: bool, seed: int) -> list[int]:
    """Facts to hold in place, of subjects that lose nothing."""
    losing = {_subject(rows[index]) for index in forget}
    bystanders = _drawn_bystanders(rows, config.bystanders_share, seed) if has_roles else set()
    roles = config.roles if has_roles else None
    pool = [
        index
        for index, row in enumerate(rows)
        if _subject(row) not in losing
        and _meets(row, None, config.strata, config.relations)
        and (_meets(row, roles, None, None) or _subject(row) in bystanders)
    ]
    if config.match:
        return _matched(rows, forget, pool, config, seed)
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


def _matched(rows: tuple[Row, ...], forget: list[int], pool: list[int], config: RetainConfig, seed: int) -> list[int]:
    """The same number of retain facts per forget fact in every cell of the matched columns.

    Without ``per_forget`` the number is the largest one that every cell of the forget set can give.
    """
    random = np.random.default_rng([seed, 13])
    wanted: dict[tuple[Any, ...], int] = defaultdict(int)
    there: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index in forget:
        wanted[tuple(rows[index].get(column) for column in config.match)] += 1
    for index in pool:
        there[tuple(rows[index].get(column) for column in config.match)].append(index)
    ratio = config.per_forget or min(len(there[cell]) / number for cell, number in wanted.items())
    chosen: list[int] = []
    for cell, number in wanted.items():
        needed = round(ratio * number)
        if needed > len(there[cell]):
            named = ", ".join(f"{column}={value}" for column, value in zip(config.match, cell, strict=True))
            raise ConfigError(
                f"retain facts matched on {named}: {needed} wanted, {len(there[cell])} there; "
                "lower selection.retain.per_forget or match less"
            )
        chosen += random.choice(there[cell], needed, replace=False).tolist() if needed else []
    return sorted(chosen)
