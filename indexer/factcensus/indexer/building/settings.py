"""The settings of a build, and the memory that its stages need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from factcensus.indexer.corpus import BadLinePolicy
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import Layout

#: Memory per token for building a shard, in the worst case of a single repeated text: 8 for the arrays, 12 for scratch
#: of a single bucket, and 8 for ties. Natural text takes 10. A type that occurs once takes 20 instead of the last two.
#: The layout compact takes at most 28 as well, for types that occur once or twice, and 13 for natural text.
BYTES_PER_TOKEN = 28
#: Memory per type in the previous stage, which merges and sorts the words of all files (75 bytes were measured).
MERGED_BYTES_PER_TYPE = 88
#: Memory of a process before it reads a byte (libraries, Unicode tables), and of a process that analyses a file.
PROCESS_BYTES = 256 << 20
ANALYSIS_BYTES = 384 << 20
#: Memory per byte of a long line: the line, its text in Python, and its tokens (12.7 bytes were measured).
BYTES_PER_LINE_BYTE = 16
#: Minimum number of tokens for which a shard is worthwhile.
LEAST_SHARD_TOKENS = 1 << 20
#: Maximum number of tokens of a shard, with separators: positions and row numbers are unsigned 32-bit integers.
MOST_SHARD_TOKENS = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """The settings of a build, which must be the same when it is resumed."""

    analyzer: str = "words"
    memory_bytes: int = 8 << 30
    shard_tokens: int | None = None
    text_field: str = "text"
    id_field: str = "id"
    on_bad_line: BadLinePolicy = "fail"
    replace: bool = False
    layout: Layout = "suffix-array"
    keep_text: bool = False

    @property
    def stores_text(self) -> bool:
        """Whether the texts are stored as well as the tokens; the tokens of the analyzer ``bytes`` are the texts."""
        return self.keep_text and self.analyzer != "bytes"

    @property
    def line_bytes(self) -> int:
        """Maximum number of bytes of a line."""
        return max(1 << 20, (self.memory_bytes - PROCESS_BYTES) // BYTES_PER_LINE_BYTE)

    @property
    def budget_tokens(self) -> int:
        """The number of tokens of a shard, including separators: as given, or as many as fit in memory."""
        if self.shard_tokens is not None:
            return self.shard_tokens
        return min(MOST_SHARD_TOKENS, (self.memory_bytes - PROCESS_BYTES) // BYTES_PER_TOKEN)

    def processes(self, stage: str) -> int:
        """Return how many processes fit in memory if each analyses a file (``spool``) or builds one shard."""
        each = {"spool": ANALYSIS_BYTES, "shards": PROCESS_BYTES + BYTES_PER_TOKEN * self.budget_tokens}
        return max(1, (self.memory_bytes - PROCESS_BYTES) // each.get(stage, PROCESS_BYTES))

    def check_layout(self) -> None:
        """Check that the layout exists for the analyzer.

        Raises:
            InputError: It does not.
        """
        if self.layout not in get_args(Layout):
            raise InputError(f"layout must be {' or '.join(get_args(Layout))}, got {self.layout!r}")
        if self.layout == "compact" and self.analyzer == "bytes":
            raise InputError(
                "the layout compact saves no space with the analyzer bytes, whose blocks have almost every token each; "
                "give --layout suffix-array, or another --analyzer"
            )

    def check_memory(self, types: int = 0) -> None:
        """Check that the memory is enough to build a shard, and to merge the words of all files.

        Raises:
            InputError: It is not.
        """
        if self.shard_tokens is not None and not 1 <= self.shard_tokens <= MOST_SHARD_TOKENS:
            raise InputError(f"shard_tokens must be from 1 to {MOST_SHARD_TOKENS}, got {self.shard_tokens}")
        wanted = LEAST_SHARD_TOKENS if self.shard_tokens is None else self.shard_tokens
        needed = PROCESS_BYTES + BYTES_PER_TOKEN * wanted
        if self.memory_bytes < needed:
            raise InputError(
                f"{self.memory_bytes >> 20} MiB of memory is too little for shards of {wanted:,} tokens; give at "
                f"least {(needed >> 20) + 1} MiB"
                + (", or a smaller --shard-tokens" if self.shard_tokens is not None else "")
            )
        merging = PROCESS_BYTES + MERGED_BYTES_PER_TYPE * types
        if self.memory_bytes < merging:
            raise InputError(
                f"{self.memory_bytes >> 20} MiB of memory is too little for a vocabulary of {types:,} types; give at "
                f"least {(merging >> 20) + 1} MiB"
            )
