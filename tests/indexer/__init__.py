"""Tests of ``factcensus.indexer``, which compare every number with a slow, simple reference implementation."""
