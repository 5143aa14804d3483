"""The public infini-gram API's wire format at ``POST /``, for the indexes of this service; clients change only the URL.

``wire`` checks requests and defines refusals, ``tokens`` tokenizes queries, ``queries`` answers each query type,
``cnf`` counts clauses with AND and OR, ``documents`` shows documents, and ``replication`` counts facts like a published
notebook.
"""
