"""Counting in opened shards: search, mentions and pairs, tables of facts; in which documents, and for how long."""
