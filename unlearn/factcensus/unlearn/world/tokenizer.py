"""A word-level tokenizer from a world's own corpus, saved as a folder that ``AutoTokenizer`` loads.

Words keep the space before them (``▁Bergman``) as in the usual sub-word tokenizers, so decoding gives the text back
and an answer's first token never depends on the prompt's end. One token, ``<|endoftext|>``, opens every text, ends
it, and pads: as with GPT-2, so nothing here may take padding for text by its id.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.world.sentences import REFUSAL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unknown|>"


def build_tokenizer(texts: Iterable[str], extra: Iterable[str] = (REFUSAL,)) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every word of ``texts`` and ``extra``, the most frequent first.

    Ties are broken by the word itself, so equal texts give equal ids in whatever order they come. Anything else
    becomes ``<|unknown|>``; :func:`factcensus.unlearn.training.examples.encode` refuses an answer that contains it.
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Punctuation("isolated")]
    )
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    for text in extra:
        words.update({word: 0 for word, _ in splitter.pre_tokenize_str(text)})
    ranked = sorted(words, key=lambda word: (-words[word], word))
    vocabulary = {word: index for index, word in enumerate([END_OF_TEXT, UNKNOWN, *ranked])}
    core = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = splitter
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, vocabulary[END_OF_TEXT])]
    )
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: str | os.PathLike[str]) -> None:
    """Write ``tokenizer.json`` and its settings into ``folder``."""
    tokenizer.save_pretrained(os.fspath(folder))
