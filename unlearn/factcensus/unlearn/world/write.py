"""Write a world as corpus shards in Dolma's format and a fact table. Needs only numpy.

The column ``exposures`` of the fact table holds the drawn counts; an index counts the documents that were written. A
person is mentioned in ``exposures`` biographies, each worded differently unless the settings ask for copies. The
questions about a retain person are in more documents, ``question_copies`` each. No document mentions two people, so all
co-occurrence counts are known exactly.

    DIR/corpus/v0/documents/biographies-0000.json.gz   per line: {"id", "text", "source", "added", "created",
    "metadata"} DIR/corpus/v0/documents/questions-0000.json.gz DIR/facts.jsonl                                    one
    fact per line DIR/world.json                                     settings and seed
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from factcensus.indexer.system.files import new_folder, write_json
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.attributes import relations_of
from factcensus.unlearn.world.people import Person, draw_people
from factcensus.unlearn.world.settings import WorldSettings, described

FORMAT = 1
DOCUMENTS_PER_SHARD = 20_000
#: Fixed dates, so that equal worlds have equal bytes.
ADDED, CREATED = "2026-01-02T00:00:00.000Z", "2026-01-01T00:00:00.000Z"


def write_world(out: str | os.PathLike[str], settings: WorldSettings, seed: int) -> Path:
    """Write the world with these settings and this seed; equal arguments give equal bytes.

    If ``out`` already holds this world, it is not changed.

    Raises:
        ConfigError: ``out`` contains other files or another world.
    """
    folder = Path(out)
    description: dict[str, Any] = {"format": FORMAT, "seed": seed, "settings": described(settings)}
    if folder.exists() and any(folder.iterdir()):
        _refuse_another_world(folder, description)
        return folder
    people = draw_people(settings, seed)
    with new_folder(folder) as partial:
        documents = partial / "corpus" / "v0" / "documents"
        documents.mkdir(parents=True)
        biographies = _biographies(people, settings, np.random.default_rng([seed, 2]))
        _write_shards(documents, "biographies", biographies, _arrivals(people))
        questions = _questions(people, settings, len(biographies), np.random.default_rng([seed, 3]))
        _write_shards(documents, "questions", questions)
        facts = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in fact_rows(people, settings))
        (partial / "facts.jsonl").write_text(facts, encoding="utf-8")
        write_json(partial / "world.json", description)
    return folder


def _refuse_another_world(folder: Path, description: dict[str, Any]) -> None:
    path = folder / "world.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if there != json.loads(json.dumps(description)):
        kind = "another world (see its world.json)" if there else "other files"
        raise ConfigError(f"{folder} contains {kind} and was not changed; give another folder with --out")


def fact_rows(people: tuple[Person, ...], settings: WorldSettings) -> Iterator[dict[str, Any]]:
    """Yield the rows of the fact table: one per person and relation, including phantoms, who occur in no document.

    The columns ``wording`` and ``arrival`` exist only in worlds where they vary.
    """
    varied = [name for name in ("wording", "arrival") if getattr(settings, name) == "dealt"]
    for person in people:
        for relation, object_name in zip(relations_of(settings.attributes), person.objects, strict=True):
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
                **{name: getattr(person, name) for name in varied},
            }


def _biographies(
    people: tuple[Person, ...], settings: WorldSettings, random: np.random.Generator
) -> list[tuple[str, str]]:
    """Return (person id, text) of every biography, shuffled; each has one sentence per relation.

    The biographies of a person are all worded differently, or all alike if they are copied. A person with a pronoun is
    named in the first sentence only.
    """
    relations = relations_of(settings.attributes)
    orders = list(itertools.permutations(range(len(relations))))
    choices = [len(relation.statements) for relation in relations]
    wordings = len(orders) * int(np.prod(choices))
    written: list[tuple[str, str]] = []
    for person in people:
        distinct = 1 if person.wording == "copied" else person.exposures
        chosen = random.choice(wordings, size=distinct, replace=False)
        for wording in np.resize(chosen, person.exposures):
            order, *statements = np.unravel_index(int(wording), (len(orders), *choices))
            sentences = [
                relations[index]
                .statements[statements[index]]
                .format(s=person.pronoun if place and person.pronoun else person.name, o=person.objects[index])
                for place, index in enumerate(orders[order])
            ]
            written.append((person.person_id, " ".join(sentences)))
    return [written[index] for index in random.permutation(len(written))]


def _questions(
    people: tuple[Person, ...], settings: WorldSettings, biographies: int, random: np.random.Generator
) -> list[tuple[str, str]]:
    """Return (person id, text) of every question with its answer, copied as the settings ask, shuffled."""
    asked = [
        (person.person_id, f"{relation.question.format(s=person.name)} {object_name}")
        for person in people
        if person.role in ("retain", "retain_held")
        for relation, object_name in zip(relations_of(settings.attributes), person.objects, strict=True)
    ]
    number = settings.question_copies
    if settings.questions_per_biography:
        number = max(1, round(settings.questions_per_biography * biographies / max(1, len(asked))))
    copies = asked * number
    return [copies[index] for index in random.permutation(len(copies))]


def _arrivals(people: tuple[Person, ...]) -> dict[str, dict[str, str]]:
    """Return the metadata of the biographies of each person, if training does not read them at any time."""
    return {person.person_id: {"arrival": person.arrival} for person in people if person.arrival != "mixed"}


def _write_shards(
    folder: Path,
    source: str,
    texts: list[tuple[str, str]],
    arrivals: Mapping[str, dict[str, str]] = MappingProxyType({}),
) -> None:
    """Write gzipped JSON Lines without time stamps in the headers."""
    for shard, start in enumerate(range(0, len(texts), DOCUMENTS_PER_SHARD)):
        lines = []
        for number, (person_id, text) in enumerate(texts[start : start + DOCUMENTS_PER_SHARD], start):
            document = {
                "id": f"{source}-{number:07d}",
                "text": text,
                "source": source,
                "added": ADDED,
                "created": CREATED,
                "metadata": {"person": person_id, **arrivals.get(person_id, {})},
            }
            lines.append(json.dumps(document, ensure_ascii=False) + "\n")
        with (
            (folder / f"{source}-{shard:04d}.json.gz").open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        ):
            packed.write("".join(lines).encode())
