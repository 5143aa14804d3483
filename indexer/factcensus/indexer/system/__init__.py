"""Processes, progress display and console output."""
