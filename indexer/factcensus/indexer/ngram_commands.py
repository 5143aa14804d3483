"""The commands of the n-gram language model: ngram prob, ngram ntd."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from factcensus.indexer.cli import Subparsers, add_command, add_group
from factcensus.indexer.console import print_json, print_table


def add_ngram_commands(subparsers: Subparsers) -> None:
    """Add the group ``ngram`` to the root command."""
    group = add_group(subparsers, "ngram", "probabilities of the next token, by infini-gram's engine")
    prob = add_command(
        group,
        "prob",
        _prob,
        help="how often a text's last token follows the tokens before it",
        example='factcensus ngram prob indexes/wiki "the capital of France is Paris"',
    )
    _add_arguments(prob, "the prompt, and as its last token the one that is asked for")

    ntd = add_command(
        group,
        "ntd",
        _ntd,
        help="which tokens follow a text, and how often (next-token distribution)",
        example='factcensus ngram ntd indexes/wiki "the capital of France is" --infini --most 5',
    )
    _add_arguments(ntd, "the prompt")
    ntd.add_argument("--most", type=int, metavar="N", default=20, help="most frequent tokens shown (default: 20)")
    how = ntd.add_mutually_exclusive_group()
    how.add_argument(
        "--max-support",
        type=int,
        metavar="N",
        help="occurrences of the prompt to look at, up to 1000 (default); counts for a more frequent one are estimates",
    )
    how.add_argument("--exact", action="store_true", help="look at every occurrence, however many there are")


def _add_arguments(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    parser.add_argument("text", metavar="TEXT", help=text)
    parser.add_argument(
        "--infini", action="store_true", help="use the longest end of the prompt that the corpus has (∞-gram)"
    )
    parser.add_argument("--analyzer", help="only for an index of infini-gram's that does not say it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _ask(arguments: argparse.Namespace, kind: str, **options: Any) -> dict[str, Any]:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.language_model import NgramModel

    with CountIndex.open(arguments.index, analyzer=arguments.analyzer) as index, NgramModel.open(index) as model:
        answer: dict[str, Any] = getattr(model, f"infgram_{kind}" if arguments.infini else kind)(
            arguments.text, **options
        )
        return answer


def _prob(arguments: argparse.Namespace) -> None:
    answer = _ask(arguments, "prob")
    if arguments.json:
        print_json(answer)
        return
    print(_heading(answer))
    print_table([_row(answer["token"]["token"], answer)], ["next", "count", "probability"])


def _ntd(arguments: argparse.Namespace) -> None:
    options: dict[str, Any] = {"most": arguments.most}
    if arguments.exact or arguments.max_support is not None:
        options["max_support"] = arguments.max_support
    answer = _ask(arguments, "ntd", **options)
    if arguments.json:
        print_json(answer)
        return
    print(_heading(answer))
    if not answer["exact"]:
        print(
            f"one in {answer['sampled_every']:,} occurrences looked at: counts are off by {answer['max_error']:,} at "
            "most; --exact looks at all"
        )
    rows = [_row(each["token"], each) for each in answer["next"]]
    print_table([*rows, _row("(end of document)", answer["end_of_document"])], ["next", "count", "probability"])
    if answer["distinct"] > len(rows):
        print(f"… and {answer['distinct'] - len(rows):,} more (--most)")


def _heading(answer: dict[str, Any]) -> str:
    context = answer.get("suffix", answer["prompt"])["tokens"]
    exactness = "exact" if answer["exact"] else "estimates"
    return (
        f"{' '.join(context)!r}, {answer['prompt_count']:,} times in {answer['index']} ({answer['analyzer']}, "
        f"{exactness})"
    )


def _row(token: str, counts: dict[str, Any]) -> list[Any]:
    probability = counts["probability"]
    return [token, counts["count"], "–" if probability is None else f"{probability:.6f}"]
