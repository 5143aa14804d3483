"""n-gram and ∞-gram probabilities of the next token, computed by infini-gram's engine (extra ``engine``).

In an n-gram model, P(token | prompt) is the number of occurrences of the prompt followed by the token, divided by the
number of occurrences of the prompt. The ∞-gram model uses the longest suffix of the prompt that occurs in the corpus.
Both are counts in the suffix array. The engine (Liu et al. 2024, arXiv 2401.17377) reads it with a few threads and
without Python.

The engine does not check its input, because its assertions are compiled out. Unexpected input crashes the process or
gives wrong counts silently. So everything is checked here:

* The files are those of a :class:`CountIndex`, which has checked their sizes and determines token width, separator and
  number of ids. The engine sees links to them in a separate folder, because it recognises files by parts of their whole
  *path* (``/data/tables/x`` makes it crash), accepts foreign files, and numbers shards alphabetically.
* It reports the end of a document as an ordinary token id, so it is given an id that does not occur in the corpus.
* Its prefetching is disabled: for prompts that sort before all others of a shard, it reads before the start of the
  file, which sometimes crashes.
* After opening, its counts of tokens, documents and some n-grams must equal those of the index.
* If the last document of a shard and another document end with the prompt, the engine reports only ends of documents,
  because it only checks the first and the last suffix. Such prompts are counted here, by one search per distinct next
  token. Exact distributions of frequent prompts use the same method: it takes 0.7 s for 60,000 distinct tokens, where
  the engine takes nine seconds and 11,000 threads (two CPUs, cached files).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from factcensus.indexer.answers import EndOfDocument, NextToken, NextTokensAnswer, ProbabilityAnswer, Tokens
from factcensus.indexer.errors import (
    EmptyQueryError,
    IndexChangedError,
    IndexerError,
    IndexFormatError,
    InputError,
    MissingExtraError,
)
from factcensus.indexer.storage.layout import HeldFile

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

#: Maximum number of occurrences that the engine samples. It starts two threads per split, which is 160 at a time for
#: this number. The public service of infini-gram has the same limit.
MOST_SUPPORT = 1000

_TOKEN_DTYPE = {1: "u8", 2: "u16", 4: "u32"}
#: Words by which the engine recognises a file, anywhere in its path.
_PATH_TRAPS = ("tokenized", "table", "offset", "metadata", "metaoff", "unigram")

#: A text, split into tokens like the corpus, or token ids.
Query = str | Sequence[int]


class NgramModel:
    """An n-gram language model of an open index, which must stay open; queries are thread-safe.

    >>> with CountIndex.open("indexes/wiki") as index, NgramModel.open(index) as model:
    ...     model.prob("the capital of France is Paris").probability
    """

    def __init__(self, index: CountIndex, engine: Any, absent_id: int) -> None:
        self._index = index
        self._engine: Any = engine
        self._absent_id = absent_id
        self._separator = 256 ** index.suffix_arrays[0].token_bytes - 1

    @classmethod
    def open(cls, index: CountIndex) -> Self:
        """Open the engine on the files of an index.

        Raises:
            MissingExtraError: The package infini-gram is not installed.
            InputError: The index is empty or has deleted documents, or the engine would misread the path of the folder
                for temporary files.
            IndexFormatError: The counts of the engine differ from those of the index.
        """
        if any(len(shard.deleted) for shard in index.suffix_arrays):
            raise InputError(
                f"index {index.name} has deleted documents, which infini-gram's engine would still count; run "
                "'factcensus index compact' first"
            )
        shards = [shard for shard in index.suffix_arrays if shard.size]
        if not shards:
            raise InputError(f"index {index.name} has no documents, so it has no next tokens; add documents first")
        try:
            from infini_gram.engine import InfiniGramEngine
        except ModuleNotFoundError as error:
            raise MissingExtraError("infini_gram", "engine") from error
        token_bytes = shards[0].token_bytes
        separator = 256**token_bytes - 1
        absent_id = next((i for i in range(separator - 1, -1, -1) if not _count(shards, [i])), None)
        if absent_id is None:
            raise InputError(
                f"every token id of {token_bytes} bytes occurs in {index.name}, so infini-gram's engine has no free id "
                "for the end of a document; use another analyzer"
            )
        with _links(index, shards) as folder:  # the engine maps the files at once; links may go afterwards
            engine = InfiniGramEngine(
                index_dir=folder,
                eos_token_id=absent_id,
                vocab_size=separator,
                version=4,
                token_dtype=_TOKEN_DTYPE[token_bytes],
                # By default, the engine prefetches the row before those of a prompt, which does not exist for the
                # first.
                ds_prefetch_depth=0,
                sa_prefetch_depth=0,
                od_prefetch_depth=0,
            )
        model = cls(index, engine, absent_id)
        model._compare(shards)
        return model

    def close(self) -> None:
        """Release the engine; later queries raise an error."""
        self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- queries --------------------------------------------------------------------------------------------------

    def prob(self, query: Query) -> ProbabilityAnswer:
        """Return the probability of the last token of a query after all previous tokens.

        Raises:
            EmptyQueryError: The query has no tokens.
            InputError: The query has only one token, or an id is not in the index.
        """
        return self._probability("prob", query)

    def infgram_prob(self, query: Query) -> ProbabilityAnswer:
        """Return the same as :meth:`prob` for the longest suffix of the prompt that occurs, which may be empty.

        For an empty ``suffix``, ``prompt_count`` is the number of all tokens and documents (each document ends once).
        """
        return self._probability("infgram_prob", query)

    def ntd(
        self, prompt: Query, *, max_support: int | None = MOST_SUPPORT, most: int | None = None
    ) -> NextTokensAnswer:
        """Return the distribution of the next token after a prompt.

        Args:
            prompt: At least one token.
            max_support: Maximum number of sampled occurrences of the prompt, 1 to 1,000. For a more frequent prompt,
                the counts are estimates from every second, fourth, … occurrence, sorted by the following text. None
                counts exactly, at about 12 µs per distinct token and shard.
            most: Return only this many of the most frequent tokens.

        Raises:
            EmptyQueryError: The prompt has no tokens.
            InputError: An id is not in the index, or a limit is out of range.
        """
        return self._distribution("ntd", prompt, max_support, most)

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = MOST_SUPPORT, most: int | None = None
    ) -> NextTokensAnswer:
        """Return the same as :meth:`ntd` for the longest suffix of the prompt that occurs, given as ``suffix``."""
        return self._distribution("infgram_ntd", prompt, max_support, most)

    # --- implementation -------------------------------------------------------------------------------------------

    def _probability(self, kind: Literal["prob", "infgram_prob"], query: Query) -> ProbabilityAnswer:
        tokens = self._tokens(query)
        if len(tokens.ids) < 2:
            raise InputError(
                f"{query!r} is a single token, but a probability needs a prompt before the token; to count a token, "
                "use 'factcensus count'"
            )
        prompt, token = tokens[:-1], tokens[-1:].shown()
        found = self._ask(kind, prompt_ids=prompt.ids, cont_id=tokens.ids[-1])
        return ProbabilityAnswer(
            *self._described(prompt, found),
            id=token.ids[0],
            token=token.tokens[0],
            prompt_count=found["prompt_cnt"],
            count=found["cont_cnt"],
            exact=True,
        )

    def _distribution(
        self, kind: Literal["ntd", "infgram_ntd"], prompt: Query, max_support: int | None, most: int | None
    ) -> NextTokensAnswer:
        if most is not None and not _is_number(most, 1):
            raise InputError(f"most must be a number of tokens of at least 1, got {most!r}")
        if max_support is not None and not _is_number(max_support, 1, MOST_SUPPORT):
            raise InputError(
                f"max_support must be from 1 to {MOST_SUPPORT}, or None (--exact) to count every occurrence, got "
                f"{max_support!r}"
            )
        tokens = self._tokens(prompt)
        if max_support is None:
            found = self._ask(kind.replace("ntd", "prob"), prompt_ids=tokens.ids, cont_id=self._absent_id)
        else:
            found = self._ask(kind, prompt_ids=tokens.ids, max_support=max_support)
        occurrences = found["prompt_cnt"]
        context = tokens.ids[len(tokens.ids) - found.get("suffix_len", len(tokens.ids)) :]
        ends, misread = self._document_ends(context)
        step = 1
        if max_support is None or misread:
            counts = _next_counts(self._index.suffix_arrays, context, self._separator)
        else:
            counts = {
                token: each["cont_cnt"]
                for token, each in found["result_by_token_id"].items()
                if token != self._absent_id  # the id for the end of a document
            }
            while occurrences > step * max_support:
                step *= 2
        # The suffixes after a prompt are sorted, so each token is one run of them per shard. At either end of a run, up
        # to half a step may be attributed to the neighbouring run.
        runs = sum(low < high for low, high in (shard.find(context) for shard in self._index.suffix_arrays))
        ranking = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        words = self._index.words([token for token, _ in ranking])
        return NextTokensAnswer(
            *self._described(tokens, found),
            prompt_count=occurrences,
            distinct=len(counts),
            next=[
                NextToken(token, word, count, count / occurrences)
                for (token, count), word in zip(ranking, words, strict=True)
            ],
            end_of_document=EndOfDocument(ends, ends / occurrences if occurrences else None),
            sampled_every=step,
            max_error=0 if step == 1 else step * runs,
        )

    def _document_ends(self, context: Sequence[int]) -> tuple[int, bool]:
        """Return how many documents end with these tokens, and whether the engine misreads the distribution."""
        shards = self._index.suffix_arrays
        if not context:
            return sum(shard.documents for shard in shards), False
        ends, misread = 0, False
        for shard in shards:
            low, high = shard.find([*context, self._separator])
            last = shard.tokens(max(0, shard.size - len(context)), shard.size).tolist() == [*context]
            ends += high - low + last
            misread |= last and high > low
        return ends, misread

    def _described(self, prompt: _Tokens, found: dict[str, Any]) -> tuple[str, str, Tokens, Tokens | None]:
        """Return the first fields of an answer: index, analyzer, prompt and suffix."""
        suffix = prompt[len(prompt.ids) - found["suffix_len"] :].shown() if "suffix_len" in found else None
        return self._index.name, self._index.analyzer.label, prompt.shown(), suffix

    def _tokens(self, query: Query) -> _Tokens:
        """Return the tokens of a query; words that are not in the corpus get the absent id."""
        index = self._index
        _ = index.suffix_arrays  # raises an error if the index is closed
        if isinstance(query, str):
            words = index.analyzer.tokens(query)
            whole = index.token_ids(query)
            found = [(i,) for i in whole] if whole is not None else [index.token_ids(word) for word in words]
            return _Tokens([self._absent_id if i is None else i[0] for i in found], words, self._absent_id)
        types = index.manifest.vocabulary_size if index.manifest else getattr(index.analyzer, "vocabulary_size", 0)
        limit = min(types, self._separator)
        for i in query:
            if not _is_number(i, 0, limit - 1):
                raise InputError(f"{i!r} is not a token id of index {index.name}; give ids from 0 to {limit - 1}")
        if not query:
            raise EmptyQueryError("the query is empty; give at least one token id, or a text")
        return _Tokens([*query], index.words(query), self._absent_id)

    def _ask(self, kind: str, **arguments: Any) -> dict[str, Any]:
        engine = self._engine
        if engine is None:
            raise IndexerError(f"the language model of index {self._index.name} is closed")
        answer: dict[str, Any] = getattr(engine, kind)(**arguments)
        if "error" in answer:
            raise IndexerError(f"infini-gram's engine reported an error: {answer['error']}")
        return answer

    def _compare(self, shards: Sequence[SuffixArrayShard]) -> None:
        """Refuse an engine whose counts of tokens, documents and some n-grams differ from those of the index."""
        counts = [
            ("tokens and documents", self._ask("count", input_ids=[])["count"], sum(shard.size for shard in shards)),
            ("documents", self._engine.get_total_doc_cnt(), sum(shard.documents for shard in shards)),
        ]
        for ngram in [*_some_ngrams(shards, self._separator), [self._absent_id]]:
            counts.append((f"{ngram}", self._ask("count", input_ids=ngram)["count"], _count(shards, ngram)))
        for what, theirs, ours in counts:
            if theirs != ours:
                raise IndexFormatError(
                    f"infini-gram's engine ({version('infini-gram')}) counts {theirs} {what} in {self._index.folder}, "
                    f"factcensus {ours}; check the files with 'factcensus index verify', or install another version "
                    "of infini-gram"
                )


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token ids with printable tokens; ``absent_id`` is used for all words that are not in the corpus."""

    ids: list[int]
    words: list[str]
    absent_id: int

    def __getitem__(self, part: slice) -> _Tokens:
        return _Tokens(self.ids[part], self.words[part], self.absent_id)

    def shown(self) -> Tokens:
        """Return the tokens in the form that answers show."""
        return Tokens([None if i == self.absent_id else i for i in self.ids], self.words)


