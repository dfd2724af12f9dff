"""Answers: every Python value as response data that reads back, arrays as FORMat says and without copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from labctl.links.blocks import decode
from labctl.simulated_instruments.scpi import ArrayFormat, Format, ScpiError, quoted
from labctl.simulated_instruments.scpi.formatting import Response, format_array, format_real, format_scalar


def segments(answer: object, settings: Format | None = None) -> list[bytes | memoryview]:
    response = Response(settings or Format())
    response.add(answer)
    return response.finish()


def wire(answer: object, settings: Format | None = None) -> bytes:
    return b"".join(segments(answer, settings))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("VOLT", b"VOLT\n"),
        (quoted('say "hi"'), b'"say ""hi"""\n'),
        (True, b"1\n"),
        (np.False_, b"0\n"),
        (17, b"17\n"),
        (np.uint16(17), b"17\n"),
        (0.5, b"0.5\n"),
        (1e-7, b"1.0E-07\n"),
        (np.float32(0.25), b"0.25\n"),
        (math.nan, b"9.91E+37\n"),
        (math.inf, b"9.9E+37\n"),
        (-math.inf, b"-9.9E+37\n"),
        (b"a\nb", b"#13a\nb\n"),
        (memoryview(b""), b"#10\n"),
        (("VOLT", 1, 2.5), b"VOLT,1,2.5\n"),
        ((1, b"xy", 2), b"1,#12xy,2\n"),
        ((), b"\n"),
    ],
)
def test_values_as_response_data(answer: object, expected: bytes) -> None:
    assert wire(answer) == expected


def test_answers_of_one_message_are_separated_by_semicolons() -> None:
    response = Response(Format())
    assert not response
    response.add(1)
    response.add(np.array([1, 2]))
    assert response
    assert b"".join(response.finish()) == b"1;1,2\n"
    assert response.size == len(b"1;1,2\n")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_real_reads_back_exactly_and_has_a_point(value: float) -> None:
    text = format_real(value)
    assert float(text) == value
    assert "." in text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_ascii_reals_read_back_to_the_same_array(dtype: type, data: st.DataObject) -> None:
    values = st.floats(width=np.dtype(dtype).itemsize * 8, allow_nan=False, allow_infinity=False)
    array = data.draw(stn.arrays(dtype, st.integers(1, 20), elements=values))
    numbers = format_array(array).split(",")
    assert np.array_equal(np.array([float(number) for number in numbers]).astype(dtype), array)
    assert all("." in number for number in numbers)


def test_ascii_arrays_go_row_by_row_and_name_what_is_no_number() -> None:
    assert format_array(np.array([[1, 2], [3, 4]], np.uint16)) == "1,2,3,4"
    assert format_array(np.array([True, False])) == "1,0"
    assert format_array(np.array([])) == ""
    specials = [float(number) for number in format_array(np.array([np.nan, np.inf, -np.inf])).split(",")]
    assert specials == [9.91e37, 9.9e37, -9.9e37]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "u1", "<i4", "?", "<f4", ">f8"])
@pytest.mark.parametrize("kind", [ArrayFormat.REAL_32, ArrayFormat.REAL_64])
def test_blocks_have_the_byte_order_and_the_width_that_are_set(kind: ArrayFormat, dtype: str, swapped: bool) -> None:
    array = np.array([[0, 1], [2, 100]]).astype(dtype)
    expected = np.dtype(dtype)
    if expected.kind == "f":
        expected = np.dtype(np.float32 if kind is ArrayFormat.REAL_32 else np.float64)
    payload = decode(wire(array, Format(kind, swapped)))
    received = np.frombuffer(payload, expected.newbyteorder("<" if swapped else ">"))
    assert received.tolist() == array.ravel().tolist()


def test_codes_keep_their_width_where_reals_would_lose_their_values() -> None:
    settings = Format(ArrayFormat.INT_16, swapped=True)
    assert decode(wire(np.array([1, 65535], "<u2"), settings)) == b"\x01\x00\xff\xff"
    with pytest.raises(ScpiError) as caught:
        wire(np.array([1e-6]), settings)
    assert caught.value.number == -221


def test_an_answer_that_is_refused_leaves_nothing_behind() -> None:
    response = Response(Format(ArrayFormat.INT_16))
    response.add(1)
    with pytest.raises(ScpiError):
        response.add((2, np.array([1, 2], np.uint16), np.array([0.5])))
    response.add(3)
    assert b"".join(response.finish()) == b"1;3\n"


def test_not_a_number_is_the_standards_in_blocks_too() -> None:
    payload = decode(wire(np.array([1, np.nan, -np.inf], np.float32), Format(ArrayFormat.REAL_32, swapped=True)))
    assert np.frombuffer(payload, "<f4").tolist() == np.float32([1, 9.91e37, -9.9e37]).tolist()


def test_an_array_in_wire_order_leaves_from_its_own_memory() -> None:
    array = np.arange(1000, dtype="<u2")
    (header, payload, newline) = segments(array, Format(ArrayFormat.INT_16, swapped=True))
    assert (header, newline) == (b"#42000", b"\n")
    assert isinstance(payload, memoryview)
    assert np.shares_memory(np.frombuffer(payload, "<u2"), array)


def test_what_cannot_be_said_is_the_firmwares_mistake() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        format_scalar(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="complex"):
        wire(np.array([1j]))
