"""Counts of next tokens by infini-gram's engine (extra ``engine``).

The engine (Liu et al. 2024, arXiv 2401.17377) reads the suffix array with a few threads and without Python. It does not
check its input, because its assertions are compiled out. Unexpected input crashes the process or gives wrong counts
silently. So everything is checked here:

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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from factcensus.indexer.errors import (
    IndexChangedError,
    IndexerError,
    IndexFormatError,
    InputError,
    MissingExtraError,
)
from factcensus.indexer.infini_gram.following import Continued, Following
from factcensus.indexer.storage.layout import HeldFile

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

_TOKEN_DTYPE = {1: "u8", 2: "u16", 4: "u32"}
#: Words by which the engine recognises a file, anywhere in its path.
_PATH_TRAPS = ("tokenized", "table", "offset", "metadata", "metaoff", "unigram")


class EngineCounts:
    """The :class:`NextTokens` of an open index with suffix arrays.

    Attributes:
        engine: The engine.
    """

    def __init__(self, index: CountIndex, engine: Any, absent_id: int) -> None:
        self._index, self.engine, self.absent_id = index, engine, absent_id
        self._separator = 256 ** index.suffix_arrays[0].token_bytes - 1

    @classmethod
    def open(cls, index: CountIndex) -> Self:
        """Open the engine on the files of an index; see :meth:`NgramModel.open`."""
        shards = [shard for shard in index.suffix_arrays if shard.size]
        if any(len(shard.deleted) for shard in shards):
            raise InputError(
                f"index {index.name} has deleted documents, which infini-gram's engine would still count; run "
                "'factcensus index compact' first"
            )
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
        counts = cls(index, engine, absent_id)
        counts._compare(shards)
        return counts

    def continued(self, prompt: Sequence[int], token: int, *, infini: bool) -> Continued:
        """Count a token after a prompt; see :meth:`NextTokens.continued`."""
        found = self._ask("infgram_prob" if infini else "prob", prompt_ids=[*prompt], cont_id=token)
        return Continued(_context(prompt, found), found["prompt_cnt"], found["cont_cnt"])

    def following(self, prompt: Sequence[int], max_support: int | None, *, infini: bool) -> Following:
        """Count all tokens after a prompt; see :meth:`NextTokens.following`."""
        kind = "infgram_" if infini else ""
        if max_support is None:
            found = self._ask(f"{kind}prob", prompt_ids=[*prompt], cont_id=self.absent_id)
        else:
            found = self._ask(f"{kind}ntd", prompt_ids=[*prompt], max_support=max_support)
        occurrences, context = found["prompt_cnt"], _context(prompt, found)
        ends, misread = self._document_ends(context)
        shards = self._index.suffix_arrays
        if max_support is None or misread:
            return Following(context, occurrences, next_counts(shards, context, self._separator), ends)
        counts = {
            token: each["cont_cnt"]
            for token, each in found["result_by_token_id"].items()
            if token != self.absent_id  # the id for the end of a document
        }
        step = 1
        while occurrences > step * max_support:
            step *= 2
        # The suffixes after a prompt are sorted, so each token is one run of them per shard. At either end of a run, up
        # to half a step may be attributed to the neighbouring run.
        runs = sum(low < high for low, high in (shard.find(context) for shard in shards))
        return Following(context, occurrences, counts, ends, step, 0 if step == 1 else step * runs)

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

    def _ask(self, kind: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.engine, kind)(**arguments)
        if "error" in answer:
            raise IndexerError(f"infini-gram's engine reported an error: {answer['error']}")
        return answer

    def _compare(self, shards: Sequence[SuffixArrayShard]) -> None:
        """Refuse an engine whose counts of tokens, documents and some n-grams differ from those of the index."""
        counts = [
            ("tokens and documents", self._ask("count", input_ids=[])["count"], sum(shard.size for shard in shards)),
            ("documents", self.engine.get_total_doc_cnt(), sum(shard.documents for shard in shards)),
        ]
        for ngram in [*_some_ngrams(shards, self._separator), [self.absent_id]]:
            counts.append((f"{ngram}", self._ask("count", input_ids=ngram)["count"], _count(shards, ngram)))
        for what, theirs, ours in counts:
            if theirs != ours:
                raise IndexFormatError(
                    f"infini-gram's engine ({version('infini-gram')}) counts {theirs} {what} in {self._index.folder}, "
                    f"factcensus {ours}; check the files with 'factcensus index verify', or install another version "
                    "of infini-gram"
                )


def _context(prompt: Sequence[int], found: dict[str, Any]) -> Sequence[int]:
    """Return the part of a prompt to which an answer of the engine refers."""
    return prompt[len(prompt) - found.get("suffix_len", len(prompt)) :]


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


def next_counts(shards: Sequence[SuffixArrayShard], context: Sequence[int], separator: int) -> dict[int, int]:
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
