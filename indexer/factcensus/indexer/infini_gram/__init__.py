"""Indexes built by infini-gram, and its language-model queries."""
