"""Answers of the n-gram language model: the probability of one token, and the distribution of the next one."""

from __future__ import annotations

from dataclasses import dataclass, field

from factcensus.indexer.answers.record import Answer, Json, html_table


@dataclass(frozen=True, slots=True)
class Tokens(Answer):
    """A token sequence."""

    ids: list[int | None]
    """None for a word that is not in the corpus."""
    tokens: list[str]
    """The printable tokens."""


@dataclass(frozen=True, slots=True)
class ProbabilityAnswer(Answer):
    """How often a token follows a prompt."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    prompt: Tokens
    suffix: Tokens | None
    """The longest suffix of the prompt that occurs; None if the whole prompt was looked up."""
    id: int | None
    """Id of the token; None for a word that is not in the corpus."""
    token: str
    """The printable token."""
    prompt_count: int
    """Occurrences of the prompt (or the suffix)."""
    count: int
    """Occurrences of the prompt (or the suffix) followed by the token."""
    exact: bool

    @property
    def probability(self) -> float | None:
        """``count / prompt_count``; None if the prompt does not occur."""
        return self.count / self.prompt_count if self.prompt_count else None

    def as_json(self) -> Json:
        """Return the JSON object that the command line prints and the service sends."""
        return {
            "index": self.index,
            "analyzer": self.analyzer,
            "prompt": self.prompt.as_json(),
            **({} if self.suffix is None else {"suffix": self.suffix.as_json()}),
            "token": {"id": self.id, "token": self.token},
            "prompt_count": self.prompt_count,
            "count": self.count,
            "probability": self.probability,
            "exact": self.exact,
        }

    def _repr_html_(self) -> str:
        return html_table(
            _caption(self), ["next", "count", "probability"], [(self.token, self.count, self.probability)]
        )


@dataclass(frozen=True, slots=True)
class NextToken(Answer):
    """A token that follows a prompt."""

    id: int
    token: str
    """The printable token."""
    count: int
    """Occurrences of the prompt followed by this token."""
    probability: float


@dataclass(frozen=True, slots=True)
class EndOfDocument(Answer):
    """How often a document ends after a prompt; always exact."""

    count: int
    probability: float | None
    """None if the prompt does not occur."""


@dataclass(frozen=True, slots=True)
class NextTokensAnswer(Answer):
    """The distribution of the next token after a prompt."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    prompt: Tokens
    suffix: Tokens | None
    """The longest suffix of the prompt that occurs; None if the whole prompt was looked up."""
    prompt_count: int
    """Occurrences of the prompt (or the suffix)."""
    distinct: int
    """Number of distinct next tokens."""
    next: list[NextToken]
    """The most frequent first."""
    end_of_document: EndOfDocument
    sampled_every: int
    """Sampling interval: one in this many occurrences was sampled; 1 if all were counted."""
    max_error: int
    """Maximum error of a ``count``; 0 if exact."""

    @property
    def exact(self) -> bool:
        """Whether every occurrence was counted."""
        return self.sampled_every == 1

    def as_json(self) -> Json:
        """Return the JSON object that the command line prints and the service sends."""
        return {
            "index": self.index,
            "analyzer": self.analyzer,
            "prompt": self.prompt.as_json(),
            **({} if self.suffix is None else {"suffix": self.suffix.as_json()}),
            "prompt_count": self.prompt_count,
            "distinct": self.distinct,
            "next": [each.as_json() for each in self.next],
            "end_of_document": self.end_of_document.as_json(),
            "exact": self.exact,
            "sampled_every": self.sampled_every,
            "max_error": self.max_error,
        }

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [(each.token, each.count, each.probability) for each in self.next]
        end = self.end_of_document
        header = ["next", "count", "probability"]
        return html_table(_caption(self), header, [*rows, ("(end of document)", end.count, end.probability)])


def _caption(answer: ProbabilityAnswer | NextTokensAnswer) -> str:
    context = (answer.suffix or answer.prompt).tokens
    return f"after {' '.join(context)!r}, {answer.prompt_count:,} times in {answer.index}"
