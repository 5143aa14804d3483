"""Names that stand in the tables of a run folder."""

from __future__ import annotations

#: The method name of the model before unlearning, and the points at which a model is asked.
ORIGINAL, BEFORE, AFTER = "original", "before", "after"
#: The method name of a model that was trained without the forget people.
ORACLE = "retrained"
#: The column with the count that everything is compared with; of a run that chose another count column, a copy of it.
COUNT = "cooccurrence_documents"
