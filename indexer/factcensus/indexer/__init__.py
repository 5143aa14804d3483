"""Indexes of corpora, and exact counts of their n-grams, entities and co-occurrences.

>>> from factcensus.indexer import CountIndex, Entity, build_index
>>> build_index(["corpus/"], "indexes/wiki")
>>> with CountIndex.open("indexes/wiki") as index:
...     index.cooccurrence(Entity("France"), Entity("Paris")).cooccurrence.documents

Names are imported when first used, so that ``import factcensus.indexer`` is fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factcensus.indexer.building.build import add_to_index, build_index
    from factcensus.indexer.building.compaction import compact_index
    from factcensus.indexer.changing.deletion import delete_documents
    from factcensus.indexer.changing.slices import slice_index
    from factcensus.indexer.changing.verify import verify_index
    from factcensus.indexer.counting.deadline import Deadline
    from factcensus.indexer.counting.scan import scan_facts
    from factcensus.indexer.counting.scope import Scope
    from factcensus.indexer.errors import FactcensusError, IndexerError, InputError
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.records import Entity
    from factcensus.indexer.tables.comparison import compare
    from factcensus.indexer.tables.counts import count_facts
    from factcensus.indexer.tables.description import describe
    from factcensus.indexer.tables.facts import facts_from_rows, read_facts
    from factcensus.indexer.tables.files import write_table
    from factcensus.indexer.tables.plots import plot_comparison, plot_counts
    from factcensus.indexer.tables.strata import stratify

_MODULE_OF = {
    "CountIndex": "index",
    "Deadline": "counting.deadline",
    "Entity": "records",
    "FactcensusError": "errors",
    "IndexerError": "errors",
    "InputError": "errors",
    "add_to_index": "building.build",
    "build_index": "building.build",
    "compact_index": "building.compaction",
    "compare": "tables.comparison",
    "count_facts": "tables.counts",
    "delete_documents": "changing.deletion",
    "describe": "tables.description",
    "facts_from_rows": "tables.facts",
    "plot_comparison": "tables.plots",
    "plot_counts": "tables.plots",
    "read_facts": "tables.facts",
    "Scope": "counting.scope",
    "scan_facts": "counting.scan",
    "slice_index": "changing.slices",
    "stratify": "tables.strata",
    "verify_index": "changing.verify",
    "write_table": "tables.files",
}

__all__ = [
    "CountIndex",
    "Deadline",
    "Entity",
    "FactcensusError",
    "IndexerError",
    "InputError",
    "Scope",
    "add_to_index",
    "build_index",
    "compact_index",
    "compare",
    "count_facts",
    "delete_documents",
    "describe",
    "facts_from_rows",
    "plot_comparison",
    "plot_counts",
    "read_facts",
    "scan_facts",
    "slice_index",
    "stratify",
    "verify_index",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def _attribute_of_the_namespace(name: str) -> str:
    """Return ``factcensus.__version__``; a namespace package has no ``__init__.py`` that could define it."""
    if name != "__version__":
        raise AttributeError(f"module 'factcensus' has no attribute {name!r}")
    from importlib.metadata import version

    return version("factcensus")


vars(sys.modules["factcensus"])["__getattr__"] = _attribute_of_the_namespace
