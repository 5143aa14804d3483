"""Outcomes of facts and the statistics on them: intervals, slopes, odds, agreement, seeds."""
