"""Results of other code as run folders that the report can pool and compare.

========================  ==========================================================================================
``open-unlearning``       ``*_EVAL.json`` of OpenUnlearning: per question, its probability and generation
``paper``                 ``results.jsonl`` of the code of "Not All Data Are Unlearned Equally": means per checkpoint
``table``                 CSV, JSON Lines or Parquet of one's own, a row a fact
========================  ==========================================================================================
"""

from factcensus.eval.imports.importing import FORMATS, import_results, source_of
from factcensus.eval.imports.results import Source

__all__ = ["FORMATS", "Source", "import_results", "source_of"]
