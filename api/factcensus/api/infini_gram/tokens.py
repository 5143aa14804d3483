r"""Tokenization of queries, given as text or token ids, by the rules of the public API.

A query is one n-gram, or clauses of n-grams. " AND " splits a text into clauses and " OR " splits a clause into terms,
in capitals with single spaces; OR binds tighter. There is no quoting. Each term is tokenized separately:

================================  ====================================================================
index of ``bytes``                UTF-8; the four characters ``\xHH`` are the byte HH
``hf:`` with a byte-level         one space before the text unless it is empty (as for GPT-2, OLMo,
tokenizer (``ByteLevel``)         GPT-NeoX there)
``hf:`` with a SentencePiece one  as the tokenizer does it, without a first token "▁" (as for Llama there)
other ``hf:``                     as the tokenizer does it
``words``                         as our analyzer does it; -1 for a word that never occurs
================================  ====================================================================

The kind is read from the tokenizer: ``ByteLevel`` anywhere in its pre-tokenizer or decoder, otherwise ``▁`` in its
normalizer, pre-tokenizer or decoder. So a text matches a name only after a space; ids match any form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from factcensus.api.infini_gram.wire import (
    MAX_CLAUSES,
    MAX_QUERY_CHARS,
    MAX_QUERY_TOKENS,
    MAX_TERMS,
    Asked,
    Refusal,
    is_integer,
)
from factcensus.indexer import CountIndex
from factcensus.indexer.analyzers import FixedAnalyzer
from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer
from factcensus.indexer.records import clean_text

Ngram = list[int]
Cnf = list[list[Ngram]]

#: Id of the separator in the public API's 2-byte indexes; accepted as the separator in any index.
SEPARATOR_ID = 65535
#: Names of end-of-document tokens in tokenizers.
_ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[SEP]")
_ESCAPED_BYTE = re.compile(r"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True)
class Query:
    """A query as token ids, with their printable tokens.

    Attributes:
        ids: Ids of one n-gram, or of the terms of the clauses.
        tokens: Printable tokens, nested like the ids.
        is_cnf: Whether the query consists of clauses.
        text: The query as text, if it was a text.
    """

    ids: Any
    tokens: Any
    is_cnf: bool
    text: str | None = None

    @property
    def ngram(self) -> Ngram:
        """The ids of a query with one n-gram."""
        return cast(Ngram, self.ids)

    @property
    def clauses(self) -> Cnf:
        """The ids of a query with clauses; one n-gram is one clause of one term."""
        return cast(Cnf, self.ids if self.is_cnf else [[self.ids]])


def query_of(asked: Asked, index: CountIndex) -> Query:
    """Return the query of a request.

    Raises:
        Refusal: It is too long, has the wrong form, or has ids outside the index's range.
    """
    return _of_ids(asked.query, index) if asked.by_ids else query_of_text(asked.query, index)


def query_of_text(text: Any, index: CountIndex) -> Query:
    """Tokenize a text as a query; see :func:`query_of`."""
    if not isinstance(text, str):
        raise Refusal("query must be a string!")
    if len(text) > MAX_QUERY_CHARS:
        raise Refusal(f"Please limit your input to <= {MAX_QUERY_CHARS} characters!")
    text = clean_text(text)
    is_cnf = " AND " in text or " OR " in text
    terms = [clause.split(" OR ") for clause in text.split(" AND ")] if is_cnf else [[text]]
    pairs = [[_tokenized(term, index) for term in clause] for clause in terms]
    ids = [[ids for ids, _ in clause] for clause in pairs]
    tokens = [[tokens for _, tokens in clause] for clause in pairs]
    _check_size(ids)
    if not is_cnf:
        return Query(ids[0][0], tokens[0][0], is_cnf=False, text=text)
    return Query(ids, tokens, is_cnf=True, text=text)


def name_ids(name: str, index: CountIndex) -> Ngram:
    """Return the ids of a name, which may contain " AND " or " OR ".

    Raises:
        Refusal: It is longer than a query may be.
    """
    if len(name) > MAX_QUERY_CHARS:
        raise Refusal(f"Please limit your input to <= {MAX_QUERY_CHARS} characters!")
    return _tokenized(clean_text(name), index)[0]


def _of_ids(sent: Any, index: CountIndex) -> Query:
    is_cnf = isinstance(sent, list) and bool(sent) and isinstance(sent[0], list)
    clauses = sent if is_cnf else [[sent]]
    if not all(
        isinstance(clause, list)
        and all(isinstance(term, list) and all(is_integer(token) for token in term) for term in clause)
        for clause in clauses
    ):
        raise Refusal("query_ids must be a list of integers, or a triply-nested list of integers!")
    _check_size(clauses)
    separator, most = separator_of(index), vocabulary_size(index)
    ids = [[[separator if i == SEPARATOR_ID else i for i in term] for term in clause] for clause in clauses]
    if any(not (0 <= i < most or i == separator) for clause in ids for term in clause for i in term):
        raise Refusal("Some item(s) in your query_ids are out-of-range!")
    tokens = [[[token_of(index, i) for i in term] for term in clause] for clause in ids]
    if not is_cnf:
        return Query(ids[0][0], tokens[0][0], is_cnf=False)
    return Query(ids, tokens, is_cnf=True)


def _check_size(clauses: Sequence[Sequence[Sequence[int]]]) -> None:
    if sum(len(term) for clause in clauses for term in clause) > MAX_QUERY_TOKENS:
        raise Refusal(f"Please limit your input to <= {MAX_QUERY_TOKENS} tokens!")
    if len(clauses) > MAX_CLAUSES:
        raise Refusal(f"Please enter at most {MAX_CLAUSES} disjunctive clauses!")
    if any(len(clause) > MAX_TERMS for clause in clauses):
        raise Refusal(f"Please enter at most {MAX_TERMS} terms in each disjunctive clause!")


def separator_of(index: CountIndex) -> int:
    """Return the id of the separator before each document."""
    token_bytes: int = index.shards[0].token_bytes if index.shards else 4
    return int(256**token_bytes - 1)


def vocabulary_size(index: CountIndex) -> int:
    """Return the number of token ids, without the separator."""
    known = index.manifest.vocabulary_size if index.manifest else cast(FixedAnalyzer, index.analyzer).vocabulary_size
    return min(known, separator_of(index))


def token_of(index: CountIndex, token_id: int) -> str:
    """Return the printable token of an id; the separator is shown as the end of a document."""
    return "</s>" if token_id == separator_of(index) else index.words([token_id])[0]


def end_of_document(index: CountIndex) -> int:
    """Return the id reported for the end of a document: that of the tokenizer, 0 for bytes, or the separator."""
    if isinstance(index.analyzer, HuggingFaceAnalyzer):
        return separator_of(index) if (end := _rules(index.analyzer).end) is None else end
    return 0 if index.analyzer.name == "bytes" else separator_of(index)


def _tokenized(text: str, index: CountIndex) -> tuple[Ngram, list[str]]:
    analyzer = index.analyzer
    if analyzer.has_vocabulary:
        words = analyzer.tokens(text)
        found = index.token_ids(text) if words else ()
        ids = [*found] if found is not None else [(index.token_ids(word) or (-1,))[0] for word in words]
        return ids, words
    if isinstance(analyzer, HuggingFaceAnalyzer):
        rules = _rules(analyzer)
        ids = analyzer.ids(f" {text}" if rules.space_before and text else text)
        if rules.drops_bare_space and ids and analyzer.token(ids[0]) == "▁":
            ids = ids[1:]
    else:
        pieces = _ESCAPED_BYTE.split(text)  # text, two digits, text, …
        ids = [i for n, piece in enumerate(pieces) for i in ([int(piece, 16)] if n % 2 else piece.encode())]
    return ids, [token_of(index, i) for i in ids]


@dataclass(frozen=True)
class _Rules:
    space_before: bool
    drops_bare_space: bool
    end: int | None


_known_rules: WeakKeyDictionary[HuggingFaceAnalyzer, _Rules] = WeakKeyDictionary()


def _rules(analyzer: HuggingFaceAnalyzer) -> _Rules:
    if (known := _known_rules.get(analyzer)) is not None:
        return known
    tokenizer = json.loads(analyzer.to_json())
    parts = {
        name: json.dumps(tokenizer.get(name), ensure_ascii=False) for name in ("normalizer", "pre_tokenizer", "decoder")
    }
    byte_level = '"ByteLevel"' in parts["pre_tokenizer"] + parts["decoder"]
    named = {each["content"]: each["id"] for each in tokenizer.get("added_tokens") or []}
    end = next((named[name] for name in _ENDS if name in named), None)
    rules = _Rules(byte_level, not byte_level and "▁" in "".join(parts.values()), end)
    _known_rules[analyzer] = rules
    return rules
