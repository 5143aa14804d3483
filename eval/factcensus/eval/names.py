"""Names used in the tables of a run folder."""

from __future__ import annotations

#: The method name of the model before unlearning, and the points at which a model is asked.
ORIGINAL, BEFORE, AFTER = "original", "before", "after"
#: The method name of a model that was trained without the forget set.
ORACLE = "retrained"
#: The count column used in all comparisons; a copy of the chosen column if a run uses another one.
COUNT = "cooccurrence_documents"
#: The forms of asking that statistics compare: the one that unlearning trains on, and one that it does not.
MAIN_FORMS = ("question", "cloze")
