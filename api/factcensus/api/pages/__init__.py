"""The pages for people: one fact at ``/``, a table of facts at ``/tables``, the reference at ``/docs``.

They are made on the server, work offline and without scripts, and load nothing: style and script are in the page.
"""
