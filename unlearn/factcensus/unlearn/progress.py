"""How long work reports how far it is: the core calls a function, the command line prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: ``done`` of ``total`` units of the stage are finished.

    Attributes:
        stage: What is going on: ``pretrain``, ``evaluate original``, ``unlearn simnpo``.
        done: Units finished, from 0; at ``total`` the stage is over.
        total: Units in all.
        detail: A few words for people, such as ``loss 1.93``.
    """

    stage: str
    done: int
    total: int
    detail: str = ""


ProgressFunction = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
