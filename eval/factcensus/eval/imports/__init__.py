"""Import of results from other code as run folders that the report can pool and compare.

========================  ==========================================================================================
``open-unlearning``       ``*_EVAL.json`` of OpenUnlearning: probability and generation for each question
``tofu``                  ``eval_log_aggregated.json`` of the TOFU code: losses and generation for each question
``paper``                 ``results.jsonl`` of the code of "Not All Data Are Unlearned Equally": means per checkpoint
``table``                 your own CSV, JSON Lines or Parquet table, one row per fact
========================  ==========================================================================================
"""

from factcensus.eval.imports.importing import FORMATS, import_results, source_of
from factcensus.eval.imports.results import Source

__all__ = ["FORMATS", "Source", "import_results", "source_of"]
