"""Attacks: whether what a model no longer says can be brought back. One module an attack, :mod:`.run` runs them."""
