"""The responses to each query type of the public infini-gram API, without ``token_ids``, ``tokens`` and ``latency``.

Numbers are exact; ``approx`` is true only for ``ntd`` and ``infgram_ntd`` above ``max_support``. Keys added to the API:
``doc_count`` (documents with the text, or with every clause at any distance), ``near_doc_count`` (documents with an
occurrence that was counted), ``ptrs_truncated`` and ``doc_token_ids``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factcensus.api.infini_gram.cnf import Counted, count_cnf, occurrences
from factcensus.api.infini_gram.documents import document_at
from factcensus.api.infini_gram.terms import rows_of, term_in
from factcensus.api.infini_gram.tokens import Ngram, Query, end_of_document, separator_of, token_of
from factcensus.api.infini_gram.wire import Asked, Refusal
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.answers import Tokens
from factcensus.indexer.infini_gram.language_model import NgramModel
from factcensus.indexer.storage.compact_shard import CompactShard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

Answer = dict[str, Any]


@dataclass(frozen=True)
class ParsedRequest:
    """A request whose options and query have been checked.

    Attributes:
        model: Returns the language model; opens it on the first call.
    """

    index: CountIndex
    asked: Asked
    query: Query
    deadline: Deadline
    model: Callable[[], NgramModel]

    @property
    def highest_id(self) -> int:
        """The highest token id that error messages state, as the engine does."""
        return separator_of(self.index)

    def ngram(self, what: str) -> Ngram:
        """Return the query as one n-gram, or raise a refusal."""
        if self.query.is_cnf:
            raise Refusal(f"{what} must be a list of integers in range [0, {self.highest_id}]")
        if self.index.analyzer.has_vocabulary and self.query.text and not self.query.ngram:
            raise Refusal("Please enter a query that contains a word; this one has no tokens!")
        return self.query.ngram

    def clauses(self) -> list[list[Ngram]]:
        """Return the query as non-empty clauses, or raise a refusal."""
        cnf = self.query.clauses
        if not self.query.is_cnf or not all(cnf) or not all(term for clause in cnf for term in clause):
            raise Refusal(f"cnf must be a non-empty, triply-nested list of integers in range [0, {self.highest_id}]")
        return cnf

    def count_cnf(self, *, keep: bool = False) -> Counted:
        """Count the clauses with the options of the request; if ``keep``, keep up to ``max_clause_freq`` positions."""
        most = self.asked.option("max_clause_freq")
        distance = self.asked.option("max_diff_tokens")
        return count_cnf(self.index, self.clauses(), distance, self.deadline, most=most if keep else 0)


def answer(request: ParsedRequest) -> Answer:
    """Return the response to a request.

    Raises:
        Refusal: An option is out of range, or the query has the wrong form for its type.
        FactcensusError: The index or the language model cannot answer.
    """
    return _ANSWERS[request.asked.query_type](request)


def _count(request: ParsedRequest) -> Answer:
    if request.query.is_cnf:
        return _count_clauses(request)
    ngram, index = request.ngram("input_ids"), request.index
    if not ngram:
        return {"count": occurrences(index, [], request.deadline), "approx": False, "doc_count": _documents(index)}
    if -1 in ngram:
        return {"count": 0, "approx": False, "doc_count": 0}
    if ngram[0] == separator_of(index):
        counted = count_cnf(index, [[ngram]], 1, request.deadline)
        return {"count": counted.count, "approx": False, "doc_count": counted.document_count}
    count, documents = index.count_ngrams([ngram], deadline=request.deadline)[0].tolist()
    return {"count": count, "approx": False, "doc_count": documents}


def _count_clauses(request: ParsedRequest) -> Answer:
    counted = request.count_cnf()
    return {
        "count": counted.count,
        "approx": False,
        "doc_count": counted.document_count,
        "near_doc_count": counted.near_document_count,
    }


def _documents(index: CountIndex) -> int:
    return sum(shard.documents - len(shard.deleted) for shard in index.shards)


def _prob(request: ParsedRequest) -> Answer:
    ngram = _not_empty(request)
    return _ratio(
        occurrences(request.index, ngram[:-1], request.deadline),
        occurrences(request.index, ngram, request.deadline),
    )


def _ratio(prompts: int, continued: int) -> Answer:
    return {"prompt_cnt": prompts, "cont_cnt": continued, "prob": continued / prompts if prompts else -1.0}


def _infgram_prob(request: ParsedRequest) -> Answer:
    ngram = _not_empty(request)
    if len(ngram) == 1:  # there is no prompt, so no suffix either
        return {**_prob(request), "suffix_len": 0, "longest_suffix": ""}
    found = request.model().infgram_prob(_for_model(request))
    return {**_ratio(found.prompt_count, found.count), **_suffix(request, found.suffix)}


def _ntd(request: ParsedRequest) -> Answer:
    return _distribution(request, infinite=False)


def _infgram_ntd(request: ParsedRequest) -> Answer:
    return _distribution(request, infinite=True)


def _distribution(request: ParsedRequest, *, infinite: bool) -> Answer:
    support, index = request.asked.option("max_support"), request.index
    ngram = request.ngram("prompt_ids")
    if not ngram:
        counts, ends = _unigrams(request), _documents(index)
        prompts, exact = sum(counts.values()) + ends, True
        suffix: Answer = {"suffix_len": 0, "longest_suffix": ""} if infinite else {}
    else:
        model = request.model()
        found = (model.infgram_ntd if infinite else model.ntd)(_for_model(request), max_support=support)
        counts = {each.id: each.count for each in found.next}
        ends, prompts, exact = found.end_of_document.count, found.prompt_count, found.exact
        suffix = _suffix(request, found.suffix)
    if ends:
        end = end_of_document(index)
        counts[separator_of(index) if end in counts else end] = ends
    return {
        "prompt_cnt": prompts,
        "approx": not exact,
        "result_by_token_id": {
            token: {"token": token_of(index, token).replace("Ġ", " "), "cont_cnt": count, "prob": count / prompts}
            for token, count in sorted(counts.items())
        },
        **suffix,
    }


def _unigrams(request: ParsedRequest) -> dict[int, int]:
    """Return how often each token occurs in the documents that are not deleted."""
    index, deadline = request.index, request.deadline
    counts: Counter[int] = Counter()
    types: set[int] = set()
    for shard, counted in zip(index.local_shards, index.counted(), strict=True):
        deadline.check()
        if isinstance(shard, CompactShard):
            ids, times, _ = shard.next_tokens([], counted)
            counts.update(dict(zip(ids.tolist(), times.tolist(), strict=True)))
        elif isinstance(shard, SuffixArrayShard):
            types.update(_types_of(shard, separator_of(index), deadline))
    counts.update({token: occurrences(index, [token], deadline) for token in types})
    return dict(+counts)


def _types_of(shard: SuffixArrayShard, separator: int, deadline: Deadline) -> Iterator[int]:
    """Yield the token ids of a shard, with one search for each."""
    row = 0
    while row < shard.size:
        deadline.check()
        at = int(shard.positions(row, row + 1)[0])
        token = int(shard.tokens(at, at + 1)[0])
        if token == separator:  # the largest in byte order
            break
        row = shard.find([token])[1]
        yield token


def _not_empty(request: ParsedRequest) -> Ngram:
    if not request.query.ids:
        raise Refusal("Please provide a non-empty query!")
    return request.ngram("prompt_ids")


def _for_model(request: ParsedRequest) -> str | Ngram:
    """Return the input of the language model: the text if it contains unknown words, otherwise the ids."""
    return request.query.text if -1 in request.query.ngram and request.query.text else request.query.ngram


def _suffix(request: ParsedRequest, suffix: Tokens | None) -> Answer:
    if suffix is None:  # not an ∞-gram query
        return {}
    ids = [i for i in suffix.ids if i is not None]
    return {"suffix_len": len(suffix.ids), "longest_suffix": request.index.text(ids) if ids else ""}


def _find(request: ParsedRequest) -> Answer:
    ngram = request.ngram("input_ids")
    return {
        "cnt": occurrences(request.index, ngram, request.deadline),
        "segment_by_shard": [[*rows_of(shard, ngram)] for shard in request.index.suffix_arrays],
    }


def _find_cnf(request: ParsedRequest) -> Answer:
    clauses, shards = request.clauses(), request.index.shards
    counted = request.count_cnf(keep=True)
    pointers: list[list[int]] = [[] for _ in shards]
    for found in counted.found:
        pointers[found.shard] += (found.begins * shards[found.shard].token_bytes).tolist()
    absent = any(all(_never_occurs(request.index, term) for term in clause) for clause in clauses)
    return {
        "cnt": counted.count,
        "approx": False,
        "ptrs_by_shard": [] if absent else pointers,
        "ptrs_truncated": sum(map(len, pointers)) < counted.count,
        "doc_count": counted.document_count,
        "near_doc_count": counted.near_document_count,
    }


def _never_occurs(index: CountIndex, term: Ngram) -> bool:
    return not any(term_in(shard, term).size for shard in index.local_shards)


def _get_doc_by_rank(request: ParsedRequest) -> Answer:
    ngram = request.ngram("input_ids")
    shard = request.index.suffix_arrays[request.asked.place("s", len(request.index.suffix_arrays))]
    rank = request.asked.place("rank", shard.size)
    return _document(request, shard, int(shard.positions(rank, rank + 1)[0]), [[ngram]])


def _get_doc_by_ptr(request: ParsedRequest) -> Answer:
    clauses = request.query.clauses
    shard = request.index.local_shards[request.asked.place("s", len(request.index.shards))]
    pointer = request.asked.place("ptr", shard.size * shard.token_bytes, shard.token_bytes)
    return _document(request, shard, pointer // shard.token_bytes, clauses)


def _document(request: ParsedRequest, shard: Any, position: int, clauses: list[list[Ngram]]) -> Answer:
    shown = document_at(request.index, shard, position, clauses, request.asked.option("max_disp_len"))
    # The API's ``token_ids`` are those of the query, although its documentation promises those of the document.
    shown["doc_token_ids"] = shown.pop("token_ids")
    return shown


def _search_docs(request: ParsedRequest) -> Answer:
    if request.query.is_cnf or request.asked.query_type == "search_docs_cnf":
        total, places = _places_of_clauses(request)
        clauses = request.clauses()
    else:
        ngram = request.ngram("input_ids")
        total, places = _places_of_ngram(request, ngram)
        clauses = [[ngram]]
    wanted, window = request.asked.option("maxnum"), request.asked.option("max_disp_len")
    random = np.random.default_rng()
    picked = np.sort(random.choice(places.size, min(wanted, places.size), replace=False)).tolist() if total else []
    message = f"{total} occurrences found"
    if picked:
        message += f". Displaying the documents of occurrences #{picked}"
    shards = request.index.shards
    return {
        "cnt": total,
        "approx": False,
        "idxs": picked,
        "documents": [
            document_at(request.index, shards[s], at, clauses, window) for s, at in map(places.__getitem__, picked)
        ],
        "message": message,
    }


class _Places:
    """Access to occurrences by number, counted shard by shard."""

    def __init__(self, sizes: Sequence[int], at: Callable[[int, int], tuple[int, int]]) -> None:
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._at = at
        self.size = int(self._ends[-1]) if len(sizes) else 0

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Return the shard and the position of an occurrence."""
        part = int(np.searchsorted(self._ends, number, side="right"))
        return self._at(part, number - (int(self._ends[part - 1]) if part else 0))


