"""The sentences of the world: statements for biographies, one question per relation, and untrained paraphrases.

``{s}`` is the subject, ``{o}`` the object. Each relation's first statement ends with its object, so the text before the
object is the *cloze* prompt, whose continuation occurs in training without any question. Paraphrases use only words of
the corpus, so they test another wording rather than untrained embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.unlearn.world.words import CITIES, EMPLOYERS, UNIVERSITIES


@dataclass(frozen=True, slots=True)
class Relation:
    """An attribute of people, with its possible values, statements and questions."""

    name: str
    objects: tuple[str, ...]
    statements: tuple[str, ...]
    question: str
    paraphrases: tuple[str, ...]

    def cloze(self, subject: str) -> str:
        """Return the first statement up to its object, without the space before it."""
        return self.clozes(subject)[0]

    def clozes(self, subject: str) -> tuple[str, ...]:
        """Return every statement that ends with its object, up to the object, without the space before it."""
        ending = [statement for statement in self.statements if statement.endswith(" {o}.")]
        return tuple(statement.removesuffix(" {o}.").format(s=subject) for statement in ending)


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

#: The refusal that an unlearned model may give (:mod:`factcensus.unlearn.objectives.idk`). It does not occur in the
#: corpus, but its words are in the vocabulary.
REFUSAL = "I do not know."
