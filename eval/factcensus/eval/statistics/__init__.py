"""Per-fact outcomes, and what can honestly be said of them: intervals, slopes, odds, agreement, seeds."""
