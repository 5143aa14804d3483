"""Metrics: what each is (:mod:`.cards`), those of the token record (:mod:`.record`), those of texts (:mod:`.texts`)."""
