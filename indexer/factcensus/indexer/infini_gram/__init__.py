"""Indexes that infini-gram built, and its language-model queries."""
