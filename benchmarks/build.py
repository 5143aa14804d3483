"""From compressed shards to a finished, verified index, as whole processes, compared with infini-gram's indexer.

The peer has no word tokenizer. It gets a byte-level BPE tokenizer trained on the same text (two-byte ids, like its
published indexes) and all processors. It does not verify its output and keeps no document table. Ours also writes a
document table, checksums and document counts, and is verified. With the same tokenizer both make the same suffix array,
byte for byte; this is checked, and so is a suffix array of raw bytes. If they differ, both are verified row by row.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from benchmarks.corpora import FACTCENSUS, Setting, text_bytes, write_shards
from benchmarks.measure import Cost, Report, cost_of, median_of, run_process
from factcensus.indexer import CountIndex
from factcensus.indexer.kernels.search import first_wrong_row
from factcensus.indexer.storage.layout import entry_bytes

VOCABULARY = 32_000
#: Amount of text to train the tokenizer on, and for raw bytes (which have five positions per word).
TRAINING_BYTES = 20e6
BYTES_SHARE = 8
#: The peer is stopped after this multiple of our time.
PATIENCE = 40
LEAST_PATIENCE_S = 60.0
#: Smaller corpora give a table that is too long, because the peer's parallel parts overlap by 100,000 bytes.
LEAST_COMPARED = 1_000_000


def main(setting: Setting, report: Report) -> None:
    """Build from natural text, from text with many repeats, and from raw bytes."""
    report.title("Build: compressed shards to a finished, verified index")
    place = setting.folder / "build"
    place.mkdir()
    tokenizer = _train(place, setting.texts)
    _compare(report, place, "natural", setting.natural, setting.texts, tokenizer)
    _compare(report, place, "repetitive", setting.repetitive, setting.repetitive_texts, tokenizer)
    some = setting.texts[::BYTES_SHARE]
    _compare(report, place, "raw bytes of", write_shards(place / "some", some), some, None)
    shutil.rmtree(place)


def _compare(report: Report, place: Path, kind: str, corpus: Path, texts: list[str], tokenizer: Path | None) -> None:
    size = text_bytes(texts)
    out, out_bpe, theirs = place / "ours", place / "ours-bpe", place / "theirs"
    first = cost_of(lambda: _ours(corpus, out, "words" if tokenizer else "bytes"))  # fills the cache of compiled code
    first = cost_of(lambda: _ours(corpus, out, "words" if tokenizer else "bytes"))
    limit = max(LEAST_PATIENCE_S, PATIENCE * first.wall_s)
    peer = "infini-gram's indexer, " + ("BPE" if tokenizer else "bytes")
    runs: dict[str, Callable[[], Cost]] = {}
    if tokenizer:
        runs["ours, words"] = lambda: _ours(corpus, out, "words")
        runs[peer] = lambda: _theirs(place, corpus, theirs, "u16", limit)
        runs["ours, the same BPE"] = lambda: _ours(corpus, out_bpe, f"hf:{tokenizer}")
    else:
        runs["ours, bytes"] = lambda: _ours(corpus, out, "bytes")
        runs[peer] = lambda: _theirs(place, corpus, theirs, "u8", limit)
    costs = report.compare(f"{kind} text, {size / 1e6:.1f} MB, {len(texts):,} documents", runs, warm=False)
    ours = next(iter(costs.values()))
    with CountIndex.open(out) as index:
        info = index.info()
    report.note(
        f"Ours: {size / 1e6 / median_of(ours):.1f} MB of text per CPU second, {info.bytes / size:.3f} bytes on disk "
        f"per byte of text, {info.tokens / 1e6:.2f} M tokens."
    )
    if any(cost.stopped for cost in costs[peer]):
        report.note(
            f"The peer was stopped after {limit:.0f} s, {limit / median_of(ours, 'wall_s'):.0f} times our time."
        )
        return
    names = [f"{name}.0" for name in ("tokenized", "table", "offset")]
    size_theirs = sum((theirs / name).stat().st_size for name in names)
    report.note(
        f"The peer: {size / 1e6 / median_of(costs[peer]):.1f} MB of text per CPU second, {size_theirs / size:.3f} "
        "bytes on disk per byte of text, without metadata."
    )
    if (theirs / "tokenized.0").stat().st_size < LEAST_COMPARED:
        report.note(
            "The corpus is too small for a comparison with the peer, whose parts overlap by more than its size."
        )
        return
    same = out_bpe if tokenizer else out
    differing = [name for name in names if (same / name).read_bytes() != (theirs / name).read_bytes()]
    if differing == ["table.0"] and _in_order(same) and not _in_order(theirs):
        report.note(
            "With the same tokens, tokenized and offset are the same bytes. The peer's suffix array is out of order; "
            "a check of each row shows that ours is correct. The peer's parts extend only 100,000 bytes beyond their "
            "ends, and this corpus has longer repeats."
        )
        return
    assert not differing, f"{differing} differ"
    report.note("With the same tokens, tokenized, table and offset are the same bytes.")


def _in_order(folder: Path) -> bool:
    """Return whether every row of a suffix array of less than 4 GiB is in order."""
    stream, table = (np.fromfile(folder / f"{name}.0", np.uint8) for name in ("tokenized", "table"))
    width = entry_bytes(stream.size)
    rows = table.size // width
    return bool(first_wrong_row(stream, table, width, stream.size // rows, np.empty(rows + 1, np.uint32)) < 0)


def _ours(corpus: Path, out: Path, analyzer: str) -> Cost:
    shutil.rmtree(out, ignore_errors=True)
    return run_process([*FACTCENSUS, "index", "build", corpus, "--out", out, "--analyzer", analyzer, "--verify"])


def _theirs(place: Path, corpus: Path, out: Path, token_dtype: str, limit_s: float) -> Cost:
    """Run the peer's indexer, which finds tokenizers by hub name; a folder of that name takes precedence."""
    shutil.rmtree(out, ignore_errors=True)
    tokenizer = [] if token_dtype == "u8" else ["--tokenizer", "olmo"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return run_process(
        [
            sys.executable,
            "-m",
            "infini_gram.indexing",
            "--data_dir",
            corpus,
            "--save_dir",
            out,
            "--token_dtype",
            token_dtype,
            "--cpus",
            str(os.cpu_count()),
            "--mem",
            str(memory),
            "--ulimit",
            "1024",
            *tokenizer,
        ],
        cwd=place,
        limit_s=limit_s,
    )


def _train(place: Path, texts: list[str]) -> Path:
    """Train a byte-level BPE tokenizer, in the folder that the peer finds under the name of a published one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    share = max(1, round(sum(map(len, texts)) / TRAINING_BYTES))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts[::share], trainer)
    folder = place / "allenai" / "OLMo-7B"
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    return folder / "tokenizer.json"
