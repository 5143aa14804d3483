"""The service, which returns counts, documents and fact tables over HTTP, and its client."""

import factcensus.indexer  # noqa: F401  (gives the namespace its __version__)
