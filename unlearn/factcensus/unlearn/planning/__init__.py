"""Estimates of memory, operations, time and energy."""
