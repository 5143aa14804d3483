"""Processes, progress and the console: what the other packages need of the operating system."""
