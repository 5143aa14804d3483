"""Bodies and files with fact tables, decoded in processes of their own: a crash there costs one request.

Arrow and Parquet have decoders in C++ that trust some of what they read, and in every format a small body can hold a
large table. So the service itself decodes none. A process that has everything imported (``process.py``) forks for each
body. The fork has limits on memory, time and files. It reads the table (``tables.py``), turns its columns into plain
types (``plain.py``), and sends them back as bare buffers (``wire.py``), which the service checks (``decoders.py``).
``bounds.py`` states how much a table may hold.

A fork takes 1.6 ms. A process kept for several bodies would take less, but a body that took it over could change the
tables of others. Checking all metadata before Arrow reads it lost as well: it would be a second reader of two formats.
"""
