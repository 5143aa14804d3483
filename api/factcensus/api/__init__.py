"""The service: counts, documents and fact tables over HTTP, and the client."""

import factcensus.indexer  # noqa: F401  (gives the namespace its __version__)
