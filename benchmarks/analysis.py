"""Analysis: text to word ids, compared with three other implementations on the same documents; CPU time of one core.

Only the ``regex`` pipeline finds the same words, so its ids must be equal to ours. The other two lowercase where we
fold case and treat + and # as separators; the benchmark counts the documents in which their words differ.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import regex
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from factcensus.indexer.analyzers.definition import folded
from factcensus.indexer.analyzers.unicode_generator import APOSTROPHES, UNSPACED_SCRIPTS
from factcensus.indexer.analyzers.unicode_tables import JOINER, OTHER, SINGLE, character_classes
from factcensus.indexer.analyzers.unicode_tables import WORD as WORD_CHARACTER
from factcensus.indexer.analyzers.words import WordEncoder, WordsAnalyzer
from factcensus.indexer.building.spool import SpoolTask, spool
from factcensus.indexer.corpus import find_source_files, read_documents

#: Amount of text, sampled from the whole corpus.
SAMPLE_BYTES = 16 << 20
#: Batch size of a build.
BATCH_BYTES = 4 << 20

pc: Any = pyarrow.compute  # creates its functions when it is imported
WORD = r"\p{L}\p{M}\p{N}"
UNSPACED = "".join(rf"\p{{{script}}}" for script in UNSPACED_SCRIPTS)


def main(corpus: Path | None, rounds: int) -> None:
    """Sample a corpus (or a controlled world), compare the results, then the speed."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        if corpus is None:
            from factcensus.unlearn import PRESETS, write_world

            write_world(Path(folder) / "world", PRESETS["demo"].world, seed=0)
            corpus = Path(folder) / "world" / "corpus"
        _stage(corpus, Path(folder) / "spool", rounds)
        documents = [document.text for file in find_source_files([corpus]) for document in read_documents(file)]
    documents = documents[:: max(1, sum(map(len, documents)) // SAMPLE_BYTES)]
    texts = [document.decode() for document in documents]
    megabytes = sum(map(len, documents)) / 1e6

    encoder = WordEncoder("words")
    ids, lengths = _encode(encoder, documents)
    ours = _documents(_in_first_seen_order(ids).tolist(), lengths.tolist())
    theirs, vocabulary = _regex(texts)
    assert ours == theirs, "the regex pipeline gives different ids"
    words = list(vocabulary)
    arrow, tokenizer = pa.array(texts, pa.string()), _word_level(vocabulary)
    expected = [[words[word] for word in document] for document in ours]
    arrow_differs = _differences([[w for w in words if w] for words in _arrow(arrow)[0].to_pylist()], expected)
    tokenizer_differs = _differences([e.tokens for e in tokenizer.encode_batch(texts)], expected)
    print(
        f"analysis of {megabytes:.1f} MB of text, {len(documents):,} documents, {len(ids) / 1e6:.2f} M words of "
        f"{len(words):,} types; MB per CPU second of one core"
    )
    _compare(
        megabytes,
        rounds,
        {
            "ours": lambda: _encode(WordEncoder("words"), documents),
            "regex and a dictionary, the same ids": lambda: _regex(texts),
            f"PyArrow, {arrow_differs:,} documents differ": lambda: _arrow(arrow),
            f"tokenizers, {tokenizer_differs:,} documents differ": lambda: tokenizer.encode_batch_fast(texts),
        },
    )
    _queries(words)


# ---------------------------------------------------------------------------------------------- ours and the peers


def _encode(encoder: WordEncoder, documents: Sequence[bytes]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the ids and lengths of all documents, in the batches that a build uses."""
    texts = pa.array(documents, pa.large_binary())
    ends = np.cumsum(pc.binary_length(texts).to_numpy())
    cuts = [0, *np.searchsorted(ends, np.arange(BATCH_BYTES, int(ends[-1]), BATCH_BYTES)).tolist(), len(texts)]
    parts = [encoder.encode(texts[begin:end]) for begin, end in pairwise(cuts)]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([lengths for _, lengths in parts])


_CLASSES = character_classes()
_APOSTROPHES = dict.fromkeys(APOSTROPHES, " ")


def _is_simple(character: str) -> bool:
    """Return whether NFKC and casefold alone fold a text of such characters."""
    kinds = {_CLASSES[ord(c)] for c in character + unicodedata.normalize("NFKC", character)}
    stress_mark = unicodedata.combining(character) and "\u0301" in unicodedata.normalize("NFD", character)
    return kinds <= {OTHER, WORD_CHARACTER, SINGLE, JOINER} and not stress_mark


_SIMPLE = frozenset(filter(_is_simple, map(chr, range(len(_CLASSES)))))
# Characters of other scripts that also belong to one of these in the newer Unicode version of regex.
_MORE = "".join(
    chr(c) for c in range(len(_CLASSES)) if _CLASSES[c] == SINGLE and not regex.match(f"[{UNSPACED}]", chr(c))
)
UNSPACED += _MORE
# The first alternative is for speed; without it this peer is 25% slower.
_RUN = rf"(?:(?![{UNSPACED}])[{WORD}])"
_TOKEN = regex.compile(rf"[a-z0-9]++(?![+#{WORD}])|{_RUN}+(?:[+#]++(?!{_RUN}))?|[{WORD}]")


def _regex(texts: Sequence[str]) -> tuple[list[list[int]], dict[str, int]]:
    """Analyse texts by the definition of the analyzer, as short and fast as the ``regex`` module allows."""
    vocabulary: dict[str, int] = {}
    found = []
    for text in texts:
        if text.isascii():
            text = text.lower()
        else:
            if _SIMPLE.issuperset(text):
                text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
            else:
                text, _ = folded(text, "words", _CLASSES)
            text = text.translate(_APOSTROPHES)
        found.append([vocabulary.setdefault(word, len(vocabulary)) for word in _TOKEN.findall(text)])
    return found, vocabulary


def _arrow(texts: Any) -> tuple[Any, Any]:
    """Return the words of each document (with empty ones at the ends), and all of them as a dictionary array."""
    folded = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    spaced = pc.replace_substring_regex(folded, f"([{UNSPACED}])", r" \1 ")
    words = pc.split_pattern_regex(spaced, f"[^{WORD}]+")
    return words, pc.dictionary_encode(words.flatten())


def _word_level(vocabulary: dict[str, int]) -> Any:
    """Return a Hugging Face tokenizer with our vocabulary, because it cannot build one."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    unknown = "[UNK]"
    tokenizer: Any = Tokenizer(models.WordLevel({**vocabulary, unknown: len(vocabulary)}, unk_token=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{WORD}]+"), "removed", invert=True)
    return tokenizer


# ---------------------------------------------------------------------------------------------- the whole stage


def _stage(corpus: Path, folder: Path, rounds: int) -> None:
    """Time the first stage of a build: from the files of a corpus to token ids and document rows on disk."""
    tasks = [SpoolTask(n, file, folder, "words") for n, file in enumerate(find_source_files([corpus]))]
    seconds = []
    for _ in range(rounds + 1):  # the first round compiles
        folder.mkdir()
        seconds.append(_cpu_seconds(lambda: [spool(task, lambda _bytes: None, lambda _line: None) for task in tasks]))
        done = [result for task in tasks if (result := task.finished())]
        shutil.rmtree(folder)
    each = [1e6 * s / sum(result.documents for result in done) for s in seconds[1:]]
    speeds = [sum(result.text_bytes for result in done) / 1e6 / s for s in seconds[1:]]
    print(
        f"reading and analysing {sum(result.documents for result in done):,} documents from their files: "
        f"{statistics.median(speeds):.0f} MB of text per CPU second {_spread(speeds)}, "
        f"{statistics.median(each):.2f} microseconds per document {_spread(each)}\n"
    )


# ---------------------------------------------------------------------------------------------- comparing


def _in_first_seen_order(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Renumber the ids in the order of their first occurrence, from 0."""
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]


def _documents(ids: list[int], lengths: list[int]) -> list[list[int]]:
    remaining = iter(ids)
    return [[next(remaining) for _ in range(length)] for length in lengths]


def _differences(one: Sequence[Any], other: Sequence[Any]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def _compare(megabytes: float, rounds: int, runs: dict[str, Callable[[], Any]]) -> None:
    """Run all alternately, so that a slowdown affects all, and print medians and ratios per round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(_cpu_seconds(run))
    ours = seconds["ours"]
    for name, theirs in seconds.items():
        speeds = [megabytes / s for s in theirs]
        ratios = [their_s / our_s for our_s, their_s in zip(ours, theirs, strict=True)]
        print(
            f"  {name:<42} {statistics.median(speeds):10.1f} MB/s  {_spread(speeds)}"
            f"  ratio {statistics.median(ratios):5.1f}  {_spread(ratios)}"
        )
    print()


def _queries(words: Sequence[str]) -> None:
    """Time the analysis of queries, most of which are ASCII."""
    tokens = WordsAnalyzer("words").tokens
    for kind, ascii_ in (("two ASCII words", True), ("two words, not all ASCII", False)):
        pairs = (f"{one} {other}" for one, other in zip(words[::2], words[1::2], strict=False))
        queries = [query for query in pairs if query.isascii() is ascii_][:5000]
        if queries:
            seconds = _cpu_seconds(lambda queries=queries: [tokens(query) for query in queries])
            print(f"  {'a query of ' + kind:<42} {1e6 * seconds / len(queries):10.1f} microseconds")
    print()


def _cpu_seconds(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _spread(values: Sequence[float]) -> str:
    return f"({min(values):.1f} to {max(values):.1f})"