def _places_of_ngram(request: ParsedRequest, ngram: Ngram) -> tuple[int, _Places]:
    terms = [term_in(shard, ngram) for shard in request.index.local_shards]

    def at(s: int, number: int) -> tuple[int, int]:
        return s, int(terms[s].positions(number, number + 1)[0])

    return occurrences(request.index, ngram, request.deadline), _Places([term.size for term in terms], at)


def _places_of_clauses(request: ParsedRequest) -> tuple[int, _Places]:
    """Return the count, and the first ``max_clause_freq`` occurrences, from which documents are drawn."""
    counted = request.count_cnf(keep=True)
    found = counted.found

    def at(part: int, number: int) -> tuple[int, int]:
        return found[part].shard, int(found[part].begins[number])

    return counted.count, _Places([len(each.begins) for each in found], at)


_ANSWERS: dict[str, Callable[[ParsedRequest], Answer]] = {
    "count": _count,
    "count_cnf": _count_clauses,
    "prob": _prob,
    "ntd": _ntd,
    "infgram_prob": _infgram_prob,
    "infgram_ntd": _infgram_ntd,
    "find": _find,
    "find_cnf": _find_cnf,
    "get_doc_by_rank": _get_doc_by_rank,
    "get_doc_by_ptr": _get_doc_by_ptr,
    "search_docs": _search_docs,
    "search_docs_cnf": _search_docs,
}
