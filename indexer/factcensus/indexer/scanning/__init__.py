"""The numbers of an index from one pass over the text, without an index."""
