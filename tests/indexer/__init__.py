"""Tests of ``factcensus.indexer``: every number next to a slow, obvious reading of the contract."""
