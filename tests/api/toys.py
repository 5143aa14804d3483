"""Tiny indexes of given texts for the tests of the public infini-gram API's wire format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from factcensus.indexer import CountIndex, build_index

#: Four documents; with ``shard_tokens=80`` and bytes, the first two are in the first shard.
TOY = (
    "Paris is the capital of France. Paris, France.",
    "The capital of France is Paris.",
    "Berlin is the capital of Germany.",
    "paris hilton AND friends",
)


def build(folder: Path, texts: Iterable[str], name: str = "ix", **options: Any) -> Path:
    """Build an index of texts next to its corpus, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / f"{name}.jsonl"
    records = [{"id": f"d{number}", "source": "toy", "text": text} for number, text in enumerate(texts)]
    corpus.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    build_index([corpus], folder / name, **{"jobs": 1, "analyzer": "bytes"} | options)
    return folder / name


@contextmanager
def index_of(texts: Iterable[str], **options: Any) -> Iterator[CountIndex]:
    """Open an index of texts, and remove it afterwards."""
    with TemporaryDirectory(prefix="ix") as folder, CountIndex.open(build(Path(folder), texts, **options)) as index:
        yield index


def byte_level_tokenizer(path: Path, texts: Iterable[str]) -> str:
    """Write a tokenizer like GPT-2's with an end-of-document token; return the name of the analyzer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(list(texts) * 20, trainer)
    tokenizer.save(str(path))
    return f"hf:{path}"


def sentencepiece_tokenizer(path: Path, texts: Iterable[str]) -> str:
    """Write a tokenizer like Llama 2's, with "▁" for spaces and before the text; return the name of the analyzer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False, max_token_length=12)
    words = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Punctuation()])
    tokenizer.train_from_iterator(list(texts) * 20, trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.save(str(path))
    return f"hf:{path}"
