"""Atomic file writes, locks, worker processes, progress and console output."""
