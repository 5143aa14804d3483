"""The commands for the n-gram language model: ngram prob, ngram ntd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from factcensus.indexer.cli.chosen_index import IndexChoice, index_argument
from factcensus.indexer.cli.command import argument, command, group, option
from factcensus.indexer.cli.options import Whole, json_option
from factcensus.indexer.system.console import print_json, print_table

if TYPE_CHECKING:
    from factcensus.indexer.answers import EndOfDocument, NextToken, NextTokensAnswer, ProbabilityAnswer
    from factcensus.indexer.infini_gram.language_model import NgramModel

infini_option = option(
    "--infini", is_flag=True, help="use only the longest suffix of the prompt that occurs in the corpus (∞-gram)"
)


@command("prob", example='factcensus ngram prob indexes/wiki "the capital of France is Paris"')
@index_argument
@argument("text", metavar="TEXT", help="the prompt, followed by the token whose probability is computed")
@infini_option
@json_option
def prob(index: IndexChoice, text: str, infini: bool, as_json: bool) -> None:
    """Show how often the last token of a text follows the tokens before it."""
    with _model(index) as model:
        answer = model.infgram_prob(text) if infini else model.prob(text)
    if as_json:
        print_json(answer.as_json())
        return
    print(_heading(answer))
    print_table([_row(answer.token, answer)], ["next", "count", "probability"])


@command(
    "ntd",
    exclusive=[("max_support", "exact")],
    example='factcensus ngram ntd indexes/wiki "the capital of France is" --infini --most 5',
)
@index_argument
@argument("text", metavar="TEXT", help="the prompt")
@infini_option
@option("--most", type=Whole(1), metavar="N", default=20, help="number of tokens shown, the most frequent first")
@option(
    "--max-support",
    type=Whole(1),
    metavar="N",
    default_text="1000",
    help="sample at most N occurrences of the prompt (N at most 1000); if there are more, counts are estimates",
)
@option("--exact", is_flag=True, help="count every occurrence instead of a sample")
@json_option
def ntd(
    index: IndexChoice, text: str, infini: bool, most: int, max_support: int | None, exact: bool, as_json: bool
) -> None:
    """Show which tokens follow a text, and how often (next-token distribution)."""
    from factcensus.indexer.infini_gram.language_model import MOST_SUPPORT

    with _model(index) as model:
        support = None if exact else max_support or MOST_SUPPORT
        answer = (model.infgram_ntd if infini else model.ntd)(text, max_support=support, most=most)
    if as_json:
        print_json(answer.as_json())
        return
    print(_heading(answer))
    if not answer.exact:
        print(
            f"sampled one in {answer.sampled_every:,} occurrences: counts are off by at most "
            f"{answer.max_error:,}; --exact counts all occurrences"
        )
    rows = [_row(each.token, each) for each in answer.next]
    print_table([*rows, _row("(end of document)", answer.end_of_document)], ["next", "count", "probability"])
    if answer.distinct > len(rows):
        print(f"… and {answer.distinct - len(rows):,} more (--most)")


@contextmanager
def _model(index: IndexChoice) -> Iterator[NgramModel]:
    from factcensus.indexer.infini_gram.language_model import NgramModel

    with index.open() as opened, NgramModel.open(opened) as model:
        yield model


def _heading(answer: ProbabilityAnswer | NextTokensAnswer) -> str:
    context = (answer.suffix or answer.prompt).tokens
    exactness = "exact" if answer.exact else "estimates"
    return f"{' '.join(context)!r}, {answer.prompt_count:,} times in {answer.index} ({answer.analyzer}, {exactness})"


def _row(token: str, counts: ProbabilityAnswer | NextToken | EndOfDocument) -> list[str | int]:
    return [token, counts.count, "–" if counts.probability is None else f"{counts.probability:.6f}"]


ngram_group: click.Group = group("ngram", "Show probabilities of the next token, from counts in an index.", [prob, ntd])
