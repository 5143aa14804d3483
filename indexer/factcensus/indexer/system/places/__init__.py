"""Places: local paths and URLs of other file systems, behind one interface.

:mod:`place` opens, lists and writes them; :mod:`ranges` reads many parts at once; :mod:`protocols` has the known
protocols, access options and redaction; :mod:`failures` explains and retries failures. No driver is imported before a
place of its protocol is used.
"""

from factcensus.indexer.system.places.failures import NoFileError, PlaceError
from factcensus.indexer.system.places.place import FileFacts, Place
from factcensus.indexer.system.places.protocols import NO_OPTIONS, Access, is_url, redact
from factcensus.indexer.system.places.ranges import ChangedFileError, Stamp, read_ranges

__all__ = [
    "NO_OPTIONS",
    "Access",
    "ChangedFileError",
    "FileFacts",
    "NoFileError",
    "Place",
    "PlaceError",
    "Stamp",
    "is_url",
    "read_ranges",
    "redact",
]
