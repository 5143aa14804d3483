"""Provenance of a run: everything needed to compute its numbers again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factcensus.eval.runs import Run


def provenance(run: Run) -> list[tuple[str, str]]:
    """Return (name, value) of everything that identifies a run's corpus, facts, models and software."""
    rows = [
        ("made by", _joined(filter(None, map(_command, run.records)))),
        ("seeds", _joined(sorted(run.facts["seed"].unique()))),
        ("index", _joined(_column(run, "index"))),
        ("index digest", _joined(_column(run, "index_digest"))),
        ("analyzer", _joined(_column(run, "analyzer"))),
        ("counts exact", _joined(_column(run, "exact"))),
        ("model digest", _joined(_found(run.records, "model", "digest"))),
        ("fact table digest", _joined(_found(run.records, "facts", "digest"))),
        ("preset", _joined(_found(run.records, "preset"))),
        ("device", _joined(_found(run.records, "device"))),
    ]
    versions: dict[str, list[str]] = {}
    for record in run.records:
        for name, version in (record.get("versions") or {}).items():
            versions.setdefault(name, []).append(str(version))
    rows += [(name, _joined(values)) for name, values in versions.items()]
    return [(name, value) for name, value in rows if value]


def notes(run: Run) -> list[str]:
    """Return the notes for readers in the records of the runs: notes, failed methods, warnings about the facts."""
    found: list[str] = []
    for record in (each for whole in run.records for each in (whole, *whole.get("runs", ()))):
        found += record.get("notes") or ()
        found += (f"A method failed and has no results: {each['error']}." for each in record.get("failed") or ())
        found += (f"Warning: {warning}." for warning in record.get("warnings") or ())
    return list(dict.fromkeys(found))


def _command(record: Mapping[str, Any]) -> str:
    """Return the command that makes such a run; run.json, shown on the page, has the other settings."""
    if "preset" in record:
        return f"factcensus demo --preset {record['preset']}"
    if "config" in record:
        return "factcensus unlearn run, with the config in run.json"
    if "imported" in record:
        paths = (str(source["path"]) for source in record["imported"]["sources"])
        return f"factcensus eval import {' '.join(paths)}"
    if "identity" in record:
        return f"factcensus eval run {record['model']['name']}, with the settings in run.json"
    return ""


def _column(run: Run, name: str) -> list[Any]:
    return list(run.facts[name].dropna().unique()) if name in run.facts.columns else []


def _found(records: Iterable[Mapping[str, Any]], *path: str) -> list[Any]:
    """Return the plain values at a path in the records and in the records of pooled runs."""
    found = []
    for record in (each for whole in records for each in (whole, *whole.get("runs", ()))):
        value: Any = record
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, str | int | float):
            found.append(value)
    return found


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))
