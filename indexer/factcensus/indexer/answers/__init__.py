"""The answers of an index: frozen records with typed fields.

Each answer gives its JSON with ``as_json`` and shows a table in a notebook. The command line, the service, its OpenAPI
document and its client all use these classes, so a field is described once. The client reads answers with
``from_json``, which ignores unknown keys.
"""

from __future__ import annotations

from factcensus.indexer.answers.completions import Completion, CompletionAnswer
from factcensus.indexer.answers.counts import (
    CooccurrenceAnswer,
    CooccurrenceCounts,
    CountAnswer,
    EntityCounts,
    GroupCounts,
    MentionCounts,
    NameVariant,
    TextCounts,
)
from factcensus.indexer.answers.documents import Cut, DocumentsAnswer, FoundDocument, Passage, Span
from factcensus.indexer.answers.examples import Example, ExamplesAnswer
from factcensus.indexer.answers.indexes import IndexInfo, IndexSlice, IndexSummary, SourceSize
from factcensus.indexer.answers.ngrams import EndOfDocument, NextToken, NextTokensAnswer, ProbabilityAnswer, Tokens
from factcensus.indexer.answers.record import Answer, Json
from factcensus.indexer.answers.trace import TraceAnswer, TracedSpan
from factcensus.indexer.answers.verification import FewerOccurrences, Proof, Verification

__all__ = [
    "Answer",
    "Json",
    "CountAnswer",
    "TextCounts",
    "CooccurrenceAnswer",
    "EntityCounts",
    "GroupCounts",
    "MentionCounts",
    "NameVariant",
    "CooccurrenceCounts",
    "CompletionAnswer",
    "Completion",
    "DocumentsAnswer",
    "FoundDocument",
    "Cut",
    "Passage",
    "Span",
    "ExamplesAnswer",
    "Example",
    "TraceAnswer",
    "TracedSpan",
    "IndexInfo",
    "IndexSlice",
    "IndexSummary",
    "SourceSize",
    "ProbabilityAnswer",
    "NextTokensAnswer",
    "NextToken",
    "EndOfDocument",
    "Tokens",
    "Verification",
    "Proof",
    "FewerOccurrences",
]
