"""``factcensus reproduce olmo`` and ``pythia``: studies of pre-trained models whose corpus has a public index.

``studies`` names models and indexes, ``facts`` makes the fact table, ``files`` writes configurations and commands, and
``tiny`` makes small stand-ins for all of it, with which ``--size smoke`` runs the same commands.
"""
