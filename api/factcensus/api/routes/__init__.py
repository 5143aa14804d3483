"""The routes of /v1, one module per group; each validates, calls the index and shapes the answer."""
