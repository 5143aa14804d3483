"""Comparisons with other programs (peers) on the same bytes in the same run: medians and ratios, no tests."""
