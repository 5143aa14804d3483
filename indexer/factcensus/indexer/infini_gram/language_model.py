"""n-gram and ∞-gram probabilities of the next token, by infini-gram's engine over an opened index (extra ``engine``).

An n-gram model is the corpus itself: P(token | prompt) = occurrences of the prompt with the token behind it, divided by
occurrences of the prompt. The ∞-gram model takes, instead of the whole prompt, the longest end of it that the corpus
has. Both are counts in the suffix array; the engine (Liu et al. 2024, arXiv 2401.17377) reads it with a few threads
and without Python in between.

The engine believes what it is given: its assertions are compiled out, and on what it does not expect it crashes the
process or counts wrongly without a word. So it gets nothing unchecked:

* the files are those of a :class:`CountIndex`, which has compared their sizes; token width, separator and number of ids
  follow from them. They lie before the engine as links in a folder of their own, because it tells files apart by parts
  of their whole *path* (``/data/tables/x`` makes it crash), takes foreign files, and numbers shards by the alphabet;
* it reports the end of a document as an ordinary token id, so it is given one that the corpus does not have;
* its reading ahead is switched off: for prompts that sort before all others of a shard it reads before the file, which
  crashes now and then;
* after opening, it must count the tokens, the documents and some n-grams as the index does;
* it takes a whole next-token distribution for ends of documents when the last document of a shard and another one end
  with the prompt (it looks at the first and the last suffix only, and both are ends). Those prompts are counted here,
  by a search for each distinct token that follows. That is also how exact distributions of frequent prompts are had:
  0.7 s for 60,000 distinct tokens, for which the engine takes nine seconds and 11,000 threads (two CPUs, files cached).
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
    from factcensus.indexer.storage.shard import Shard

#: Occurrences that the engine may look at: it starts two threads at each of its splits, 160 at a time for so many. This
#: is also the limit of infini-gram's public service.
MOST_SUPPORT = 1000

_TOKEN_DTYPE = {1: "u8", 2: "u16", 4: "u32"}
#: What the engine looks for anywhere in the path of a file to tell what it is.
_PATH_TRAPS = ("tokenized", "table", "offset", "metadata", "metaoff", "unigram")

#: A text, analysed like the corpus, or token ids.
Query = str | Sequence[int]


class NgramModel:
    """An n-gram language model over an opened index, which must stay open; safe for queries from many threads.

    >>> with CountIndex.open("indexes/wiki") as index, NgramModel.open(index) as model:
    ...     model.prob("the capital of France is Paris")["probability"]
    """

    def __init__(self, index: CountIndex, engine: Any, absent_id: int) -> None:
        self._index = index
        self._engine: Any = engine
        self._absent_id = absent_id
        self._separator = 256 ** index.shards[0].token_bytes - 1

    @classmethod
    def open(cls, index: CountIndex) -> Self:
        """Open the engine over the files of an index.

        Raises:
            MissingExtraError: the package infini-gram is not installed.
            InputError: the index holds no document or has deleted ones, or the path of the folder for temporary files
                would lead the engine astray.
            IndexFormatError: the engine does not count what the index counts.
        """
        if any(len(shard.deleted) for shard in index.shards):
            raise InputError(
                f"index {index.name} has deleted documents, which infini-gram's engine would still count; run "
                "'factcensus index compact' first"
            )
        shards = [shard for shard in index.shards if shard.size]
        if not shards:
            raise InputError(f"index {index.name} holds no document, so no token follows any prompt")
        try:
            from infini_gram.engine import InfiniGramEngine
        except ModuleNotFoundError as error:
            raise MissingExtraError("infini_gram", "engine") from error
        token_bytes = shards[0].token_bytes
        separator = 256**token_bytes - 1
        absent_id = next((i for i in range(separator - 1, -1, -1) if not _count(shards, [i])), None)
        if absent_id is None:
            raise InputError(
                f"every token id of {token_bytes} bytes occurs in {index.name}, so none is left by which infini-gram's "
                "engine could report the end of a document"
            )
        with _links(index, shards) as folder:  # the engine maps the files at once, so the links may go afterwards
            engine = InfiniGramEngine(
                index_dir=folder,
                eos_token_id=absent_id,
                vocab_size=separator,
                version=4,
                token_dtype=_TOKEN_DTYPE[token_bytes],
                # Reading ahead, its default, looks at the row before a prompt's rows; before the first there is none.
                ds_prefetch_depth=0,
                sa_prefetch_depth=0,
                od_prefetch_depth=0,
            )
        model = cls(index, engine, absent_id)
        model._compare(shards)
        return model

    def close(self) -> None:
        """Release the engine; queries are errors from then on."""
        self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- queries --------------------------------------------------------------------------------------------------

    def prob(self, query: Query) -> dict[str, Any]:
        """The probability of the last token of a query behind all the tokens before it.

        Returns:
            ``prompt`` and ``token`` (ids, and what they read like; id None for a word that the corpus does not have),
            ``prompt_count`` and ``count`` (occurrences of the prompt, and of it with the token), ``probability`` (their
            ratio; None where the prompt does not occur) and ``exact``, which is true.

        Raises:
            EmptyQueryError: no token is left of the query.
            InputError: it is one token only, or an id is none of the index's.
        """
        return self._probability("prob", query)

    def infgram_prob(self, query: Query) -> dict[str, Any]:
        """The same behind the longest end of the prompt that occurs, which may be no token at all.

        Returns:
            As :meth:`prob`, and ``suffix``, that end; ``prompt_count`` and ``count`` are of it. Behind an empty one,
            ``prompt_count`` is the number of all tokens and documents (each document ends once).
        """
        return self._probability("infgram_prob", query)

    def ntd(self, prompt: Query, *, max_support: int | None = MOST_SUPPORT, most: int | None = None) -> dict[str, Any]:
        """The distribution of the token behind a prompt.

        Args:
            prompt: at least one token.
            max_support: look at this many occurrences of the prompt at most, 1 to 1,000; for a more frequent one the
                counts are estimates from every second, fourth, … occurrence in the order of what follows. None counts
                exactly, however many there are, with some 12 µs for each distinct token and shard.
            most: give only so many of the most frequent tokens.

        Returns:
            ``prompt``; ``prompt_count``, its occurrences; ``next``, a list of ``id, token, count, probability``, most
            frequent first; ``distinct``, how many tokens there are; ``end_of_document``, ``count`` and ``probability``
            of nothing following (always exact); and ``exact``, with ``sampled_every`` (1 where it is true) and
            ``max_error``, the most by which a ``count`` may be off (0 where it is true).

        Raises:
            EmptyQueryError: no token is left of the prompt.
            InputError: an id is none of the index's, or a limit is out of range.
        """
        return self._distribution("ntd", prompt, max_support, most)

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = MOST_SUPPORT, most: int | None = None
    ) -> dict[str, Any]:
        """The same behind the longest end of the prompt that occurs, which is given as ``suffix``."""
        return self._distribution("infgram_ntd", prompt, max_support, most)

    # --- how ------------------------------------------------------------------------------------------------------

    def _probability(self, kind: Literal["prob", "infgram_prob"], query: Query) -> dict[str, Any]:
        tokens = self._tokens(query)
        if len(tokens.ids) < 2:
            raise InputError(
                f"{query!r} is one token, and a probability needs a prompt before it; to count the token itself use "
                "'factcensus count'"
            )
        prompt, token = tokens[:-1], tokens[-1:].shown()
        found = self._ask(kind, prompt_ids=prompt.ids, cont_id=tokens.ids[-1])
        count, occurrences = found["cont_cnt"], found["prompt_cnt"]
        return {
            **self._described(prompt, found),
            "token": {"id": token["ids"][0], "token": token["tokens"][0]},
            "prompt_count": occurrences,
            "count": count,
            "probability": count / occurrences if occurrences else None,
            "exact": True,
        }

    def _distribution(
        self, kind: Literal["ntd", "infgram_ntd"], prompt: Query, max_support: int | None, most: int | None
    ) -> dict[str, Any]:
        if most is not None and not _is_number(most, 1):
            raise InputError(f"most is a number of tokens from 1 on; got {most!r}")
        if max_support is not None and not _is_number(max_support, 1, MOST_SUPPORT):
            raise InputError(
                f"max_support is a number from 1 to {MOST_SUPPORT}, or None (--exact) to count every occurrence; got "
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
            counts = _next_counts(self._index.shards, context, self._separator)
        else:
            counts = {
                token: each["cont_cnt"]
                for token, each in found["result_by_token_id"].items()
                if token != self._absent_id  # the engine's name for the end of a document
            }
            while occurrences > step * max_support:
                step *= 2
        # The suffixes behind a prompt are sorted, so a token is one run of them in each shard; of either end of a run
        # up to half a step may be taken for its neighbour.
        runs = sum(low < high for low, high in (shard.find(context) for shard in self._index.shards))
        ranking = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        words = self._index.words([token for token, _ in ranking])
        return {
            **self._described(tokens, found),
            "prompt_count": occurrences,
            "distinct": len(counts),
            "next": [
                {"id": token, "token": word, "count": count, "probability": count / occurrences}
                for (token, count), word in zip(ranking, words, strict=True)
            ],
            "end_of_document": {"count": ends, "probability": ends / occurrences if occurrences else None},
            "exact": step == 1,
            "sampled_every": step,
            "max_error": 0 if step == 1 else step * runs,
        }

    def _document_ends(self, context: Sequence[int]) -> tuple[int, bool]:
        """How many documents end with these tokens, and whether the engine would misread the distribution."""
        shards = self._index.shards
        if not context:
            return sum(shard.documents for shard in shards), False
        ends, misread = 0, False
        for shard in shards:
            low, high = shard.find([*context, self._separator])
            last = shard.tokens(max(0, shard.size - len(context)), shard.size).tolist() == [*context]
            ends += high - low + last
            misread |= last and high > low
        return ends, misread

    def _described(self, prompt: _Tokens, found: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "index": self._index.name,
            "analyzer": self._index.analyzer.label,
            "prompt": prompt.shown(),
        }
        if "suffix_len" in found:
            answer["suffix"] = prompt[len(prompt.ids) - found["suffix_len"] :].shown()
        return answer

    def _tokens(self, query: Query) -> _Tokens:
        """The tokens of a query; a word that the corpus does not have gets the id that it does not have either."""
        index = self._index
        _ = index.shards  # an error where the index is closed
        if isinstance(query, str):
            words = index.analyzer.tokens(query)
            whole = index.token_ids(query)
            found = [(i,) for i in whole] if whole is not None else [index.token_ids(word) for word in words]
            return _Tokens([self._absent_id if i is None else i[0] for i in found], words, self._absent_id)
        types = index.manifest.vocabulary_size if index.manifest else getattr(index.analyzer, "vocabulary_size", 0)
        limit = min(types, self._separator)
        for i in query:
            if not _is_number(i, 0, limit - 1):
                raise InputError(f"{i!r} is no token id of index {index.name}; its ids are 0 … {limit - 1}")
        if not query:
            raise EmptyQueryError("the query has no token; give at least one token id, or a text")
        return _Tokens([*query], index.words(query), self._absent_id)

    def _ask(self, kind: str, **arguments: Any) -> dict[str, Any]:
        engine = self._engine
        if engine is None:
            raise IndexerError(f"the language model of index {self._index.name} is closed")
        answer: dict[str, Any] = getattr(engine, kind)(**arguments)
        if "error" in answer:
            raise IndexerError(f"infini-gram's engine refuses this: {answer['error']}")
        return answer

    def _compare(self, shards: Sequence[Shard]) -> None:
        """Refuse an engine that does not count the tokens, the documents and some n-grams as the index does."""
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
    """Token ids, with what they read like; ``absent_id`` stands for every word that the corpus does not have."""

    ids: list[int]
    words: list[str]
    absent_id: int

    def __getitem__(self, part: slice) -> _Tokens:
        return _Tokens(self.ids[part], self.words[part], self.absent_id)

    def shown(self) -> dict[str, list[Any]]:
        """The form in answers."""
        return {"ids": [None if i == self.absent_id else i for i in self.ids], "tokens": self.words}


def _is_number(value: object, least: int, most: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)


def _count(shards: Sequence[Shard], ids: Sequence[int]) -> int:
    return sum(high - low for low, high in (shard.find(ids) for shard in shards))


def _some_ngrams(shards: Sequence[Shard], separator: int) -> Iterator[list[int]]:
    """Some n-grams of up to three tokens from all over the corpus."""
    for shard in shards[:: max(1, len(shards) // 4)]:
        for part in range(1, 8, 2):
            start = shard.size * part // 8
            ngram: list[int] = shard.tokens(start, min(start + 3, shard.size)).tolist()
            if separator in ngram:
                ngram = ngram[: ngram.index(separator)]
            if ngram:
                yield ngram


def _next_counts(shards: Sequence[Shard], context: Sequence[int], separator: int) -> dict[int, int]:
    """How often each token follows, exactly: one search for each token and shard, ends of documents left out."""
    counts: Counter[int] = Counter()
    for shard in shards:
        row, high = shard.find(context)
        while row < high:
            position = int(shard.positions(row, row + 1)[0]) + len(context)
            if position == shard.size:
                row += 1
                continue
            token = int(shard.tokens(position, position + 1)[0])
            if token == separator:  # the largest in byte order: ends of documents from here on
                break
            begin, end = shard.find([*context, token])
            if begin != row or end <= row:  # else the search could go on for ever
                raise IndexFormatError(
                    f"{shard.folder / shard.table_name} is out of order; run 'factcensus index verify'"
                )
            counts[token] += end - row
            row = end
    return counts


@contextmanager
def _links(index: CountIndex, shards: Sequence[Shard]) -> Iterator[str]:
    """A folder with links to the shards' files, and to nothing else, whose path does not lead the engine astray.

    Raises:
        IndexChangedError: the files are no longer those that the index has open.
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
                folder: Path = getattr(shard, "folder", index.folder)  # a corpus of several folders has it by shard
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
