"""Errors of unlearning. Every message names the value, the expectation and the remedy."""

from __future__ import annotations

from collections.abc import Iterable

from factcensus.indexer.errors import FactcensusError
from factcensus.indexer.names import suggestion


class UnlearnError(FactcensusError):
    """Base class of all errors of this part."""


class ConfigError(UnlearnError, ValueError):
    """An invalid setting, file or column (exit status 2)."""

    exit_code = 2


def unknown_name(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for an unknown name, with the most similar known name or else all known names."""
    return ConfigError(f"unknown {what} {name!r}{suggestion(name, known)}")


class ExampleError(UnlearnError, ValueError):
    """A fact whose prompt or answer cannot be encoded (exit status 2)."""

    exit_code = 2


class MemoryPlanError(UnlearnError):
    """A run that would not fit the device's memory, according to the estimate (exit status 2)."""

    exit_code = 2


class ServiceLostError(UnlearnError):
    """The counting service did not answer in time; counts are kept, and the same command continues."""


class RunFolderError(UnlearnError):
    """A run folder that belongs to another configuration or is damaged (exit status 2)."""

    exit_code = 2


class NumericsError(UnlearnError):
    """A loss or gradient that is not finite."""


class InterruptedRunError(UnlearnError):
    """The run was asked to stop; its state is saved, and the same command resumes it."""

    exit_code = 130
