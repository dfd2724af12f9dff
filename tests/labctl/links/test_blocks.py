"""The block codec: what one side encodes the other decodes, from any fragment and without a copy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.links.blocks import MAX_SIZE, BlockHeader, decode, encode_header, parse_header


@given(st.binary(max_size=2000), st.binary(max_size=20))
def test_a_definite_block_reads_back_whatever_follows_it(payload: bytes, behind: bytes) -> None:
    assert decode(encode_header(len(payload)) + payload + behind) == payload


@given(st.integers(0, MAX_SIZE))
def test_a_header_reads_back_its_size(size: int) -> None:
    header = encode_header(size)
    assert parse_header(header) == BlockHeader(len(header), size)


@given(st.integers(0, MAX_SIZE), st.data())
def test_a_cut_header_asks_for_more(size: int, data: st.DataObject) -> None:
    header = encode_header(size)
    cut = data.draw(st.integers(0, len(header) - 1))
    assert parse_header(header[:cut]) is None
    assert parse_header(b"READ? " + header, 6, 6 + cut) is None


def test_the_standards_own_example_is_encoded_as_it_says() -> None:
    assert encode_header(5) == b"#15"
    assert encode_header(1_048_576) == b"#71048576"
    assert encode_header(0) == b"#10"


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_a_size_that_nine_digits_cannot_say_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="holds"):
        encode_header(size)


def test_an_indefinite_block_ends_with_the_message() -> None:
    assert decode(b"#0abc\n\n") == b"abc\n"
    assert decode(b"#0") == b""
    assert parse_header(b"#0abc") == BlockHeader(2, None)


@pytest.mark.parametrize("data", [b"x15hello", b"#x5hello", b"#2a5hello", b"##", b"#2 5hello"])
def test_what_no_block_begins_with_is_refused_as_soon_as_it_is_seen(data: bytes) -> None:
    with pytest.raises(ValueError, match="block"):
        parse_header(data)


def test_a_block_cut_short_says_how_much_is_missing() -> None:
    with pytest.raises(ValueError, match="3 bytes before"):
        decode(b"#15he")
    with pytest.raises(ValueError, match="header"):
        decode(b"#25")


def test_decoding_copies_nothing() -> None:
    message = bytearray(b"#15hello")
    payload = decode(message)
    message[3:8] = b"HELLO"
    assert payload == b"HELLO"


@given(st.binary(max_size=30))
def test_garbage_is_a_block_or_a_value_error_and_nothing_else(data: bytes) -> None:
    try:
        payload = decode(data)
    except ValueError:
        return
    assert data.startswith(b"#")
    assert bytes(payload) in data
