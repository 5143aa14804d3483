"""Building an index: from corpus files to spool files, sorted shards, and a folder that appears in one step."""