def _is_number(value: object, least: int, most: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)


def _count(shards: Sequence[SuffixArrayShard], ids: Sequence[int]) -> int:
    return sum(high - low for low, high in (shard.find(ids) for shard in shards))


def _some_ngrams(shards: Sequence[SuffixArrayShard], separator: int) -> Iterator[list[int]]:
    """Yield some n-grams of up to three tokens from all parts of the corpus."""
    for shard in shards[:: max(1, len(shards) // 4)]:
        for part in range(1, 8, 2):
            start = shard.size * part // 8
            ngram: list[int] = shard.tokens(start, min(start + 3, shard.size)).tolist()
            if separator in ngram:
                ngram = ngram[: ngram.index(separator)]
            if ngram:
                yield ngram


def _next_counts(shards: Sequence[SuffixArrayShard], context: Sequence[int], separator: int) -> dict[int, int]:
    """Return the exact count of each next token, without ends of documents, by one search per token and shard."""
    counts: Counter[int] = Counter()
    for shard in shards:
        row, high = shard.find(context)
        while row < high:
            position = int(shard.positions(row, row + 1)[0]) + len(context)
            if position == shard.size:
                row += 1
                continue
            token = int(shard.tokens(position, position + 1)[0])
            if token == separator:  # largest in byte order, so only ends of documents follow
                break
            begin, end = shard.find([*context, token])
            if begin != row or end <= row:  # otherwise the loop might never end
                raise IndexFormatError(
                    f"{shard.folder / shard.table_name} is out of order; run 'factcensus index verify'"
                )
            counts[token] += end - row
            row = end
    return counts


@contextmanager
def _links(index: CountIndex, shards: Sequence[SuffixArrayShard]) -> Iterator[str]:
    """Yield a folder that contains only links to the files of the shards, at a path the engine does not misread.

    Raises:
        IndexChangedError: The files were replaced after the index was opened.
    """
    with tempfile.TemporaryDirectory(prefix="ngram-") as name:
        if trap := next((trap for trap in _PATH_TRAPS if trap in name), None):
            raise InputError(
                f"infini-gram's engine would misread files in {name}, because of {trap!r} in the path; set TMPDIR to "
                f"a folder whose path has none of {', '.join(_PATH_TRAPS)}"
            )
        held = []
        try:
            for number, shard in enumerate(shards):
                suffix = shard.table_name.removeprefix("table")
                folder: Path = getattr(shard, "folder", index.folder)  # a corpus may have several
                for kind in ("tokenized", "table", "offset"):
                    file = HeldFile((folder / f"{kind}{suffix}").resolve())
                    (Path(name) / f"{kind}.{number:06}").symlink_to(file.readable)
                    held.append(file)
        except IndexFormatError:
            if not index.changed:
                raise
        if index.changed:
            raise IndexChangedError(f"{index.folder} was changed after it was opened; open it again")
        yield name
