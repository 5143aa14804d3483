"""Building an index on many machines: the same bytes as :mod:`factcensus.indexer.building.build` makes on one.

The stages are those of a local build, cut into units of a work folder (:mod:`factcensus.indexer.work`):

``spool``
    One unit per corpus file: its token ids, document rows, words, and the digests of its texts in order.
``merge``
    One unit per group of files merges their words in first-seen order. This order is associative, so a tree of merges
    gives the ids that one pass over all files would give. One unit per bucket of digests finds repeated documents.
``root``
    One unit merges the words of all groups, writes the vocabulary, and decides which documents each shard gets.
``shards``
    One unit per shard writes all its files to the index.
``seal``
    One unit writes the manifest, with which the index appears.

:mod:`job` divides the work, :mod:`units` has the functions of the units, and :mod:`objects` their files.
"""
