"""Passages of the corpus for the report, fetched from a running service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passages:
    """A running service and the index in which passages are searched."""

    url: str
    index: str

    def of(self, subject: str, thing: str) -> str:
        """Return a passage that contains both names if there is one, otherwise a passage of a document with both names.

        The words are shown as the analyzer of the index writes them. Empty if no document has both names.
        """
        from factcensus.api.client import Client
        from factcensus.indexer.records import Entity

        with Client(self.url) as client:
            pages = client.documents(self.index, subject=Entity(subject), object=Entity(thing), limit=1)
            passages = [passage for document in next(pages).documents for passage in document.passages]
        both = [each for each in passages if {"subject", "object"} <= {span.mention for span in each}]
        return "".join(span.text for span in (both or passages or [[]])[0])
