"""Loading the analyzer of an index, which must have the name and version that analysed its text."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer, get_analyzer
from factcensus.indexer.errors import IndexFormatError, InputError
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


def fixed_analyzer(name: str, token_bytes: int, folder: object) -> FixedAnalyzer:
    """Return the analyzer with this name for an index without a vocabulary; ``folder`` names it in messages.

    Raises:
        InputError: The analyzer needs a vocabulary, or has more ids than fit the index.
    """
    chosen = get_analyzer(name)
    if chosen.has_vocabulary:
        raise InputError(f"{folder} has no vocabulary, so the analyzer {name} cannot read it; give hf:… or bytes")
    fixed = cast(FixedAnalyzer, chosen)
    # The largest id of a width separates documents. The byte 255 is that id, but it never occurs in UTF-8.
    if fixed.vocabulary_size > 256**token_bytes - (token_bytes > 1):
        raise InputError(
            f"{folder} has token ids of {token_bytes} bytes, too few for the analyzer {name}; give another --analyzer"
        )
    return fixed
