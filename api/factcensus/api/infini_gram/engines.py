"""The language models of the open indexes, each opened when the first query needs it."""

from __future__ import annotations

import threading

from factcensus.api.serving.catalog import Catalog
from factcensus.indexer import CountIndex
from factcensus.indexer.infini_gram.language_model import NgramModel


class Models:
    """Opens a model once for each index, and anew where another index has taken the name; safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[CountIndex, NgramModel]] = {}

    def of(self, index: CountIndex) -> NgramModel:
        """The model over an open index.

        Raises:
            MissingExtraError: the package infini-gram is not installed.
            InputError: the engine cannot answer for this index; the message says why.
        """
        with self._lock:
            known = self._opened.get(index.name)
            if known is not None and known[0] is index:
                return known[1]
            model = NgramModel.open(index)
            self._opened[index.name] = index, model
            return model

    def keep_only(self, catalog: Catalog) -> None:
        """Drop the models of indexes that are no longer served; a query that uses one goes on with it."""
        served = catalog.indexes
        with self._lock:
            self._opened = {name: opened for name, opened in self._opened.items() if opened[0] in served}

    def close(self) -> None:
        """Release the engines; a model is opened anew when it is asked for."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1][1].close()
