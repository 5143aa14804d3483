"""The type of an Arrow table in public signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    # pyarrow has no types, so strict type checkers would report every call with a table as partially unknown.
    ArrowTable: TypeAlias = Any
else:
    from pyarrow import Table as ArrowTable

__all__ = ["ArrowTable"]
