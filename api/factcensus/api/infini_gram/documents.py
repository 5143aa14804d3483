"""Documents in the form of the public infini-gram API: a window of tokens with the query terms marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from factcensus.api.infini_gram.tokens import Cnf
from factcensus.indexer import CountIndex
from factcensus.indexer.corpus import UNKNOWN_SOURCE
from factcensus.indexer.storage.shard import Shard

#: Tokens before a piece that are decoded with it, because the text of a token may depend on them.
_LEAD_TOKENS = 8

Piece = tuple[int, int, str | None]  # first token, end, number of the clause


def document_at(index: CountIndex, shard: Shard, position: int, clauses: Cnf, max_disp_len: int) -> dict[str, Any]:
    """Return the document at a position, with half of the window before the position and half after it.

    Args:
        index: The open index.
        shard: A shard of the index.
        position: Position of a token.
        clauses: Clauses of the query; every occurrence of a term in the window is marked with the clause number.
        max_disp_len: Maximum number of tokens to show.

    Returns:
        ``doc_ix`` (number in the index), ``doc_len``, ``disp_len``, ``needle_offset`` (offset of the position in the
        window), ``metadata`` (JSON with a line break, or empty), ``token_ids``, ``spans`` and ``blocked`` (true for a
        deleted document, whose text is not shown).
    """
    document = int(shard.documents_of(np.array([position], np.int64))[0])
    begin, end = shard.document_span(document)
    before = max_disp_len // 2
    first, last = max(begin, position - before), min(end, position + max_disp_len - before)
    blocked = bool((shard.deleted == document).any())
    ids: list[int] = [] if blocked else shard.tokens(first, last).tolist()
    return {
        "doc_ix": shard.first_document + document,
        "doc_len": end - begin,
        "disp_len": len(ids),
        "needle_offset": max(0, position - first),
        "metadata": "" if blocked else _metadata(shard, document),
        "token_ids": ids,
        "blocked": blocked,
        "spans": _spans(index, ids, _pieces(ids, clauses)),
    }


def _metadata(shard: Shard, document: int) -> str:
    row = shard.rows([document])[0]
    if not row:
        return ""
    metadata = row.get("metadata")
    try:
        fields = json.loads(metadata or "{}")
    except ValueError:  # the earliest infini-gram indexes have lines in another format
        return f"{metadata}\n"
    if isinstance(fields, dict):
        named = {"id": row.get("id"), "source": row.get("source")}
        fields = {name: value for name, value in named.items() if value not in (None, UNKNOWN_SOURCE)} | fields
    return json.dumps({"path": row.get("path"), "linenum": row.get("record"), "metadata": fields}) + "\n"


def _pieces(ids: Sequence[int], clauses: Cnf) -> list[Piece]:
    """Split the window into leftmost-longest occurrences of terms and the text between them."""
    by_first: dict[int, list[tuple[list[int], int]]] = {}
    for number, clause in enumerate(clauses):
        for term in clause:
            if term:
                by_first.setdefault(term[0], []).append((term, number))
    for terms in by_first.values():
        terms.sort(key=lambda each: (-len(each[0]), each[1]))
    pieces: list[Piece] = []
    shown = at = 0
    while at < len(ids):
        for term, number in by_first.get(ids[at], ()):
            if ids[at : at + len(term)] == term:
                if shown < at:
                    pieces.append((shown, at, None))
                pieces.append((at, at + len(term), str(number)))
                shown = at = at + len(term)
                break
        else:
            at += 1
    if shown < len(ids):
        pieces.append((shown, len(ids), None))
    return pieces


def _spans(index: CountIndex, ids: Sequence[int], pieces: Sequence[Piece]) -> list[list[str | None]]:
    """Return the texts of the pieces; joined, they give the text of the window."""
    if not index.analyzer.has_vocabulary:
        return [[_text(index, ids, first, last), label] for first, last, label in pieces]
    spans: list[list[str | None]] = []
    for first, last, label in pieces:  # words are stored without the characters between them
        text = index.text(ids[first:last])
        if label is None:
            text = (" " if first else "") + text + (" " if last < len(ids) else "")
        elif spans and spans[-1][1] is not None:
            spans.append([" ", None])
        spans.append([text, label])
    return spans


def _text(index: CountIndex, ids: Sequence[int], first: int, last: int) -> str:
    """Return the text of a piece after the tokens before it."""
    lead = index.text(ids[max(0, first - _LEAD_TOKENS) : first])
    whole = index.text(ids[max(0, first - _LEAD_TOKENS) : last])
    return whole[len(lead) :] if whole.startswith(lead) else index.text(ids[first:last])
