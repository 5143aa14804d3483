"""Serving an index whose slices other services have: every answer is the sum of theirs, or an error.

:mod:`adding` adds answers, :mod:`index` asks the slices, and :mod:`source` finds, checks and follows them.
"""
