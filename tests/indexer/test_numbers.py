"""Numbers as people write them: ASCII digits, no underscores, no padding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import decimal_number, parse_size, whole_cell, whole_number

#: Texts that Python's own int() or float() accept.
MISREAD = ["1_0", "１０", " 10", "10 ", "10\n", "+10", "٣", "nan", "inf", "1e999", "", "0x10", "9" * 40]


@pytest.mark.parametrize("read", [whole_number, whole_cell, parse_size, decimal_number])
@pytest.mark.parametrize("text", MISREAD)
def test_other_spellings_of_numbers_are_refused(read: Callable[[str], float], text: str) -> None:
    if text == "9" * 40 and read in (whole_cell, decimal_number):
        assert read(text) == pytest.approx(float(text))
        return
    with pytest.raises(ValueError if read is not parse_size else InputError, match=r"expected|invalid"):
        read(text)


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_every_integer_is_read_as_it_is_written(number: int) -> None:
    assert whole_number(str(number), least=None) == number
    assert whole_cell(f"{number}.0") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_as_it_is_written(number: float) -> None:
    assert decimal_number(repr(number)) == number


def test_bounds_are_part_of_the_message() -> None:
    with pytest.raises(ValueError, match=r"^expected an integer of at least 0, got '-1'$"):
        whole_number("-1")
    with pytest.raises(ValueError, match=r"^expected an integer from 1 to 9, got '10'$"):
        whole_number("10", 1, 9)


@pytest.mark.parametrize(("text", "size"), [("8GiB", 8 << 30), ("1.5 kB", 1500), ("7", 7), ("2mb", 2_000_000)])
def test_sizes_have_decimal_and_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["8Q", "0", "-1", "GiB", "8  GiB", "1e3", "9" * 30 + "GiB", "9" * 400])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="invalid size"):
        parse_size(text)
