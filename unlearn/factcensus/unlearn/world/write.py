"""Write a world as anyone would receive it: Dolma-shaped corpus shards and a fact table. Needs only numpy.

The fact table's ``exposures`` says what was drawn; what the corpus holds is for an index to count. A person stands in
``exposures`` biographies, each worded differently, and a retain person's questions in ``question_copies`` documents
more; nobody else's name stands in any of them, so a co-occurrence count is known exactly beforehand.

    DIR/corpus/v0/documents/biographies-0000.json.gz   {"id", "text", "source", "added", "created", "metadata"} a line
    DIR/corpus/v0/documents/questions-0000.json.gz
    DIR/facts.jsonl                                    a fact a line
    DIR/world.json                                     settings and seed
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.people import Person, draw_people
from factcensus.unlearn.world.sentences import RELATIONS
from factcensus.unlearn.world.settings import WorldSettings

FORMAT = 1
DOCUMENTS_PER_SHARD = 20_000
#: Shards are compared byte by byte, so the dates are the world's and not the clock's.
ADDED, CREATED = "2026-01-02T00:00:00.000Z", "2026-01-01T00:00:00.000Z"


def write_world(out: str | os.PathLike[str], settings: WorldSettings, seed: int) -> Path:
    """Write the world of these settings and this seed; the same arguments give the same bytes.

    Raises:
        ConfigError: ``out`` has other things in it, or another world. The same world is left as it is.
    """
    folder = Path(out)
    description: dict[str, Any] = {"format": FORMAT, "seed": seed, "settings": asdict(settings)}
    if folder.exists() and any(folder.iterdir()):
        _refuse_another_world(folder, description)
        return folder
    people = draw_people(settings, seed)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    documents = unfinished / "corpus" / "v0" / "documents"
    documents.mkdir(parents=True)
    _write_shards(documents, "biographies", _biographies(people, np.random.default_rng([seed, 2])))
    _write_shards(documents, "questions", _questions(people, settings, np.random.default_rng([seed, 3])))
    facts = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in fact_rows(people))
    (unfinished / "facts.jsonl").write_text(facts, encoding="utf-8")
    (unfinished / "world.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    unfinished.rename(folder)
    return folder


def _refuse_another_world(folder: Path, description: dict[str, Any]) -> None:
    path = folder / "world.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if there != json.loads(json.dumps(description)):
        kind = "another world (see its world.json)" if there else "other files"
        raise ConfigError(f"{folder} has {kind} in it, and is left as it is; give another folder with --out")


def fact_rows(people: tuple[Person, ...]) -> Iterator[dict[str, Any]]:
    """The fact table: three rows a person, phantoms included (they have objects, but no document says so)."""
    for person in people:
        for relation, object_name in zip(RELATIONS, person.objects, strict=True):
            yield {
                "fact_id": f"{person.person_id}-{relation.name}",
                "subject": person.name,
                "object": object_name,
                "relation": relation.name,
                "question": relation.question.format(s=person.name),
                "answer": object_name,
                "cloze": relation.cloze(person.name),
                "paraphrases": [paraphrase.format(s=person.name) for paraphrase in relation.paraphrases],
                "role": person.role,
                "exposures": person.exposures,
            }


def _biographies(people: tuple[Person, ...], random: np.random.Generator) -> list[tuple[str, str]]:
    """(person id, text) of every biography, shuffled: a sentence a relation, in any order, no text twice."""
    orders = list(itertools.permutations(range(len(RELATIONS))))
    choices = [len(relation.statements) for relation in RELATIONS]
    wordings = len(orders) * int(np.prod(choices))
    written: list[tuple[str, str]] = []
    for person in people:
        for wording in random.choice(wordings, size=person.exposures, replace=False):
            order, *statements = np.unravel_index(int(wording), (len(orders), *choices))
            sentences = [
                relation.statements[statement].format(s=person.name, o=object_name)
                for relation, statement, object_name in zip(RELATIONS, statements, person.objects, strict=True)
            ]
            written.append((person.person_id, " ".join(sentences[index] for index in orders[order])))
    return [written[index] for index in random.permutation(len(written))]


def _questions(
    people: tuple[Person, ...], settings: WorldSettings, random: np.random.Generator
) -> list[tuple[str, str]]:
    """(person id, text) of every question with its answer, ``question_copies`` times each, shuffled."""
    asked = [
        (person.person_id, f"{relation.question.format(s=person.name)} {object_name}")
        for person in people
        if person.role in ("retain", "retain_held")
        for relation, object_name in zip(RELATIONS, person.objects, strict=True)
    ]
    copies = asked * settings.question_copies
    return [copies[index] for index in random.permutation(len(copies))]


def _write_shards(folder: Path, source: str, texts: list[tuple[str, str]]) -> None:
    """Gzipped JSON Lines without a time stamp in their headers."""
    for shard, start in enumerate(range(0, len(texts), DOCUMENTS_PER_SHARD)):
        lines = []
        for number, (person_id, text) in enumerate(texts[start : start + DOCUMENTS_PER_SHARD], start):
            document = {
                "id": f"{source}-{number:07d}",
                "text": text,
                "source": source,
                "added": ADDED,
                "created": CREATED,
                "metadata": {"person": person_id},
            }
            lines.append(json.dumps(document, ensure_ascii=False) + "\n")
        with (
            (folder / f"{source}-{shard:04d}.json.gz").open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        ):
            packed.write("".join(lines).encode())
