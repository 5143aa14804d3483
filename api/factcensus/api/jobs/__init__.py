"""Background jobs that count large tables; their tables and results are stored in DuckDB.

``records.py`` defines a job, ``store.py`` stores it, ``runner.py`` counts it, and ``routes.py`` has its HTTP routes.
"""
