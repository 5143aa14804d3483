"""Places: where files lie, local paths and URLs of other file systems, behind one interface.

:mod:`place` opens, lists and writes them; :mod:`protocols` has the known protocols, access options and redaction;
:mod:`failures` explains and retries failures. No driver is imported before a place of its protocol is used.
"""

from factcensus.indexer.system.places.failures import NoFileError, PlaceError
from factcensus.indexer.system.places.place import FileFacts, Place, read_ranges
from factcensus.indexer.system.places.protocols import NO_OPTIONS, Access, is_url, redact

__all__ = ["NO_OPTIONS", "Access", "FileFacts", "NoFileError", "Place", "PlaceError", "is_url", "read_ranges", "redact"]
