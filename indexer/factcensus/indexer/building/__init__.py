"""Building an index: corpus files to spools, to sorted shards, to a folder that appears in one step."""
