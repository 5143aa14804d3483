"""Requirements such as ``forgotten_by_stratum.min >= 95%, retain_accuracy >= 0.9 * base``: a small language.

    requirements = clause {"," clause}
    clause       = sum ("<=" | ">=" | "<" | ">" | "==" | "!=") sum
    sum          = product {("+" | "-") product}
    product      = factor {("*" | "/") factor}
    factor       = number ["%"] | name | "-" factor | "(" sum ")" | ("min" | "max" | "abs") "(" sum {"," sum} ")"
    name         = word {"." word}, where a word is letters, digits and _, or any text in double quotes

It is parsed here and computed by :func:`evaluate`; nothing is ever handed to Python to run.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from factcensus.eval.errors import EvaluationInputError

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*%?)|(?P<quoted>\"[^\"]*\")|(?P<word>[^\W\d]\w*)"
    r"|(?P<sign><=|>=|==|!=|[<>+\-*/(),.]))"
)


@dataclass(frozen=True, slots=True)
class Number:
    """A constant; per cents are already divided."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name."""

    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or a function with its arguments; a single argument of ``-`` is negated."""

    function: str
    arguments: tuple[Expression, ...]


Expression = Number | Name | Call


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison, and how it was written."""

    text: str
    left: Expression
    comparison: str
    right: Expression


def parse(text: str) -> list[Clause]:
    """All clauses of a requirement.

    Raises:
        EvaluationInputError: it does not follow the grammar; the message shows where.
    """
    return _Parser(text).clauses()


def names(expression: Expression) -> Iterator[Name]:
    """Every name that stands in an expression."""
    if isinstance(expression, Name):
        yield expression
    elif isinstance(expression, Call):
        for argument in expression.arguments:
            yield from names(argument)


def evaluate(expression: Expression, value_of: Callable[[Name], float | None]) -> float | None:
    """The number an expression stands for; None if a name has no value, or it divides by zero."""
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Name):
        return value_of(expression)
    found = [evaluate(argument, value_of) for argument in expression.arguments]
    numbers = [value for value in found if value is not None]
    if len(numbers) < len(found):
        return None
    if expression.function in FUNCTIONS:
        return float(FUNCTIONS[expression.function](*numbers))
    if len(numbers) == 1:
        return -numbers[0]
    if expression.function == "/" and numbers[1] == 0:
        return None
    return _ARITHMETIC[expression.function](*numbers)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []  # kind, text, where it begins
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                odd = text[place:].split()[0]
                meant = f"; did you mean {odd[::-1]!r}?" if odd in ("=>", "=<") else ""
                raise self._error(f"{odd!r} is nothing that can stand there{meant}", place)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind], match.start(kind)))
            place = match.end()
        self.next = 0

    def clauses(self) -> list[Clause]:
        if not self.tokens:
            raise EvaluationInputError("the requirement is empty; such as --require 'retain_accuracy >= 0.9 * base'")
        found = [self._clause()]
        while self._take(","):
            found.append(self._clause())
        if self.next < len(self.tokens):
            raise self._unexpected("a comma, or the end")
        return found

    def _clause(self) -> Clause:
        begin = self._place()
        left = self._sum()
        comparison = self._take(*COMPARISONS)
        if comparison is None:
            raise self._unexpected("a comparison such as >=")
        right = self._sum()
        return Clause(self.text[begin : self._place()].strip().rstrip(",").strip(), left, comparison, right)

    def _sum(self) -> Expression:
        found = self._product()
        while sign := self._take("+", "-"):
            found = Call(sign, (found, self._product()))
        return found

    def _product(self) -> Expression:
        found = self._factor()
        while sign := self._take("*", "/"):
            found = Call(sign, (found, self._factor()))
        return found

    def _factor(self) -> Expression:
        if self._take("-"):
            return Call("-", (self._factor(),))
        if self._take("("):
            return self._closed(self._sum())
        if self.next >= len(self.tokens) or self.tokens[self.next][0] == "sign":
            raise self._unexpected("a number or a name")
        kind, token, _ = self.tokens[self.next]
        self.next += 1
        if kind == "number":
            return Number(float(token.rstrip("% ")) / (100.0 if token.endswith("%") else 1.0))
        if kind == "word" and token in FUNCTIONS and self._take("("):
            arguments = [self._sum()]
            while self._take(","):
                arguments.append(self._sum())
            if (len(arguments) == 1) != (token == "abs"):
                raise self._error(f"{token}() takes {'one number' if token == 'abs' else 'two or more'}", self._place())
            return self._closed(Call(token, tuple(arguments)))
        parts = [token.strip('"')]
        while self._take("."):
            if self.next >= len(self.tokens) or self.tokens[self.next][0] not in ("word", "quoted"):
                raise self._unexpected("a name after the dot")
            parts.append(self.tokens[self.next][1].strip('"'))
            self.next += 1
        return Name(tuple(parts))

    def _closed(self, expression: Expression) -> Expression:
        if self._take(")") is None:
            raise self._unexpected("a closing bracket")
        return expression

    def _take(self, *signs: str) -> str | None:
        """The next token, if it is one of these signs."""
        if self.next < len(self.tokens) and self.tokens[self.next][:2] in [("sign", sign) for sign in signs]:
            self.next += 1
            return self.tokens[self.next - 1][1]
        return None

    def _place(self) -> int:
        return self.tokens[self.next][2] if self.next < len(self.tokens) else len(self.text)

    def _unexpected(self, wanted: str) -> EvaluationInputError:
        there = repr(self.tokens[self.next][1]) if self.next < len(self.tokens) else "the end"
        return self._error(f"expected {wanted}, found {there}", self._place())

    def _error(self, what: str, place: int) -> EvaluationInputError:
        return EvaluationInputError(f"requirement {self.text!r}, character {place + 1}: {what}")
