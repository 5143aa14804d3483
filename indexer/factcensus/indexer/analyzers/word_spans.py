"""The characters of a text from which its words were made, found by analysing parts of the text again.

Normalisation changes the number of characters, so the scanner does not know where its words come from. A text is cut
where no word and no normalisation can cross, first into long sections, whose words the compiled scanner counts, then
into short ones. Only the short sections with wanted words are analysed in detail.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from factcensus.indexer.analyzers.words import WordsAnalyzer

#: Characters of a section that the scanner counts, at least, and sections that it counts at once.
_SECTION_CHARACTERS, _SECTIONS = 512, 256
#: Before these characters, no word and no normalisation continues: ASCII, and letters that are words by themselves and
#: never combine with the character before them (Han, Hiragana, Katakana, Thai).
_SAFE = (
    "[\\x00-\\x22\\x24-\\x2a\\x2c-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7f"
    "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\u0e01-\u0e2e]"
)
_BEFORE_SAFE = re.compile(f"(?={_SAFE})")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:[+#]++(?![A-Za-z0-9]))?")

Spans = dict[int, tuple[int, int]]


def word_spans(analyzer: WordsAnalyzer, text: str, wanted: Sequence[int]) -> Spans:
    """Return the start and end in ``text`` of the words with these numbers.

    A character from which two words are made (¼) belongs to both. Marks that are removed belong to the word before.

    Raises:
        ValueError: The text has fewer words.
    """
    left = sorted(set(wanted))
    found: Spans = {}
    for begin, end, first, last in _counted(analyzer, text):
        here = left[: bisect_left(left, last)]
        if here:
            for start, stop, before, numbers in _sections_with(analyzer, text[begin:end], [n - first for n in here]):
                spans = _spans_in(text[begin + start : begin + stop], analyzer.tokens, [n - before for n in numbers])
                found |= {
                    first + n: (begin + start + low, begin + start + high)
                    for n, (low, high) in zip(numbers, spans, strict=True)
                }
            del left[: len(here)]
        if not left:
            return found
    if left:
        raise ValueError(f"the text has no word {left[0]}")
    return found


def _counted(analyzer: WordsAnalyzer, text: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield the sections of a text: start, end, number of the first word, and number after the last word."""
    import pyarrow as pa

    encoder = analyzer.encoder()
    words = 0
    cuts = list(_cuts(text))
    for first in range(0, len(cuts) - 1, _SECTIONS):
        part = cuts[first : first + _SECTIONS + 1]
        sections = [text[begin:end].encode() for begin, end in pairwise(part)]
        _, lengths = encoder.encode(pa.array(sections, pa.large_binary()))
        for (begin, end), count in zip(pairwise(part), lengths.tolist(), strict=True):
            yield begin, end, words, words + count
            words += count


def _cuts(text: str) -> Iterator[int]:
    yield 0
    at = 0
    while found := _BEFORE_SAFE.search(text, at + _SECTION_CHARACTERS):
        at = found.start()
        if at == len(text):
            break
        yield at
    if text:
        yield len(text)


def _sections_with(
    analyzer: WordsAnalyzer, text: str, wanted: Sequence[int]
) -> Iterator[tuple[int, int, int, list[int]]]:
    """Yield each short section with wanted words: start, end, number of words before it, and its wanted words."""
    cuts = sorted({0, *(found.start() for found in _BEFORE_SAFE.finditer(text)), len(text)})
    counts = [len(analyzer.tokens(text[begin:end])) for begin, end in pairwise(cuts)]
    before = list(accumulate(counts, initial=0))
    numbers = np.array(wanted)
    for section in np.unique(np.searchsorted(before, numbers, side="right") - 1).tolist():
        inside = numbers[(numbers >= before[section]) & (numbers < before[section + 1])].tolist()
        yield cuts[section], cuts[section + 1], before[section], inside


def _spans_in(text: str, tokens: Callable[[str], list[str]], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """Return the spans of some words of a short text."""
    if text.isascii():
        words = list(_ASCII_WORD.finditer(text))
        return [words[number].span() for number in wanted]
    every = tokens(text)
    found = []
    for number in wanted:

        def ends_by(end: int, number: int = number) -> bool:
            return tokens(text[:end])[: number + 1] == every[: number + 1]

        def starts_after(start: int, number: int = number) -> bool:
            return tokens(text[start:])[-len(every) + number :] != every[number:]

        end = bisect_left(range(len(text)), True, key=ends_by)
        unsigned = len(text[:end].rstrip("+#"))
        if unsigned < end and ends_by(unsigned):  # in a+b, the end of "a" is found again after "b"
            end = unsigned
        start = bisect_left(range(end), True, key=lambda at: starts_after(at + 1))
        while end < len(text) and unicodedata.category(text[end]) in ("Mn", "Me", "Cf"):
            end += 1
        found.append((start, end))
    return found
