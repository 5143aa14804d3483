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

        If the index keeps no text, the passage is marked as normalised words. Empty if no document has both names.
        """
        from factcensus.api.client import Client
        from factcensus.indexer.records import Entity

        with Client(self.url) as client:
            pages = client.documents(self.index, subject=Entity(subject), object=Entity(thing), limit=1)
            documents = next(pages).documents
        passages = [passage for document in documents for passage in document.excerpts]
        both = [each for each in passages if {"subject", "object"} <= {span.mention for span in each}]
        text = "".join(span.text for span in (both or passages or [[]])[0])
        return f"{text} (normalised words)" if text and not documents[0].original else text
