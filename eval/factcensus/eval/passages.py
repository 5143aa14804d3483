"""Passages of the corpus for the report, from a running service where one is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passages:
    """Where passages are asked for: a running service and one of its indexes."""

    url: str
    index: str

    def of(self, subject: str, thing: str) -> str:
        """One passage with both names, the shortest way to see what the model read; empty if there is none."""
        from factcensus.api.client import Client
        from factcensus.indexer.records import Entity

        with Client(self.url) as client:
            pages = client.documents(self.index, subject=Entity(subject), object=Entity(thing), limit=1)
            for document in next(pages)["documents"]:
                for passage in document["passages"]:
                    return "".join(span["text"] for span in passage)
        return ""
