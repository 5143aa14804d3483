"""The JSON bodies of requests: their form is checked here, their size in :mod:`factcensus.api.limits`.

Unknown fields are refused, because a misspelt ``aliases`` would silently change a count.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from factcensus.api.http.parameters import as_number, unique_fields
from factcensus.api.http.problems import UNKNOWN_FIELD
from factcensus.api.infini_gram.wire import RANGES
from factcensus.indexer import Entity, Scope
from factcensus.indexer.counting.filters import Between, condition
from factcensus.indexer.counting.spellings import Normalisation
from factcensus.indexer.counting.trace import LEAST_TOKENS, MOST_DOCUMENTS, MOST_SPANS
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import unknown_name


def _whole_characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character; send the whole pair") from None
    return text


#: JSON can express halves of surrogate pairs, which no encoding can write, so neither corpus nor response has them.
Text = Annotated[str, AfterValidator(_whole_characters)]
By = Annotated[Text, Field(max_length=200)] | None
BY = Field(
    default=None,
    description='"source", another column of the document table or a metadata field (nested: a.b); adds the '
    'numbers of each of its values. Documents without it have the value "".',
    examples=["source"],
)
VERBATIM = Field(
    default=False,
    description="Only the text exactly as it is written, and not as part of a longer word, number or address; the "
    "index must keep the original texts.",
)
#: Maximum number of tokens between two mentions; bounded by the largest position in an index.
LARGEST_WINDOW = 2**31 - 1
Window = Annotated[int, Field(ge=0, le=LARGEST_WINDOW)]
#: The same in a URL.
WindowText = Annotated[Window, BeforeValidator(as_number)]


class Body(BaseModel):
    """Base class of the bodies: no unknown fields, no numbers as strings."""

    # Different filters are different texts in the cache, so not-a-number must not become null there.
    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants")

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, given: Any) -> Any:
        """Refuse unknown fields and suggest the nearest known one; the validator's own message has no suggestion."""
        if isinstance(given, dict):
            for name in given:
                if name not in cls.model_fields:
                    detail = str(unknown_name("field", str(name), cls.model_fields))
                    shown = str(name).encode("utf-8", "backslashreplace").decode()  # it may have half a surrogate pair
                    raise PydanticCustomError(UNKNOWN_FIELD, "{detail}", {"detail": detail, "name": shown})
        return given


class EntityBody(Body):
    """A name and its aliases: all surface forms of one entity."""

    name: Text = Field(examples=["Marie Curie"], description="The name, which must not be empty.")
    aliases: list[Text] = Field(
        default=[], examples=[["Maria Skłodowska"]], description="All other names of the entity."
    )

    def entity(self) -> Entity:
        """Return the entity; raise InputError for an empty name."""
        return Entity(self.name, tuple(self.aliases))


class Range(Body):
    """Numbers from ``min`` to ``max``, inclusive."""

    min: float | None = Field(default=None, description="The smallest value; null for no limit.")
    max: float | None = Field(default=None, description="The largest value; null for no limit.")


Value = Text | bool | int | float | None


def _kind_of_condition(given: Any) -> str:
    """Return the form of a condition, so that only the errors of that form are reported."""
    if isinstance(given, dict | Range):
        return "range"
    return "values" if isinstance(given, list) else "value"


Condition = Annotated[
    Annotated[Value, Tag("value")]
    | Annotated[list[Value], Field(min_length=1, max_length=1000), Tag("values")]
    | Annotated[Range, Tag("range")],
    Discriminator(_kind_of_condition),
]
Filters = Annotated[
    dict[Annotated[Text, Field(max_length=200)], Condition],
    Field(
        default={},
        max_length=20,
        description="Only documents in which every column has one of the values or is in the range. Names are columns "
        'of the document table or metadata fields (nested: a.b); null and "" select documents without the column. '
        'A range is an object such as {"min": 1990, "max": 1999}.',
        examples=[{"source": ["wiki", "books"]}],
    ),
]


_FILTERS: TypeAdapter[Any] = TypeAdapter(Filters, config=ConfigDict(strict=True))


def filter_of_text(text: str) -> Any:
    """Parse a filter given as JSON in a URL.

    Raises:
        InputError: It is not a filter.
        Problem: ``invalid-request``; it names a repeated column.
    """
    with suppress(ValueError, RecursionError):  # invalid JSON is reported below
        json.loads(text, object_pairs_hook=unique_fields)
    try:
        return _FILTERS.validate_json(text)
    except ValidationError as error:
        raise InputError(
            f'invalid filter; give JSON such as {{"source": ["wiki"]}} ({error.errors()[0]["msg"]})'
        ) from None


@dataclass(frozen=True, slots=True)
class AskedScope(Scope):
    """The documents that pass the filter of a request.

    Attributes:
        filter: The filter as JSON, to pass it on to other services.
    """

    filter: str = "{}"

    def asked(self) -> Any:
        """Return the filter as in the body of a request."""
        return json.loads(self.filter)


