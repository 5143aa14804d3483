"""Serving an index whose slices other services hold: every answer is the sum of their answers, or an error.

:mod:`adding` adds answers, :mod:`index` asks the slices, and :mod:`source` finds, checks and follows them.
"""
