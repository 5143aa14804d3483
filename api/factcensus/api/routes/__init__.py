"""The routes of /v1, one module per group; each validates the request, calls the index and builds the response."""
