"""Every answer of the models as JSON Lines: what was asked, what was expected, and what the model said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from factcensus.eval.statistics.outcomes import with_defaults
from factcensus.indexer.system.files import replaced_file

if TYPE_CHECKING:
    from factcensus.eval.runs import Run

#: Fields of a line, and the columns of facts.parquet that hold them; a run without a column lacks the field.
FIELDS = {
    **{
        name: name
        for name in ("seed", "method", "point", "fact_id", "subject", "object", "relation", "group", "stratum")
    },
    **{name: name for name in ("form", "variant", "prompt")},
    "expected": "answer",
    "said": "generation",
    "finished": "generation_finished",
    **{name: name for name in ("match", "exact_match", "log_probability", "samples", "sample_matches", "sampled")},
}


def write_answers(run: Run, path: Path) -> None:
    """Write one line per answer; nothing if the run has no generated answers, such as imported means."""
    if "generation" not in run.facts.columns or run.facts.empty:
        return
    facts = with_defaults(run.facts)
    fields = {field: column for field, column in FIELDS.items() if column in facts.columns}
    with replaced_file(path) as partial, partial.open("wb") as file:
        for row in facts[list(fields.values())].itertuples(index=False, name=None):
            line = dict(zip(fields, map(_plain, row), strict=True))
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


def _plain(value: Any) -> Any:
    """Return a value that JSON can represent; missing values of every kind are null."""
    if isinstance(value, str):
        return value
    if hasattr(value, "__len__"):
        return list(value)
    return None if pd.isna(value) else value
