"""Loading the analyzer of an index, which must have the name and version that analysed its text."""

from __future__ import annotations

from pathlib import Path

from factcensus.indexer.analyzers import Analyzer, get_analyzer
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.manifest import TOKENIZER, Manifest


def load_analyzer(index: Path, manifest: Manifest) -> Analyzer:
    """Load the analyzer with which an index was built.

    Raises:
        IndexFormatError: This version of factcensus has another version of the analyzer, which splits text into
            different tokens; the index must be rebuilt.
    """
    chosen: Analyzer
    if TOKENIZER in manifest.files:
        from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer

        chosen = HuggingFaceAnalyzer(str(index / TOKENIZER), shown_as=manifest.analyzer)
    else:
        chosen = get_analyzer(manifest.analyzer)
    if chosen.label != manifest.analyzer_label:
        raise IndexFormatError(
            f"{index} was built with {manifest.analyzer_label}, but this version of factcensus has {chosen.label}; "
            "rebuild it from its corpus with 'factcensus index build'"
        )
    return chosen
