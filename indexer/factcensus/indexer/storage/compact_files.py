"""The files ``text.N`` and ``lists.N`` of a shard in the layout ``compact``.

Both have several arrays (:mod:`sections`), which ``kernels/compact_text.py`` and ``kernels/compact_lists.py`` describe.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.kernels.bits import decode_elias_fano, elias_fano_bits, write_elias_fano
from factcensus.indexer.kernels.compact_lists import GROUPED, Codes, Lists
from factcensus.indexer.kernels.compact_text import BLOCK, CLASSES, POINTED, Text
from factcensus.indexer.kernels.permutation import permutation_of
from factcensus.indexer.storage.manifest import FileRecord
from factcensus.indexer.storage.sections import read_sections, write_sections

#: The first bytes of the files.
TEXT_KIND, LISTS_KIND = b"fctext1\n", b"fclists1"
_TEXT_TYPES = ("<u8", "<u8", "<u2", "<u8", "<u8")
_LISTS_TYPES = ("<u8", "<u8", "<u4", "<u4", "<u8", "<u4", "<u4", "<u8", "<u8", "<u8", "<u4", "<u8")


class CompactText(NamedTuple):
    """The content of both files.

    Attributes:
        text: The text by codes.
        lists: The blocks of each code.
        codes: The codes of token ids.
        starts: int64 (documents,): the position of the separator of each document.
        token_bytes: Width of the token ids of the index: 1, 2 or 4.
    """

    text: Text
    lists: Lists
    codes: Codes
    starts: npt.NDArray[np.int64]
    token_bytes: int


def write_compact(folder: Path, number: int, content: CompactText) -> dict[str, FileRecord]:
    """Write the two files of a shard."""
    text, lists, codes = content.text, content.lists, content.codes
    starts = np.zeros((elias_fano_bits(len(content.starts), text.size) >> 6) + 2, np.uint64)
    write_elias_fano(starts, 0, text.size, content.starts)
    names = f"text.{number}", f"lists.{number}"
    records = (
        write_sections(
            folder / names[0],
            TEXT_KIND,
            [text.size, len(content.starts), content.token_bytes, *text.widths.tolist(), *text.bases.tolist()],
            [text.planes, text.pointers, text.offsets, text.payload, starts],
        ),
        write_sections(
            folder / names[1],
            LISTS_KIND,
            [lists.alphabet, lists.frequent, lists.blocks, codes.types, codes.known],
            [*lists[:7], codes.present, *codes.codes[:4]],
        ),
    )
    return dict(zip(names, records, strict=True))


def read_compact(folder: Path, number: int) -> CompactText:
    """Map the two files of a shard.

    Raises:
        IndexFormatError: The files are damaged, or do not match.
    """
    path = folder / f"text.{number}"
    numbers, (planes, pointers, offsets, payload, starts) = read_sections(path, TEXT_KIND, _TEXT_TYPES)
    lists_path = folder / f"lists.{number}"
    parameters, arrays = read_sections(lists_path, LISTS_KIND, _LISTS_TYPES)
    try:
        size, documents, token_bytes = numbers[:3]
        widths, bases = np.array(numbers[3:11], np.int64), np.array(numbers[11:20], np.int64)
        alphabet, frequent, blocks, types, known = parameters
    except (ValueError, OverflowError) as error:
        raise IndexFormatError(f"{path} is damaged; run 'factcensus index verify'") from error
    text = Text(planes, pointers, offsets, payload, widths, bases, size)
    words, list_offsets, values, firsts, counts, counts_at, pairs, present, images, marks, ranks, links = arrays
    lists = Lists(words, list_offsets, values, firsts, counts, counts_at, pairs, alphabet, frequent, blocks)
    codes = Codes(present, permutation_of(images, marks, ranks, links, known + 1), types, known)
    _check(path, text, documents, token_bytes)
    _check_lists(lists_path, lists, codes, -(-size // BLOCK))
    return CompactText(text, lists, codes, _decode_starts(path, starts, documents, size), token_bytes)


def _check(path: Path, text: Text, documents: int, token_bytes: int) -> None:
    """Check the sizes on which compiled code relies."""
    blocks = -(-text.size // BLOCK)
    payload_bits = 64 * (text.payload.size - 1)
    fits = (
        text.size > 0
        and 0 < documents <= text.size
        and token_bytes in (1, 2, 4)
        and text.planes.size == 3 * blocks
        and text.offsets.size == blocks
        and text.pointers.size == -(-blocks // POINTED)
        and len(text.widths) == CLASSES
        and len(text.bases) == CLASSES + 1
        and bool((text.widths <= 32).all() and (np.diff(text.bases) >= 0).all())
        and int(text.pointers.max()) <= payload_bits
    )
    if not fits:
        raise IndexFormatError(f"{path} is damaged; run 'factcensus index verify'")


def _check_lists(path: Path, lists: Lists, codes: Codes, blocks: int) -> None:
    number = lists.alphabet + lists.frequent**2
    fits = (
        lists.blocks == blocks
        and lists.alphabet == codes.known + 1
        and codes.known <= codes.types
        and lists.frequent <= lists.alphabet
        and lists.offsets.size == -(-number // GROUPED)
        and lists.counts_at.size == -(-lists.alphabet // GROUPED)
        and lists.pairs.size == lists.frequent**2
        and lists.values.size == lists.firsts.size > 0
        and int(lists.firsts[0]) == 0
        and codes.codes.images.size == (codes.codes.size * codes.codes.width >> 6) + 2
        and codes.codes.marks.size == (codes.codes.size >> 6) + 2
        and (codes.present.size > 0) == (codes.known < codes.types)
    )
    if not fits:
        raise IndexFormatError(f"{path} does not match the text of its shard; copy the index again or rebuild it")


def _decode_starts(path: Path, words: Array, documents: int, size: int) -> npt.NDArray[np.int64]:
    starts = np.empty(documents, np.int64)
    enough = words.size >= (elias_fano_bits(documents, size) >> 6) + 2
    if not enough or decode_elias_fano(words, 0, documents, size, starts) < documents or starts[0]:
        raise IndexFormatError(f"{path} is damaged: documents are out of order; run 'factcensus index verify'")
    if np.any(starts[1:] <= starts[:-1]):
        raise IndexFormatError(f"{path} is damaged: documents are out of order; run 'factcensus index verify'")
    return starts
