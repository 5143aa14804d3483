"""Compiled reading of bit streams and of sorted sets of integers in them.

A bit stream is an array of uint64, least significant bit first, with one more word at its end than it needs. A *set* of
n distinct integers below a bound has the shorter of two forms:

* **bitmap**: one bit per integer below the bound.
* **Elias-Fano**: with ``low = floor(log2(bound / n))``, first the ``low`` lowest bits of every integer, then one bit
  string with the others in unary: integer number i with the high bits h sets bit h + i. Before both, there are 32 bits
  per ``SKIP`` words of the bit string except the first: the number of integers in the words before. Elias (1974),
  Fano (1971).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import Lazy, compiled

#: Words of the unary bit string between two skip entries.
SKIP = 64
#: Zero bits before and after a bitmap in memory, so that a range around an integer needs no check of its ends.
PADDING = 256


def _instruction(name: str, *flags: int) -> Lazy:
    """Return an instruction on a uint64, with an int64 as its result; ``name`` is a method of LLVM's builder."""

    def make() -> Any:
        from llvmlite import ir  # type: ignore[import-untyped]  # it has no stubs
        from numba.core import types
        from numba.extending import intrinsic

        def instruction(typing: Any, word: Any) -> Any:
            del typing, word

            def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
                return getattr(builder, name)(arguments[0], *(ir.Constant(ir.IntType(1), flag) for flag in flags))

            return types.int64(types.uint64), generate

        return intrinsic(instruction)

    return Lazy(make)


def _access(bits: int) -> Lazy:
    """Return an instruction that loads an integer from an address, as uint64 or for fewer bits as int64."""

    def make() -> Any:
        from llvmlite import ir
        from numba.core import types
        from numba.extending import intrinsic

        def load(typing: Any, address: Any) -> Any:
            del typing, address

            def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
                pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
                value = builder.load(pointer, align=1)
                return value if bits == 64 else builder.zext(value, ir.IntType(64))

            return (types.uint64 if bits == 64 else types.int64)(types.int64), generate

        return intrinsic(load)

    return Lazy(make)


def _make_address() -> Any:
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def address_of(typing: Any, array: Any) -> Any:
        del typing

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            return builder.ptrtoint(data, ir.IntType(64))

        return types.int64(array), generate

    return intrinsic(address_of)


