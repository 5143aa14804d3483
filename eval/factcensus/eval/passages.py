"""Passages of the corpus for the report, from a running service where one is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passages:
    """Where passages are asked for: a running service and one of its indexes."""

    url: str
    index: str

    def of(self, subject: str, thing: str) -> str:
        """A passage of a document with both names, one that shows both where there is one; empty without a document.

        Its words are as the index's analyzer has them.
        """
        from factcensus.api.client import Client
        from factcensus.indexer.records import Entity

        with Client(self.url) as client:
            pages = client.documents(self.index, subject=Entity(subject), object=Entity(thing), limit=1)
            passages = [passage for document in next(pages)["documents"] for passage in document["passages"]]
        both = [each for each in passages if {"subject", "object"} <= {span["mention"] for span in each}]
        return "".join(span["text"] for span in (both or passages or [[]])[0])
