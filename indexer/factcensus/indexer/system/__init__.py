"""Files written whole, locks, worker processes, progress and console output."""
