"""Payloads of the serial board come back as they went, and what is none is refused in a sentence."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.links.board_frames import (
    Advance,
    Configure,
    Configured,
    Counts,
    CountsRequest,
    Empty,
    Fetch,
    Hello,
    HelloRequest,
    Last,
    Multiply,
    Output,
    Pulse,
    Read,
    Refusal,
    State,
    Time,
    Timed,
    Where,
)

FIXED = (HelloRequest, Configure, Configured, Output, State, Last, Fetch, CountsRequest, Time, Advance, Empty)
VALUES = {
    "int": st.integers(0, 255),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "str": st.text(max_size=60),
}


def whole(payload: Any) -> bytes:
    return b"".join(bytes(piece) for piece in payload.pack())


def drawn(data: st.DataObject, kind: type) -> Any:
    return kind(**{field.name: data.draw(VALUES[str(field.type)]) for field in dataclasses.fields(kind)})


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


@pytest.mark.parametrize("kind", [*FIXED, Hello, Refusal], ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_fields_come_back_as_they_went(kind: Any, data: st.DataObject) -> None:
    sent = drawn(data, kind)
    assert kind.unpack(whole(sent)) == sent


@given(st.integers(0, 60), st.sampled_from(Where), st.booleans(), st.integers(1, 3))
def test_a_batch_comes_back_in_each_way_to_name_cells(count: int, where: Where, verify: bool, operation: int) -> None:
    cells = {
        Where.ALL: None,
        Where.INDEXED: np.arange(count, dtype=np.uint32) * 7,
        Where.MASKED: np.packbits(np.ones(count, np.bool_)),
    }[where]
    codes = np.arange(count, dtype=np.uint16) * 999
    sent = Pulse(2**40 + count, operation, verify, where, 1e-7, 1.25, cells, codes)
    assert same(Pulse.unpack(whole(sent)), sent)


@given(st.integers(0, 50), st.integers(1, 1000), st.floats(0, 1), st.booleans())
def test_a_read_comes_back(count: int, repeats: int, voltage: float, listed: bool) -> None:
    sent = Read(repeats, voltage, np.arange(count, dtype=np.uint32) if listed else None)
    assert same(Read.unpack(whole(sent)), sent)
    assert math.isnan(Read.unpack(whole(Read(1, math.nan, None))).voltage)


@given(st.integers(0, 5), st.booleans())
def test_a_multiply_has_the_lines_of_its_side(vectors: int, transpose: bool) -> None:
    lines = 4 if transpose else 3
    sent = Multiply(transpose, np.arange(vectors * lines, dtype=np.float32).reshape(vectors, lines))
    assert same(Multiply.unpack(whole(sent), 3, 4), sent)


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
@given(count=st.integers(0, 40))
def test_timed_answers_and_counts_come_back(dtype: str, count: int) -> None:
    sent = Timed(1.5, np.arange(count).astype(dtype))
    assert same(Timed.unpack(whole(sent), dtype, count), sent)
    counted = Counts(np.arange(count, dtype=np.uint32))
    assert same(Counts.unpack(whole(counted), count), counted)


def test_big_endian_arrays_go_out_little_endian() -> None:
    sent = Timed(0.0, np.array([1, 2], ">u2"))
    assert Timed.unpack(whole(sent), "<u2", 2).values.tolist() == [1, 2]


@pytest.mark.parametrize("kind", [*FIXED, Hello, Pulse, Read, Refusal], ids=lambda kind: kind.__name__)
def test_a_payload_of_another_size_is_refused_in_a_sentence(kind: Any) -> None:
    for size in (1, 7, 500):
        if (kind, size) in [(Output, 1), (CountsRequest, 1), (Refusal, 7), (Refusal, 500)]:
            continue
        with pytest.raises(ValueError, match="bytes"):
            kind.unpack(bytes(size))


@given(st.sampled_from([*FIXED, Hello, Pulse, Read, Refusal]), st.binary(max_size=400))
def test_no_payload_does_worse_than_be_refused(kind: Any, payload: bytes) -> None:
    try:
        kind.unpack(payload)
    except ValueError as problem:
        assert "\n" not in str(problem)  # noqa: PT017 -- most are refused, a few are not


def test_unknown_ways_to_name_cells_are_refused() -> None:
    read = bytearray(whole(Read(1, 0.1, None)))
    read[4] = Where.MASKED
    pulse = bytearray(whole(Pulse(1, 1, False, Where.ALL, 1e-6, 1.0, None, np.zeros(0, np.uint16))))
    pulse[10] = 3
    with pytest.raises(ValueError, match="2 is no way to name cells"):
        Read.unpack(bytes(read))
    with pytest.raises(ValueError, match="3 is no way to name cells"):
        Pulse.unpack(bytes(pulse))


def test_a_text_that_is_too_long_for_its_length_is_refused() -> None:
    hello = Hello(*[1] * 20, True, "x" * 256, "", "")
    with pytest.raises(ValueError, match="at most 255 bytes, not 256"):
        hello.pack()
