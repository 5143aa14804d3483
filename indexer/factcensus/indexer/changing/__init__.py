"""Deletion and its record, slices, verification: these modules open the index that they change or check."""
