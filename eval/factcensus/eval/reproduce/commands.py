"""The command group ``factcensus reproduce``; every command is in its own module."""

from __future__ import annotations

from factcensus.eval.reproduce.controlled import controlled
from factcensus.eval.reproduce.published_models.command import olmo, pythia
from factcensus.eval.reproduce.questions.command import questions
from factcensus.indexer.cli.command import group

#: Add a command by adding it to this list.
reproduce = group(
    "reproduce",
    "Reproduce the experiments of the paper on frequency and unlearning.",
    [controlled, olmo, pythia, questions],
)
