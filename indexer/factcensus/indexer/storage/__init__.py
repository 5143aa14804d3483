"""What lies on the disk: layout, manifest, stored words and counts, documents, deletion, verification."""
