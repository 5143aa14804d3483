"""The served indexes: opening, following changes, warm-up, cached responses and timeouts."""
