"""``factcensus reproduce questions``: questions that the paper left open, tested in invented worlds.

docs/questions.md registers the design, the statistic, the margin and the power of each question, and has the results.
"""