def _make_prefetch() -> Any:
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def prefetch(typing: Any, address: Any) -> Any:
        del typing, address

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            signature_of_call = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [byte], signature_of_call)
            pointer = builder.inttoptr(arguments[0], byte)
            builder.call(function, [pointer, number(0), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return intrinsic(prefetch)


#: The number of set bits; the position of the lowest set bit, and the number of zero bits above the highest one, both
#: 64 for zero.
popcount: Any = _instruction("ctpop")
lowest_bit: Any = _instruction("cttz", 0)
leading_zeros: Any = _instruction("ctlz", 0)
#: ``address_of(array)`` returns the address of a contiguous array. Arrays that an inlined function takes in an inner
#: loop can cost more than everything else, because Numba counts references to them; addresses cost nothing.
address_of: Any = Lazy(_make_address)
#: The integer at an address: uint64, or int64 with the value of a uint32, uint16 or uint8.
load_64: Any = _access(64)
load_32: Any = _access(32)
load_16: Any = _access(16)
load_8: Any = _access(8)
#: ``prefetch(address)`` asks the processor to load what is needed soon.
prefetch: Any = Lazy(_make_prefetch)


@compiled(inline="always")
def word_at(words: Any, at: Any) -> Any:
    """Return the 64 bits that begin at bit ``at``, as uint64."""
    shift = np.uint64(at & 63)
    following = (words[(at >> 6) + 1] << np.uint64(1)) << (np.uint64(63) - shift)
    return words[at >> 6] >> shift | following


@compiled(inline="always")
def bits_at(words: Any, at: Any, width: Any) -> Any:
    """Return the ``width`` bits (at most 63) that begin at bit ``at``, as int64."""
    shift = np.uint64(at & 63)
    following = (words[(at >> 6) + 1] << np.uint64(1)) << (np.uint64(63) - shift)
    mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
    return np.int64((words[at >> 6] >> shift | following) & mask)


@compiled(inline="always")
def bits_from(address: Any, at: Any, width: Any) -> Any:
    """Run :func:`bits_at` for the words at an address and at most 57 bits."""
    mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
    return np.int64((load_64(address + (at >> 3)) >> np.uint64(at & 7)) & mask)


@compiled(inline="always")
def word_from(address: Any, at: Any) -> Any:
    """Run :func:`word_at` for the words at an address."""
    word, shift = address + (at >> 6 << 3), np.uint64(at & 63)
    return load_64(word) >> shift | (load_64(word + 8) << np.uint64(1)) << (np.uint64(63) - shift)


@compiled(inline="always")
def set_bits(words: Any, at: Any, value: Any) -> None:
    """Write the set bits of an integer below 2**63 from bit ``at`` on, where all bits are still 0."""
    shift = np.uint64(at & 63)
    words[at >> 6] |= np.uint64(value) << shift
    words[(at >> 6) + 1] |= (np.uint64(value) >> np.uint64(1)) >> (np.uint64(63) - shift)


@compiled(inline="always")
def bit_length(value: Any) -> Any:
    """Return the number of bits of an integer of at least 0."""
    return 64 - leading_zeros(np.uint64(value))


@compiled()
def low_bits(count: Any, bound: Any) -> Any:
    """Return the number of low bits of an Elias-Fano set: the largest one with ``count << low <= bound``, or 0."""
    low = bit_length(bound) - bit_length(max(1, count))  # a division would take longer than everything else here
    if low > 0 and (count << low) > bound:
        low -= 1
    return max(0, low)


@compiled()
def skips(count: Any, bound: Any, low: Any) -> Any:
    """Return the number of skip entries of a set."""
    return ((count + ((bound - 1) >> low) + 63) // 64 - 1) // SKIP


@compiled()
def elias_fano_bits(count: Any, bound: Any) -> Any:
    """Return the size in bits of an Elias-Fano set of ``count`` integers below ``bound``."""
    if count == 0:
        return 0
    low = low_bits(count, bound)
    return 32 * skips(count, bound, low) + count * low + count + ((bound - 1) >> low)


@compiled()
def set_size(count: Any, bound: Any) -> Any:
    """Return the size in bits of a set in its shorter form; it is a bitmap if the size is ``bound``."""
    return min(bound, elias_fano_bits(count, bound))


@compiled()
def decode_set(words: Array, at: Any, count: Any, bound: Any, out: Array) -> Any:
    """Write the integers of a set to ``out``, and return how many there are (fewer than ``count`` if it is damaged)."""
    found = 0
    if set_size(count, bound) == bound:
        for base in range(0, bound, 64):
            word = word_at(words, at + base)
            if bound - base < 64:
                word &= (np.uint64(1) << np.uint64(bound - base)) - np.uint64(1)
            while word != 0 and found < count:
                out[found] = base + lowest_bit(word)
                word &= word - np.uint64(1)
                found += 1
        return found
    return decode_elias_fano(words, at, count, bound, out)


@compiled()
def decode_elias_fano(words: Array, at: Any, count: Any, bound: Any, out: Array) -> Any:
    """Run :func:`decode_set` for an Elias-Fano set."""
    found, address = 0, address_of(words)
    low = low_bits(count, bound)
    lows = at + 32 * skips(count, bound, low)
    highs = lows + count * low
    for base in range(0, count + ((bound - 1) >> low), 64):
        word = word_from(address, highs + base)
        while word != 0 and found < count:
            value = ((base + lowest_bit(word) - found) << low) | bits_from(address, lows + found * low, low)
            if value >= bound:
                return found
            out[found] = value
            word &= word - np.uint64(1)
            found += 1
    return found


@compiled()
def seek_elias_fano(words: Array, at: Any, count: Any, bound: Any, wanted: Any) -> tuple[Any, Any]:
    """Return the number and the value of the first integer of at least ``wanted``; (count, bound) if there is none."""
    low, address = low_bits(count, bound), address_of(words)
    entries = skips(count, bound, low)
    lows = at + 32 * entries
    highs = lows + count * low
    end = count + ((bound - 1) >> low)
    high = wanted >> low
    first, last = 0, entries  # the last entry before which fewer than ``high`` zeros occur
    while first < last:
        middle = (first + last + 1) // 2
        if 64 * SKIP * middle - bits_from(address, at + 32 * (middle - 1), 32) < high:
            first = middle
        else:
            last = middle - 1
    base = 64 * SKIP * first
    number = bits_from(address, at + 32 * (first - 1), 32) if first else np.int64(0)
    while base < end and number < count:
        word = word_from(address, highs + base)
        ones = popcount(word)
        if base + 64 - number - ones < high:
            number += ones
            base += 64
            continue
        while word != 0 and number < count:
            value = ((base + lowest_bit(word) - number) << low) | bits_from(address, lows + number * low, low)
            if value >= wanted:
                return number, min(value, bound)
            word &= word - np.uint64(1)
            number += 1
        base += 64
    return np.int64(count), np.int64(bound)


@compiled()
def select_elias_fano(words: Array, at: Any, count: Any, bound: Any, number: Any) -> Any:
    """Return integer ``number`` of a set, counted from 0; ``bound`` if the set is damaged."""
    low = low_bits(count, bound)
    entries = skips(count, bound, low)
    lows = at + 32 * entries
    highs = lows + count * low
    first, last = 0, entries  # the last entry before which at most ``number`` ones occur
    while first < last:
        middle = (first + last + 1) // 2
        if bits_at(words, at + 32 * (middle - 1), 32) <= number:
            first = middle
        else:
            last = middle - 1
    base = 64 * SKIP * first
    before = bits_at(words, at + 32 * (first - 1), 32) if first else np.int64(0)
    while base < count + ((bound - 1) >> low):
        word = word_at(words, highs + base)
        ones = popcount(word)
        if before + ones <= number:
            before += ones
            base += 64
            continue
        for _ in range(number - before):
            word &= word - np.uint64(1)
        value = ((base + lowest_bit(word) - number) << low) | bits_at(words, lows + number * low, low)
        return min(value, np.int64(bound))
    return np.int64(bound)


@compiled()
def seek_set(words: Array, at: Any, count: Any, bound: Any, wanted: Any) -> Any:
    """Return the first integer of a set that is at least ``wanted``; ``bound`` if there is none."""
    if count == 0 or wanted >= bound:
        return np.int64(bound)
    if set_size(count, bound) < bound:
        return seek_elias_fano(words, at, count, bound, max(0, wanted))[1]
    base = np.int64(max(0, wanted))
    while base < bound:
        word = word_at(words, at + base)
        if word != 0:
            return min(base + lowest_bit(word), np.int64(bound))
        base += 64
    return np.int64(bound)


@compiled()
def next_in_set(words: Array, at: Any, count: Any, bound: Any, number: Any, value: Any) -> Any:
    """Return the integer after ``value``, which is integer ``number`` of a set; ``bound`` if it is the last."""
    if number + 1 >= count:
        return np.int64(bound)
    low, address = low_bits(count, bound), address_of(words)
    lows = at + 32 * skips(count, bound, low)
    highs = lows + count * low
    base = (value >> low) + number + 1
    end = count + ((bound - 1) >> low)
    while base < end:
        word = word_from(address, highs + base)
        if word != 0:
            high = base + lowest_bit(word) - number - 1
            return min(high << low | bits_from(address, lows + (number + 1) * low, low), np.int64(bound))
        base += 64
    return np.int64(bound)


@compiled()
def keep_near(
    words: Array, at: Any, count: Any, bound: Any, candidates: Array, size: Any, before: Any, after: Any
) -> Any:
    """Keep the candidates c for which the set has an integer in [c + before, c + after]; return how many are left.

    The first ``size`` candidates are in order, and the kept ones are moved to the front. If the set is a bitmap and the
    range is long, all are kept.
    """
    kept = 0
    if count == 0:
        return 0
    if set_size(count, bound) == bound and after - before < 64:
        return keep_in_bitmap(words, at, bound, candidates, size, before, after)
    if set_size(count, bound) == bound:
        return size  # hardly any candidate is far from all integers of a bitmap
    low = low_bits(count, bound)
    entries = skips(count, bound, low)
    lows = at + 32 * entries
    highs = lows + count * low
    end = count + ((bound - 1) >> low)
    number, base, value, address = np.int64(0), np.int64(0), np.int64(-1), address_of(words)
    word = word_from(address, highs)
    for i in range(size):
        candidate = np.int64(candidates[i])
        wanted = max(np.int64(0), candidate + before)
        if value < wanted:
            high = wanted >> low
            if high - (base - number) > 64 * SKIP:  # far away
                entry = base // (64 * SKIP)
                while entry < entries and 64 * SKIP * (entry + 1) - bits_from(address, at + 32 * entry, 32) < high:
                    entry += 1
                if entry * 64 * SKIP > base:
                    base, number = entry * 64 * SKIP, bits_from(address, at + 32 * (entry - 1), 32)
                    word = word_from(address, highs + base)
            while value < wanted and number < count and base < end:
                ones = popcount(word)
                if base + 64 - number - ones < high or word == 0:
                    number += ones
                    base += 64
                    if base < end:
                        word = word_from(address, highs + base)
                    continue
                value = ((base + lowest_bit(word) - number) << low) | bits_from(address, lows + number * low, low)
                word &= word - np.uint64(1)
                number += 1
            if value < wanted:
                return kept
        if value <= candidate + after:
            candidates[kept] = candidates[i]
            kept += 1
    return kept


@compiled()
def keep_in_bitmap(words: Array, at: Any, bound: Any, candidates: Array, size: Any, before: Any, after: Any) -> Any:
    """Run :func:`keep_near` for a bitmap and a range of at most 64 integers."""
    kept = 0
    for i in range(size):
        first = max(np.int64(0), np.int64(candidates[i]) + before)
        last = min(np.int64(bound - 1), np.int64(candidates[i]) + after)
        candidates[kept] = candidates[i]
        if first <= last:
            mask = ~np.uint64(0) >> np.uint64(63 - (last - first))
            kept += (word_at(words, at + first) & mask) != 0
    return kept


@compiled()
def keep_in_padded(bitmap: Array, candidates: Array, size: Any, before: Any, after: Any, out: Array) -> Any:
    """Run :func:`keep_near` for a result of :func:`fill_bitmap`, and write the kept candidates to ``out``.

    The range has at most 64 integers, and ``before`` is at least ``-PADDING``.
    """
    kept, words = 0, address_of(bitmap)
    mask, first = ~np.uint64(0) >> np.uint64(63 - (after - before)), PADDING + before
    if after - before < 57:  # one load is enough
        for i in range(size):
            out[kept] = candidates[i]
            bit = first + np.int64(candidates[i])
            kept += ((load_64(words + (bit >> 3)) >> np.uint64(bit & 7)) & mask) != 0
    else:
        for i in range(size):
            out[kept] = candidates[i]
            kept += (word_at(bitmap, first + np.int64(candidates[i])) & mask) != 0
    return kept


@compiled(inline="always")
def bitmap_words(bound: Any) -> Any:
    """Return the number of words of a bitmap in memory."""
    return bound // 64 + 2 + 2 * PADDING // 64


@compiled()
def fill_bitmap(words: Array, at: Any, count: Any, bound: Any, bitmap: Array) -> None:
    """Fill a bitmap, uint64 (:func:`bitmap_words`,), with an Elias-Fano set, from bit PADDING on."""
    bitmap[:] = 0
    low = low_bits(count, bound)
    lows = at + 32 * skips(count, bound, low)
    highs = lows + count * low
    found, address = 0, address_of(words)
    for base in range(0, count + ((bound - 1) >> low), 64):
        word = word_from(address, highs + base)
        while word != 0 and found < count:
            value = min(((base + lowest_bit(word) - found) << low) | bits_from(address, lows + found * low, low), bound)
            bit = value + PADDING
            bitmap[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
            word &= word - np.uint64(1)
            found += 1


@compiled()
def write_elias_fano(words: Array, at: Any, bound: Any, values: Array) -> None:
    """Write an Elias-Fano set at bit ``at``, where all bits are still 0."""
    low = low_bits(values.size, bound)
    entries = skips(values.size, bound, low)
    for number in range(values.size):
        add_to_set(words, at, values.size, low, entries, number, np.int64(values[number]))
    write_skips(words, at, values.size, bound)


@compiled(inline="always")
def add_to_set(words: Any, at: Any, count: Any, low: Any, entries: Any, number: Any, value: Any) -> None:
    """Write integer ``number`` of an Elias-Fano set."""
    lows = at + 32 * entries
    if low:
        set_bits(words, lows + number * low, value & ((1 << low) - 1))
    bit = lows + count * low + (value >> low) + number
    words[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)


@compiled()
def write_skips(words: Array, at: Any, count: Any, bound: Any) -> None:
    """Write the skip entries of an Elias-Fano set whose other bits are already written."""
    low = low_bits(count, bound)
    entries = skips(count, bound, low)
    highs = at + 32 * entries + count * low
    ones = 0
    for entry in range(entries):
        for word in range(entry * SKIP, (entry + 1) * SKIP):
            ones += popcount(word_at(words, highs + 64 * word))
        set_bits(words, at + 32 * entry, ones)


@compiled()
def pack_bits(values: Array, width: Any) -> Array:
    """Return integers as a bit stream, ``width`` bits each."""
    words = np.zeros((values.size * width >> 6) + 2, np.uint64)
    for i in range(values.size):
        set_bits(words, i * width, np.int64(values[i]))
    return words
