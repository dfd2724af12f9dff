"""The idx codec: there and back, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labctl.learning.datasets.idx import decode_idx, encode_idx

SMALL = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6))


@given(SMALL)
def test_there_and_back(array: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_idx(encode_idx(array), array.ndim), array)


def test_the_format_is_that_of_mnist() -> None:
    head = bytes.fromhex("00000803 00000002 00000001 00000003")
    assert encode_idx(np.arange(6, dtype=np.uint8).reshape(2, 1, 3)) == head + bytes(range(6))


@given(SMALL, st.data())
def test_a_file_cut_anywhere_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    content = encode_idx(array)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError, match=r"no idx file|cut off|instead of"):
        decode_idx(content[:length], array.ndim)


def test_what_follows_the_last_element_is_refused() -> None:
    with pytest.raises(ValueError, match="7 bytes of elements instead of 2 x 3"):
        decode_idx(encode_idx(np.zeros((2, 3), np.uint8)) + b"\0", 2)


def test_another_type_or_number_of_axes_is_refused() -> None:
    content = encode_idx(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="1 axes instead of 3"):
        decode_idx(content, 3)
    with pytest.raises(ValueError, match="idx type 0x0d, not unsigned bytes"):
        decode_idx(content[:2] + b"\x0d" + content[3:], 1)
    with pytest.raises(ValueError, match="does not begin with two zero bytes"):
        decode_idx(b"\x89PNG", 1)


@given(st.binary(max_size=40), st.integers(1, 3))
def test_any_bytes_are_an_array_or_refused(content: bytes, axes: int) -> None:
    try:
        array = decode_idx(content, axes)
    except ValueError:
        return
    assert encode_idx(array) == content
