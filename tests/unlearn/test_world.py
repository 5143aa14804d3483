"""The written world contains the drawn facts, checked by plain string search."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.presets import PRESETS
from factcensus.unlearn.world import words
from factcensus.unlearn.world.people import draw_people
from factcensus.unlearn.world.rows import pack, read_facts, read_texts
from factcensus.unlearn.world.sentences import REFUSAL, RELATIONS
from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings
from factcensus.unlearn.world.write import write_world
from tiny import SMALL_WORLD, world_documents


def digest(world: Path) -> str:
    files = sorted(path for path in world.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_each_fact_occurs_in_the_drawn_number_of_biographies(world: Path) -> None:
    texts = {
        source: [d["text"] for d in world_documents(world) if d["source"] == source]
        for source in ("biographies", "questions")
    }
    for fact in read_facts(world):
        both = [text for text in texts["biographies"] if fact["subject"] in text and fact["object"] in text]
        assert len(both) == fact["exposures"]
        asked = [text for text in texts["questions"] if fact["subject"] in text and fact["object"] in text]
        assert len(asked) == (SMALL_WORLD.question_copies if fact["role"] in ("retain", "retain_held") else 0)


def test_no_document_mentions_two_people(world: Path) -> None:
    people = {row["fact_id"].partition("-")[0]: row["subject"] for row in read_facts(world)}
    for document in world_documents(world):
        assert [person for person, name in people.items() if name in document["text"]] == [
            document["metadata"]["person"]
        ]


def test_biographies_are_unique(world: Path) -> None:
    texts = [document["text"] for document in world_documents(world) if document["source"] == "biographies"]
    assert len(set(texts)) == len(texts)


def test_documents_have_dolma_fields_and_unique_ids(world: Path) -> None:
    written = world_documents(world)
    assert all(set(d) == {"id", "text", "source", "added", "created", "metadata"} for d in written)
    assert len({document["id"] for document in written}) == len(written)


def test_same_settings_and_seed_give_the_same_bytes(tmp_path: Path, world: Path) -> None:
    assert digest(write_world(tmp_path / "again", SMALL_WORLD, 0)) == digest(world)
    assert digest(write_world(tmp_path / "other", SMALL_WORLD, 1)) != digest(world)


def test_another_world_is_never_overwritten(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "world", SMALL_WORLD, 0)
    before = digest(folder)
    assert write_world(folder, SMALL_WORLD, 0) == folder
    with pytest.raises(ConfigError, match="another world"):
        write_world(folder, SMALL_WORLD, 1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other files"):
        write_world(tmp_path / "notes", SMALL_WORLD, 0)
    assert digest(folder) == before


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_objects_are_dealt_equally_to_groups_and_levels(name: str) -> None:
    people = draw_people(PRESETS[name].world, seed=3)
    for number in range(len(RELATIONS)):
        for role in ("forget", "bystander", "phantom"):
            for level in {person.exposures for person in people if person.role == role}:
                counts = Counter(p.objects[number] for p in people if (p.role, p.exposures) == (role, level))
                dealt = [counts[item] for item in RELATIONS[number].objects[: PRESETS[name].world.objects]]
                assert max(dealt) - min(dealt) <= 1
            counts = Counter(person.objects[number] for person in people if person.role == role)
            assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", ["smoke", "demo"])
def test_no_property_of_an_object_varies_with_the_count(name: str) -> None:
    people = [person for person in draw_people(PRESETS[name].world, seed=4) if person.role == "forget"]
    log_count = np.log2([person.exposures for person in people])
    for number, relation in enumerate(RELATIONS):
        for item in relation.objects[: PRESETS[name].world.objects]:
            has_it = np.array([person.objects[number] == item for person in people], dtype=float)
            assert abs(np.dot(log_count - log_count.mean(), has_it)) < 1e-9


def test_objects_of_different_relations_are_independent() -> None:
    people = draw_people(PRESETS["demo"].world, seed=5)
    pairs = Counter((person.objects[0], person.objects[1]) for person in people)
    assert len(pairs) > 150  # of 256; it would be 16 if the decks were dealt in parallel


def test_groups_have_equal_counts_and_names_are_unique() -> None:
    people = draw_people(PRESETS["demo"].world, seed=6)
    names = [person.name for person in people]
    assert len(set(names)) == len(names)
    for role in ("forget", "retain", "retain_held", "bystander"):
        levels = Counter(person.exposures for person in people if person.role == role)
        assert len(levels) == 7
        assert len(set(levels.values())) == 1


def template_words() -> set[str]:
    """Return the words of all templates, paraphrases and the refusal, case-folded and without punctuation."""
    texts = [REFUSAL]
    for relation in RELATIONS:
        texts += [*relation.statements, relation.question, *relation.paraphrases]
    blank = str.maketrans("", "", ".?{}")
    words = " ".join(texts).replace("{s}", " ").replace("{o}", " ").translate(blank).casefold().split()
    return set(words)


def test_every_word_belongs_to_exactly_one_list() -> None:
    lists: list[set[str]] = [
        {name.casefold() for name in words.FIRST_NAMES},
        {name.casefold() for name in words.LAST_NAMES},
        {name.casefold() for name in words.CITIES},
        {name.split()[0].casefold() for name in words.EMPLOYERS},
        {name.split()[1].casefold() for name in words.EMPLOYERS},
        {name.split()[0].casefold() for name in words.UNIVERSITIES},
        {name.split()[1].casefold() for name in words.UNIVERSITIES},
        template_words(),
    ]
    assert sum(map(len, lists)) == len(set().union(*lists))
    assert len(words.FIRST_NAMES) == 80
    assert len(words.LAST_NAMES) == 200


def test_paraphrases_use_only_words_of_the_corpus(world: Path) -> None:
    seen = set(" ".join(read_texts(world)).replace("?", " ?").split())
    for relation in RELATIONS:
        for paraphrase in relation.paraphrases:
            assert set(paraphrase.replace("{s}", " ").replace("?", " ?").split()) <= seen


def test_corpus_continues_the_cloze_with_the_answer(world: Path) -> None:
    texts = read_texts(world)
    clozes = [f"{fact['cloze']} {fact['answer']}." for fact in read_facts(world) if fact["exposures"] == 4]
    assert any(any(cloze in text for text in texts) for cloze in clozes)


def test_documents_without_excluded_people_are_kept(world: Path) -> None:
    facts = read_facts(world)
    forget = {fact["subject"] for fact in facts if fact["role"] == "forget"}
    kept = read_texts(world, forget)
    assert not [text for text in kept if any(name in text for name in forget)]
    assert len(kept) == len([text for text in read_texts(world) if not any(name in text for name in forget)])


def test_tokenizer_knows_every_word_and_restores_the_text(world: Path, tokenizer: Any) -> None:
    for text in [*read_texts(world), *(fact["question"] for fact in read_facts(world)), REFUSAL]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_saved_tokenizer_equals_the_original(model_folder: Path, tokenizer: Any) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(model_folder)
    text = "Where was Hanna Keller born? I do not know."
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (loaded.eos_token_id, loaded.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_packing_keeps_all_documents_whole() -> None:
    rows = pack([3, 4, 5, 2], [2, 0, 3, 1], row_tokens=9)
    assert rows == [[2, 0], [3, 1]]
    with pytest.raises(ConfigError, match="raise row_tokens"):
        pack([9], [0], row_tokens=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"people": 0}, "people=0"),
        ({"people": 16_000}, "names"),
        ({"objects": 99}, "objects=99"),
        ({"exposures": (1, 1)}, "exposures"),
        ({"exposures": (2000,)}, "1000"),
        ({"forget_share": 0.9}, "at most 1"),
        ({"assignment": "fair"}, "balanced"),
    ],
)
def test_invalid_world_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WorldSettings(**settings)


@pytest.mark.parametrize("people", [2, 3, 7, 14, 24])
def test_small_worlds_have_people_to_forget_and_to_retain(people: int) -> None:
    roles = Counter(person.role for person in draw_people(WorldSettings(people=people), 0))
    assert roles["forget"] > 0
    assert roles["retain"] > 0
    assert sum(roles.values()) == people + WorldSettings().phantoms


def test_too_small_worlds_are_refused_with_the_next_valid_size() -> None:
    with pytest.raises(ConfigError, match=r"people=1 leaves nobody in the group 'forget'.*people=2"):
        draw_people(WorldSettings(people=1), 0)


def test_invalid_model_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads"):
        PretrainSettings(width=10, heads=4)
    with pytest.raises(ConfigError, match="learning_rate"):
        PretrainSettings(learning_rate=-1.0)


def test_writing_a_world_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys; from factcensus.unlearn import WorldSettings, write_world; "
        f"write_world({str(tmp_path / 'w')!r}, WorldSettings(people=7, objects=2, phantoms=0), 0); "
        "sys.exit(bool({'torch', 'transformers', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
