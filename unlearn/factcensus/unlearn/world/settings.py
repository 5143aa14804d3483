"""Settings of a world and of its model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.attributes import MIDDLE_NAMES, Attributes, relations_of
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES

Role = Literal["forget", "retain", "retain_held", "bystander", "phantom"]
ROLES: tuple[Role, ...] = get_args(Role)
#: How the biographies of a person are worded, and the part of training that reads them.
Wording = Literal["distinct", "copied"]
Arrival = Literal["mixed", "early", "late"]
Architecture = Literal["llama", "gpt2"]
#: Metadata of a setting that the descriptions of worlds and models leave out while it has its default value, so that
#: those made before the setting existed stay valid.
OMIT_DEFAULT = {"omit_default": True}


def described(settings: WorldSettings | PretrainSettings) -> dict[str, Any]:
    """Return the settings as they are stored with a world or a model."""
    added = {each.name: each.default for each in fields(settings) if each.metadata.get("omit_default")}
    values = asdict(settings)
    return {name: value for name, value in values.items() if name not in added or value != added[name]}


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """People, their exposure counts and their groups.

    Counts are log-uniform and stratified: every group has the same number of people at every level of ``exposures``
    (any remainder goes to the first levels), so no group is rarer than another.

    Attributes:
        people: Number of people in the corpus.
        exposures: The levels: numbers of biographies per person.
        objects: Number of objects per relation (the first ones of its list); None for all.
        forget_share, retain_share, retain_held_share: Shares of the people; the rest are bystanders.
            *retain*: their questions are in the corpus, and unlearning may train on them;
            *retain_held*: in the corpus, for evaluation only; *forget* and *bystander*: biographies only, so
            answering a question about them needs knowledge that was never trained as an answer.
        phantoms: Number of people who occur nowhere; they define the never-seen level.
        question_copies: Number of documents with each retain question, all with the trained wording.
        assignment: ``balanced`` deals every object equally often to every group and level; ``independent`` draws
            each person's objects independently, as most generators do (see docs/log.md).
        wording: ``distinct`` words every biography of a person differently, ``copied`` repeats one biography word for
            word, and ``dealt`` does each for half of the people of every group and level.
        arrival: When training reads the biographies of a person. ``mixed``: at any time; ``dealt``: for half of the
            people of every group and level in its first half (early), for the others in its second half (late).
            Questions are always mixed.
        attributes: ``three``, or the ``six`` of the paper, with middle names and pronouns
            (:mod:`factcensus.unlearn.world.attributes`).
        exposure_shares: Share of the people at each level of ``exposures``; empty for equal shares.
        questions_per_biography: If above 0, questions are copied until there are this many documents with questions
            per biography, instead of ``question_copies`` times; 3 for the mixture 1:3 of the paper.
    """

    people: int = 280
    exposures: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    objects: int | None = 16
    forget_share: float = 0.4
    retain_share: float = 0.225
    retain_held_share: float = 0.175
    phantoms: int = 48
    question_copies: int = 10
    assignment: Literal["balanced", "independent"] = "balanced"
    wording: Literal["distinct", "copied", "dealt"] = field(default="distinct", metadata=OMIT_DEFAULT)
    arrival: Literal["mixed", "dealt"] = field(default="mixed", metadata=OMIT_DEFAULT)
    attributes: Attributes = field(default="three", metadata=OMIT_DEFAULT)
    exposure_shares: tuple[float, ...] = field(default=(), metadata=OMIT_DEFAULT)
    questions_per_biography: float = field(default=0.0, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        if self.attributes not in get_args(Attributes):
            raise ConfigError(f"attributes={self.attributes!r}: expected 'three' or 'six'")
        for problem in (*self._people_problems(), *self._text_problems()):
            raise ConfigError(problem)

    def _people_problems(self) -> Iterator[str]:
        """Yield an error message for each invalid setting of people, counts and groups."""
        names = len(FIRST_NAMES) * len(LAST_NAMES) * (len(MIDDLE_NAMES) if self.attributes == "six" else 1)
        shares = (self.forget_share, self.retain_share, self.retain_held_share)
        if not 1 <= self.people <= names - self.phantoms or self.phantoms < 0:
            yield (
                f"people={self.people} and phantoms={self.phantoms}: there are names for 1 to {names} people, phantoms "
                "included"
            )
        if not self.exposures or min(self.exposures) < 1 or len(set(self.exposures)) != len(self.exposures):
            yield f"exposures={self.exposures}: expected distinct counts of at least 1"
        elif max(self.exposures) > 1000:
            yield (
                f"exposures={self.exposures}: expected at most 1000, because there are only 1296 biographies per person"
            )
        levels = self.exposure_shares
        if levels and (len(levels) != len(self.exposures) or min(levels) < 0 or abs(sum(levels) - 1) > 1e-6):
            yield (
                f"exposure_shares={levels}: expected one share per level of exposures {self.exposures}, with a sum of 1"
            )
        if min(shares) < 0 or sum(shares) > 1:
            yield f"shares of forget, retain, retain_held are {shares}: expected a sum of at most 1"

    def _text_problems(self) -> Iterator[str]:
        """Yield an error message for each invalid setting of objects and documents."""
        numbers = [len(relation.objects) for relation in relations_of(self.attributes)]
        most = min(numbers) if self.attributes == "three" else max(numbers)
        if self.objects is not None and not 2 <= self.objects <= most:
            yield f"objects={self.objects}: expected 2 to {most} objects per relation"
        if self.question_copies < 0:
            yield f"question_copies={self.question_copies}: expected 0 or more"
        if self.questions_per_biography < 0:
            yield f"questions_per_biography={self.questions_per_biography}: expected 0 or more"
        if self.assignment not in ("balanced", "independent"):
            yield f"assignment={self.assignment!r}: expected 'balanced' or 'independent'"
        if self.wording not in ("distinct", "copied", "dealt"):
            yield f"wording={self.wording!r}: expected 'distinct', 'copied' or 'dealt'"
        if self.arrival not in ("mixed", "dealt"):
            yield f"arrival={self.arrival!r}: expected 'mixed' or 'dealt'"


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """The model and its training from scratch. A step has ``batch_rows`` rows of ``row_tokens`` tokens.

    Large steps waste a small budget: 43 steps of 4096 tokens taught nothing, while 1500 steps of 384 tokens taught most
    facts. With 280 people, the model answered 70% of the held-out questions after learning rate 2e-3, 67% after 3e-3
    and 32% after 5e-3 (512 tokens per step). Weights start at N(0, ``initializer_range``²); 0.06 learned faster than
    the usual 0.02 in every epoch (hidden sizes of about 100).

    Attributes:
        width, layers, heads, feed_forward: Sizes of the model; embeddings are tied.
        epochs: Number of passes over all documents, each in another order.
        warmup_share: Share of the steps in which the rate rises linearly; then it falls to 0 as a cosine.
        threads: Number of torch threads; 1 is fastest at these sizes and lets seeds run in parallel. None changes
            nothing.
        save_every_steps: Steps between saved states, from which an interrupted training run resumes.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.
        architecture: ``llama`` or ``gpt2``.
        tokenizer: A folder or a Hub name of a tokenizer; None for one of whole words of the world's corpus.
        dtype: ``bfloat16-autocast`` computes in bfloat16 over float32 parameters.
        dropout: Dropout of a GPT-2 model while it is trained.
    """

    width: int = 96
    layers: int = 2
    heads: int = 4
    feed_forward: int = 256
    initializer_range: float = 0.06
    epochs: int = 4
    batch_rows: int = 6
    row_tokens: int = 64
    learning_rate: float = 2e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    threads: int | None = 1
    save_every_steps: int = 200
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    architecture: Architecture = field(default="llama", metadata=OMIT_DEFAULT)
    tokenizer: str | None = field(default=None, metadata=OMIT_DEFAULT)
    dtype: Literal["float32", "bfloat16-autocast"] = field(default="float32", metadata=OMIT_DEFAULT)
    dropout: float = field(default=0.0, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
                raise ConfigError(f"{each.name}={value}: expected at least 0")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(f"width={self.width} with {self.heads} heads: expected an even number of units per head")
        if self.architecture not in get_args(Architecture):
            raise ConfigError(f"architecture={self.architecture!r}: expected 'llama' or 'gpt2'")
        if self.dtype not in ("float32", "bfloat16-autocast"):
            raise ConfigError(f"dtype={self.dtype!r}: expected 'float32' or 'bfloat16-autocast'")
        if self.dropout >= 1 or (self.dropout and self.architecture != "gpt2"):
            raise ConfigError(f"dropout={self.dropout}: expected less than 1, and 0 for a Llama model, which has none")
        if min(self.epochs, self.batch_rows, self.row_tokens, self.layers, self.save_every_steps) < 1:
            raise ConfigError("epochs, batch_rows, row_tokens, layers and save_every_steps: expected at least 1")
