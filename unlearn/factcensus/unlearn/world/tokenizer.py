"""A word-level tokenizer of a world's corpus, saved as a folder that ``AutoTokenizer`` loads.

Words include the space before them (``▁Bergman``), as in common sub-word tokenizers. Decoding therefore restores the
text, and the first token of an answer never depends on the end of the prompt. As in GPT-2, one token,
``<|endoftext|>``, opens, ends and pads texts, so no code may identify padding by its id.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from factcensus.unlearn.world.sentences import REFUSAL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unknown|>"


def build_tokenizer(texts: Iterable[str], extra: Iterable[str] = (REFUSAL,)) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose vocabulary has all words of ``texts`` and ``extra``, most frequent first.

    Ties are sorted alphabetically, so ids do not depend on the order of texts. Other words become ``<|unknown|>``;
    :func:`factcensus.unlearn.training.examples.encode` refuses answers that contain it.
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


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Write ``tokenizer.json`` and its settings to ``folder``."""
    tokenizer.save_pretrained(os.fspath(folder))
