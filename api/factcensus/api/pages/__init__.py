"""The web pages: one fact at ``/``, a table of facts at ``/tables``, the reference at ``/docs``.

They are rendered on the server, work offline and without scripts, and load no other files.
"""