def scope_of(filter: Filters) -> Scope:
    """Return the scope of the documents that pass a filter; raise InputError for an invalid filter."""
    wanted = {
        column: Between(value.min, value.max) if isinstance(value, Range) else value for column, value in filter.items()
    }
    where = condition(wanted)
    return Scope() if where is None else AskedScope(where=where, filter=_FILTERS.dump_json(filter).decode())


class CountBody(Body):
    """A text to count."""

    text: Text = Field(examples=["Marie Curie"], description="Analysed like the corpus; the response shows its tokens.")
    verbatim: bool = VERBATIM
    by: By = BY
    filter: Filters


class CooccurrenceBody(Body):
    """A subject and an object to count together."""

    subject: EntityBody = Field(description="The entity that the fact is about.")
    object: EntityBody = Field(description="The other entity.")
    window: Window | None = Field(
        default=None, description="Maximum number of tokens between the two mentions; null for the whole document."
    )
    by: By = BY
    filter: Filters


class FactsBody(Body):
    """A batch of facts to count."""

    facts: list[dict[str, Any]] = Field(
        description="One row per fact: subject, object, and optionally fact_id, relation, subject_aliases, "
        "object_aliases, question, answer, paraphrases; other columns are returned unchanged.",
        examples=[[{"subject": "Marie Curie", "object": "Warsaw", "subject_aliases": ["Maria Skłodowska"]}]],
    )
    windows: list[Window] = Field(default=[], description="Each window adds two columns.", examples=[[10]])


class ReplicationBody(Body):
    """Facts to count like a published notebook."""

    facts: list[dict[str, Any]] = Field(
        description="One row per fact, as for facts:count.", examples=[[{"subject": "Marie Curie", "object": "Warsaw"}]]
    )
    method: Literal["paper-notebook"] = Field(description="The counting method to replicate.")
    max_diff_tokens: int = Field(
        default=RANGES["max_diff_tokens"][1],
        ge=1,
        le=RANGES["max_diff_tokens"][0],
        description="Maximum number of tokens from the start of one mention to the start of the next.",
    )
    max_clause_freq: int = Field(
        default=RANGES["max_clause_freq"][1],
        ge=1,
        le=RANGES["max_clause_freq"][0],
        description="Number of occurrences above which the engine takes a sample.",
    )


class TraceBody(Body):
    """A text whose spans are searched for in the corpus."""

    text: Text = Field(
        examples=["Marie Curie was born in Warsaw and moved to Paris."],
        description="Such as the output of a model; analysed like the corpus.",
    )
    least_tokens: int = Field(default=LEAST_TOKENS, ge=1, description="Minimum length of a span in tokens.")
    limit: int = Field(default=MOST_SPANS, ge=1, le=1000, description="Maximum number of spans; the longest are kept.")
    documents: int = Field(default=MOST_DOCUMENTS, ge=0, le=20, description="Documents shown for each span.")
    filter: Filters


class DocumentsBody(Body):
    """A query for documents: a text, a subject with or without an object, or a pattern."""

    text: Text | None = Field(default=None, description="A text to find.", examples=["Marie Curie"])
    subject: EntityBody | None = Field(default=None, description="An entity to find, instead of a text.")
    object: EntityBody | None = Field(default=None, description="An entity in the same document; only with a subject.")
    window: Window | None = Field(default=None, description="As for cooccurrence; only with an object.")
    verbatim: bool = VERBATIM
    normalise: Normalisation | None = Field(
        default=None,
        description="The text is a number or address, which is found in its usual spellings. If the index keeps no "
        'text, token sequences decide, and "verified" is false.',
    )
    region: Annotated[Text, Field(max_length=10)] | None = Field(
        default=None, description="The country of a phone number without a country code.", examples=["DE"]
    )
    pattern: Text | None = Field(
        default=None,
        description="A regular expression in the syntax of RE2, searched for in the original texts. At the timeout of "
        'the service, the response has the documents found so far; "exact" is true if all documents were "searched".',
        examples=[r"\bCurie-\w+"],
    )
    by: By = BY
    filter: Filters
    limit: int = Field(default=10, ge=1, description="Documents on this page.")
    cursor: Text | None = Field(default=None, description='"next" of the previous page of the same query.')

    @model_validator(mode="after")
    def _one_question(self) -> DocumentsBody:
        if [self.text, self.subject, self.pattern].count(None) != 2 or (self.object and not self.subject):
            raise ValueError('give either "text", "subject" with or without "object", or "pattern"')
        if self.object is None and self.window is not None:
            raise ValueError('"window" needs an "object"; give one, or leave "window" out')
        if self.text is None and (self.verbatim or self.normalise is not None):
            raise ValueError('"verbatim" and "normalise" go with "text"')
        if self.verbatim and self.normalise is not None:
            raise ValueError('give only one of "verbatim" and "normalise"')
        if self.region is not None and self.normalise != "phone":
            raise ValueError('"region" goes with "normalise": "phone"')
        return self
