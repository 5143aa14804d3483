"""Background jobs that count large tables; their tables and results are stored in DuckDB.

``records.py`` defines a job, ``incoming.py`` makes one of a table, ``store.py`` stores it, and ``runner.py`` counts it.
"""
