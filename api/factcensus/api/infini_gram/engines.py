"""The language models of the open indexes, opened on first use."""

from __future__ import annotations

import threading

from factcensus.api.serving.catalog import Catalog
from factcensus.indexer import CountIndex
from factcensus.indexer.infini_gram.language_model import NgramModel


class Models:
    """Opens one model per index, and a new one if another index takes its name; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[CountIndex, NgramModel]] = {}

    def of(self, index: CountIndex) -> NgramModel:
        """Return the model of an open index.

        Raises:
            MissingExtraError: The package infini-gram is not installed.
            InputError: The engine cannot use this index; the message has the reason.
        """
        with self._lock:
            known = self._opened.get(index.name)
            if known is not None and known[0] is index:
                return known[1]
            model = NgramModel.open(index)
            self._opened[index.name] = index, model
            return model

    def keep_only(self, catalog: Catalog) -> None:
        """Drop the models of indexes that are no longer served; running queries keep theirs."""
        served = catalog.indexes
        with self._lock:
            self._opened = {name: opened for name, opened in self._opened.items() if opened[0] in served}

    def close(self) -> None:
        """Close the engines; a model is opened again on its next use."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1][1].close()
