"""Counting in open shards: search, mentions, pairs and tables of facts; restrictions to documents and time limits."""
