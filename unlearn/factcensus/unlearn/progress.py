"""How long work reports how far it is: the core calls a function, the command line prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: ``done`` of ``total`` units of the stage are finished.

    Attributes:
        stage: What is going on: ``pretrain``, ``evaluate original``, ``unlearn simnpo``.
        done: Units finished, from 0; at ``total`` the stage is over.
        total: Units in all.
        detail: A few words for people, such as ``loss 1.93``.
        values: The numbers of a training step, for trackers; None for anything else.
    """

    stage: str
    done: int
    total: int
    detail: str = ""
    values: Mapping[str, float] | None = None


ProgressFunction = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
