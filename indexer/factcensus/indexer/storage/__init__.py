"""Files of an index: layout, manifest, stored words and counts, documents, deletion, verification."""
