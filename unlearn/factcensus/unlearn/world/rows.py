"""Read corpus shards, leave out some people, and pack whole documents into training rows."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer import read_facts as read_facts_table
from factcensus.indexer.paths import not_found
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.settings import Arrival


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a world."""

    id: str
    text: str
    arrival: Arrival


def read_texts(world: str | os.PathLike[str], exclude_subjects: Collection[str] = ()) -> list[str]:
    """Return the texts of the documents that :func:`read_documents` returns."""
    return [document.text for document in read_documents(world, exclude_subjects)]


def read_documents(world: str | os.PathLike[str], exclude_subjects: Collection[str] = ()) -> list[Document]:
    """Return all documents of a world, in shard order.

    Args:
        world: A folder that ``factcensus world write`` wrote.
        exclude_subjects: Names; documents that mention one of them as whole words are left out. The rest is the corpus
            of a model *retrained without* these people.
    """
    folder = Path(world) / "corpus"
    shards = sorted(folder.rglob("*.json.gz"))
    if not shards:
        raise ConfigError(f"{world} has no shards under corpus/; write a world there with `factcensus world write`")
    excluded = _any_of(exclude_subjects)
    documents: list[Document] = []
    for shard in shards:
        with gzip.open(shard, "rt", encoding="utf-8") as lines:
            for line in lines:
                read = json.loads(line)
                if excluded is None or not excluded.search(read["text"]):
                    arrival = read["metadata"].get("arrival", "mixed")
                    documents.append(Document(read["id"], read["text"], arrival))
    return documents


def _any_of(names: Collection[str]) -> re.Pattern[str] | None:
    return re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(names))) + r")\b") if names else None


def read_description(world: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the settings and seed of a world.

    Raises:
        ConfigError: the folder is not a world.
    """
    path = Path(world) / "world.json"
    if not path.parent.is_dir():
        raise ConfigError(f"{not_found('world', path.parent)} (`factcensus world write` writes one)")
    if not path.is_file():
        raise ConfigError(f"{path} is missing; write a world there with `factcensus world write`")
    description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return description


def read_facts(world: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the rows of a world's fact table."""
    path = Path(world) / "facts.jsonl"
    if not path.is_file():
        raise ConfigError(f"{path} is missing; write a world there with `factcensus world write`")
    rows: list[dict[str, Any]] = read_facts_table(path).to_pylist()
    return rows


def pack(lengths: Sequence[int], order: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Pack whole documents into rows in the given order; return the document indices of each row.

    Args:
        lengths: Number of tokens of each document.
        order: Indices into ``lengths``.
        row_tokens: Maximum tokens per row, including the end-of-text token that closes it.

    Raises:
        ConfigError: a document is longer than a row. Documents are never cut.
    """
    rows: list[list[int]] = []
    free = -1
    for index in order:
        length = lengths[index]
        if length >= row_tokens:
            raise ConfigError(f"a document has {length} tokens, but a row has only {row_tokens}; raise row_tokens")
        if length > free:
            rows.append([])
            free = row_tokens - 1
        rows[-1].append(index)
        free -= length
    return rows


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return rows as two arrays (B, L), padded at the end: token ids, and 1 for text or 0 for padding."""
    length = max(map(len, rows))
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    text = np.zeros((len(rows), length), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        text[number, : len(row)] = 1
    return ids, text
