"""Metrics: cards (:mod:`.cards`), metrics of the token record (:mod:`.record`) and of texts (:mod:`.texts`)."""
