"""The command line: ``command.py`` has its building blocks, ``options.py`` the shared values and options."""

from factcensus.indexer.cli.root import main

__all__ = ["main"]
