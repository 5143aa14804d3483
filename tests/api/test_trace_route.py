"""The route that finds the spans of a text in the corpus."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from factcensus.api.client import Client
from factcensus.indexer import CountIndex

ROUTE = "/v1/indexes/tiny/trace"
OUTPUT = "We know that Curie was born in Warsaw, and that Paris is the capital of France."


def test_the_answer_is_that_of_the_index(http: httpx.Client, index: CountIndex) -> None:
    answer = http.post(ROUTE, json={"text": OUTPUT, "least_tokens": 2}).json()
    assert answer == index.trace(OUTPUT, least_tokens=2, documents=1)
