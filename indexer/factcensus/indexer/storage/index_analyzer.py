"""The analyzer of an index: it must be the one, in name and version, that analysed the index's text."""

from __future__ import annotations

from pathlib import Path

from factcensus.indexer.analyzers import Analyzer, get_analyzer
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.manifest import TOKENIZER, Manifest


def load_analyzer(index: Path, manifest: Manifest) -> Analyzer:
    """Load the analyzer that an index was built with.

    Raises:
        IndexFormatError: this version of factcensus has another version of it, which takes the same text as other
            tokens; the index must be built again.
    """
    chosen: Analyzer
    if TOKENIZER in manifest.files:
        from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer

        chosen = HuggingFaceAnalyzer(str(index / TOKENIZER), shown_as=manifest.analyzer)
    else:
        chosen = get_analyzer(manifest.analyzer)
    if chosen.label != manifest.analyzer_label:
        raise IndexFormatError(
            f"{index} was built with {manifest.analyzer_label}, this version of factcensus has {chosen.label}; "
            "rebuild it from its corpus with 'factcensus index build'"
        )
    return chosen
