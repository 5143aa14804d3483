"""A document as the public infini-gram API shows it: a window of its tokens, with the query's terms marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from factcensus.api.infini_gram.tokens import Cnf
from factcensus.indexer import CountIndex
from factcensus.indexer.corpus import UNKNOWN_SOURCE
from factcensus.indexer.storage.shard import Shard

#: Tokens before a piece that are decoded with it: what a token reads like may depend on the ones before.
_LEAD_TOKENS = 8

Piece = tuple[int, int, str | None]  # first token, token behind the last, number of the clause


def document_at(index: CountIndex, shard: Shard, position: int, clauses: Cnf, max_disp_len: int) -> dict[str, Any]:
    """The document at a position, half of the window before the position and half from it on.

    Args:
        index: opened.
        shard: one of the index's.
        position: of a token.
        clauses: of the query; every occurrence of a term in the window is marked with its clause's number.
        max_disp_len: most tokens to show.

    Returns:
        ``doc_ix`` (number in the index), ``doc_len``, ``disp_len``, ``needle_offset`` (of the position in what is
        shown), ``metadata`` (a JSON text with a line break, or nothing), ``token_ids``, ``spans`` and ``blocked``: true
        for a deleted document, of which nothing is shown.
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
    except ValueError:  # the earliest indexes of infini-gram's have lines of their own
        return f"{metadata}\n"
    if isinstance(fields, dict):
        named = {"id": row.get("id"), "source": row.get("source")}
        fields = {name: value for name, value in named.items() if value not in (None, UNKNOWN_SOURCE)} | fields
    return json.dumps({"path": row.get("path"), "linenum": row.get("record"), "metadata": fields}) + "\n"


def _pieces(ids: Sequence[int], clauses: Cnf) -> list[Piece]:
    """The window in pieces: leftmost-longest occurrences of terms, and what is between."""
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
    """The pieces' texts, which read on when they are joined."""
    if not index.analyzer.has_vocabulary:
        return [[_text(index, ids, first, last), label] for first, last, label in pieces]
    spans: list[list[str | None]] = []
    for first, last, label in pieces:  # words are stored without what stood between them
        text = index.text(ids[first:last])
        if label is None:
            text = (" " if first else "") + text + (" " if last < len(ids) else "")
        elif spans and spans[-1][1] is not None:
            spans.append([" ", None])
        spans.append([text, label])
    return spans


def _text(index: CountIndex, ids: Sequence[int], first: int, last: int) -> str:
    """What a piece reads like behind the tokens before it."""
    lead = index.text(ids[max(0, first - _LEAD_TOKENS) : first])
    whole = index.text(ids[max(0, first - _LEAD_TOKENS) : last])
    return whole[len(lead) :] if whole.startswith(lead) else index.text(ids[first:last])
