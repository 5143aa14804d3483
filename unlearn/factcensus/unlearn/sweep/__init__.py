"""Grids of runs: their definition and execution."""
