"""``factcensus reproduce olmo`` and ``pythia``: studies of pre-trained models whose corpus has a public index.

``studies`` names models and indexes. ``facts`` makes the fact table of the results of queries, and ``given`` that of
the user's tables. ``files`` writes configurations and commands. ``tiny`` makes small stand-ins for all of it, and
``--size smoke`` runs the same commands with them.
"""
