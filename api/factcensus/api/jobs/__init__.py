"""Tables too large for one answer: counted in the background, kept in DuckDB, fetched when they are done.

``records.py`` says what a job is, ``store.py`` keeps it, ``runner.py`` counts it, ``routes.py`` is its HTTP.
"""
