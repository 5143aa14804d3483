"""The public infini-gram API's wire format at ``POST /``, answered from our indexes: a client changes one URL.

``wire`` says what a request may hold and how a refusal looks, ``tokens`` what a query is taken as, ``queries`` answers
each query type, ``cnf`` counts what AND and OR mean, ``documents`` shows a document, ``replication`` counts facts as a
published notebook did, and ``routes`` is where HTTP ends.
"""
