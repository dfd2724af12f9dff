"""Messages are found in the stream however it is cut, and none can grow without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.links.blocks import encode_header
from labctl.simulated_instruments.scpi.framing import INCOMPLETE, Framer

text = st.text("AB*:?; ,#H01@(-", max_size=20).map(str.encode)
string = st.binary(max_size=20).map(lambda body: b'"' + body.replace(b'"', b'""') + b'"')
block = st.binary(max_size=40).map(lambda payload: b" " + encode_header(len(payload)) + payload)
message = st.lists(st.one_of(string, block, st.just(b"A 1,"), st.just(b";B?")), max_size=5).map(b"".join)


def make_framer(text_limit: int = 1000, block_limit: int = 1000, end_flag: bool = False) -> Framer:
    return Framer(text_limit, block_limit, end_flag)


def frame(framer: Framer, fragments: list[bytes]) -> list[bytes]:
    """The complete messages in `fragments`, without their newlines."""
    messages = []
    unfinished = b""
    for fragment in fragments:
        position = 0
        while (end := framer.scan(fragment, position, len(fragment))) != INCOMPLETE:
            messages.append(unfinished + fragment[position : end - 1])
            unfinished, position = b"", end
            framer.reset()
        unfinished += fragment[position:]
    return messages


def cut(stream: bytes, data: st.DataObject) -> list[bytes]:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@given(st.lists(message, max_size=4), st.data())
def test_messages_come_out_whole_however_they_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(one + b"\n" for one in messages)
    assert frame(make_framer(), cut(stream, data)) == messages


@given(st.one_of(st.binary(max_size=100), st.lists(st.one_of(text, string, block)).map(b"".join)), st.data())
def test_any_bytes_are_framed_the_same_however_they_are_cut(stream: bytes, data: st.DataObject) -> None:
    assert frame(make_framer(), cut(stream, data)) == frame(make_framer(), [stream])


def test_newlines_within_strings_and_blocks_are_data() -> None:
    stream = b"A 'x\ny',#13\n\n\n;B\nC\n"
    assert frame(make_framer(), [stream]) == [b"A 'x\ny',#13\n\n\n;B", b"C"]


def test_a_hash_that_begins_no_parameter_begins_no_block() -> None:
    assert frame(make_framer(), [b"A#15\nB 1#15\nC #H15\nD #\nE #5\n"]) == [
        b"A#15",
        b"B 1#15",
        b"C #H15",
        b"D #",
        b"E #5",
    ]


def test_an_indefinite_block_ends_at_the_newline_where_no_end_can_be_marked() -> None:
    assert frame(make_framer(end_flag=False), [b"A #0x\ny\n"]) == [b"A #0x", b"y"]
    assert frame(make_framer(end_flag=True), [b"A #0x\ny\n"]) == []


def test_how_much_of_a_block_is_missing_is_known_from_its_header_on() -> None:
    framer = make_framer()
    framer.scan(b"A #3100xy", 0, 9)
    assert framer.expected == 98


@pytest.mark.parametrize(
    ("stream", "number"),
    [
        (b"A" * 1001, -363),
        (b"A '" + b"\n" * 1000, -363),
        (b"A #41001", -223),
        (b"A #3600" + b"x" * 600 + b",#3600", -223),
        (b"A #9999999999", -223),
    ],
)
def test_a_message_beyond_its_limits_is_noticed_before_it_is_stored(stream: bytes, number: int) -> None:
    framer = make_framer()
    framer.scan(stream, 0, len(stream))
    assert framer.overrun is not None
    assert framer.overrun.number == number


@given(st.data())
def test_a_message_within_its_limits_is_never_an_overrun(data: st.DataObject) -> None:
    framer = make_framer()
    stream = b"A " * 400 + b"#3900" + b"x" * 900
    for fragment in cut(stream, data):
        framer.scan(fragment, 0, len(fragment))
    assert framer.overrun is None
