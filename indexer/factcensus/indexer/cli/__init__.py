"""The command line. ``command.py`` has the building blocks, ``options.py`` the values and options that are shared."""

from factcensus.indexer.cli.root import main

__all__ = ["main"]
