"""Decoding of bodies and files with fact tables in separate processes, so that a crash costs one request.

The C++ decoders of Arrow and Parquet trust parts of their input, and in every format a small body can contain a large
table. So the service decodes no tables itself. A process that has everything imported (``process.py``) forks for each
body. The fork has limits on memory, time and files. It reads the table (``tables.py``), converts its columns to plain
types (``plain.py``), and sends them back as raw buffers (``wire.py``), which the service checks (``decoders.py``).
``bounds.py`` has the limits on a table.

A fork takes 1.6 ms. A process for several bodies would be faster, but a body that compromised it could change the
tables of others. Checking all metadata before Arrow reads it was rejected too: it would be a second reader for two
formats.
"""
