"""Attacks that try to recover unlearned answers, one module each; :mod:`.run` runs them."""
