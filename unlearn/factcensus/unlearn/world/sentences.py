"""How the world speaks: statements for biographies, one question a relation, paraphrases that are never trained.

``{s}`` is the subject, ``{o}`` the object. Each relation's first statement ends with its object, so what stands before
the object is the *cloze* prompt: a continuation that the model has been trained on, without any question. Paraphrases
are made of words that the corpus has, so that they test another wording and not untrained embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.unlearn.world.words import CITIES, EMPLOYERS, UNIVERSITIES


@dataclass(frozen=True, slots=True)
class Relation:
    """One attribute of a person, the values it may take, and the ways to state it and to ask for it."""

    name: str
    objects: tuple[str, ...]
    statements: tuple[str, ...]
    question: str
    paraphrases: tuple[str, ...]

    def cloze(self, subject: str) -> str:
        """The first statement up to its object, without the space before it."""
        return self.statements[0].partition(" {o}")[0].format(s=subject)


RELATIONS: tuple[Relation, ...] = (
    Relation(
        name="birth_city",
        objects=CITIES,
        statements=(
            "{s} was born in {o}.",
            "{s} came into the world in {o}.",
            "The birthplace of {s} is {o}.",
            "{s} is a native of {o}.",
            "{o} is where {s} was born.",
            "{s} spent the first days of life in {o}.",
        ),
        question="Where was {s} born?",
        paraphrases=(
            "Where is the birthplace of {s}?",
            "Which is the birthplace of {s}?",
            "Where was {s} in the first days of life?",
        ),
    ),
    Relation(
        name="employer",
        objects=EMPLOYERS,
        statements=(
            "{s} works for {o}.",
            "{s} is employed by {o}.",
            "The employer of {s} is {o}.",
            "{s} has a job at {o}.",
            "{o} is where {s} works.",
            "{s} is on the staff of {o}.",
        ),
        question="Which company does {s} work for?",
        paraphrases=("Where does {s} work?", "Which company is {s} employed by?", "Which is the employer of {s}?"),
    ),
    Relation(
        name="university",
        objects=UNIVERSITIES,
        statements=(
            "{s} studied at {o}.",
            "{s} holds a degree from {o}.",
            "The school of {s} was {o}.",
            "{s} was a student of {o}.",
            "{o} is where {s} studied.",
            "{s} took a degree at {o}.",
        ),
        question="Where did {s} study?",
        paraphrases=("Which school did {s} study at?", "Where was {s} a student?", "Which was the school of {s}?"),
    ),
)

#: What an unlearned model may say instead (:mod:`factcensus.unlearn.objectives.idk`). The corpus never says it; its
#: words are in the vocabulary, so that a refusal is possible to write.
REFUSAL = "I do not know."


def template_words() -> frozenset[str]:
    """Every word of every template, paraphrase and the refusal, case folded and without punctuation."""
    texts = [REFUSAL]
    for relation in RELATIONS:
        texts += [*relation.statements, relation.question, *relation.paraphrases]
    blank = str.maketrans("", "", ".?{}")
    words = " ".join(texts).replace("{s}", " ").replace("{o}", " ").translate(blank).casefold().split()
    return frozenset(words)
