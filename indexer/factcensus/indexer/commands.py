"""The commands of this part; the modules of ``cli/`` define them."""

from __future__ import annotations

import click

from factcensus.indexer.cli.command import group
from factcensus.indexer.cli.counting import cooc, count
from factcensus.indexer.cli.describe import compare, describe, plot
from factcensus.indexer.cli.documents import documents, trace
from factcensus.indexer.cli.facts import count as count_facts
from factcensus.indexer.cli.facts import stratify
from factcensus.indexer.cli.index import index_group
from factcensus.indexer.cli.ngram import ngram_group
from factcensus.indexer.cli.work import work_group


def add_commands(root: click.Group) -> None:
    """Add the commands of the index to the root command."""
    facts_group = group(
        "facts", "Count, stratify, describe and draw tables of facts.", [count_facts, stratify, describe, plot, compare]
    )
    for each in (count, cooc, documents, trace, index_group, facts_group, work_group, ngram_group):
        root.add_command(each)
