"""Errors of the worker. Every message names the value, what was expected, and the next step."""

from __future__ import annotations

from collections.abc import Iterable

from factcensus.indexer.errors import FactcensusError
from factcensus.indexer.names import suggestion


class UnlearnError(FactcensusError):
    """Base of what the world, the configuration and the training raise."""


class ConfigError(UnlearnError, ValueError):
    """A setting, a file or a column that cannot be used as it stands (exit 2)."""

    exit_code = 2


def unknown_name(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist, with the nearest known one or else all of them."""
    return ConfigError(f"unknown {what} {name!r}{suggestion(name, known)}")


class ExampleError(UnlearnError, ValueError):
    """A fact whose prompt or answer cannot be turned into tokens as asked (exit 2)."""

    exit_code = 2


class MemoryPlanError(UnlearnError):
    """A run that cannot fit the device's memory, as far as can be computed before it (exit 2)."""

    exit_code = 2


class ServiceLostError(UnlearnError):
    """The counting service did not come back in time; what is counted is kept, and the same command continues."""


class RunFolderError(UnlearnError):
    """A run folder that belongs to another configuration, or is damaged (exit 2)."""

    exit_code = 2


class NumericsError(UnlearnError):
    """A loss or gradient that is not finite."""


class InterruptedRunError(UnlearnError):
    """The run was asked to stop; its state is saved and the same command continues it."""

    exit_code = 130
