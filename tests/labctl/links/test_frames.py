"""Frames come back as they went, whatever the cuts; what is damaged is noticed and never handed out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.links import frames
from labctl.links.frames import HEADER_SIZE, OVERHEAD, START, Damaged, Frame, FrameDecoder, encode

LIMIT = 1 << 16

payloads = st.binary(max_size=64) | st.integers(0, 20_000).map(bytes) | st.binary(max_size=12).map(lambda b: b + START)
parts = st.tuples(st.integers(0, 255), st.integers(0, 65_535), st.integers(0, 65_535), payloads)


def whole(kind: int, number: int, status: int, payload: bytes) -> bytes:
    return b"".join(bytes(piece) for piece in encode(kind, number, status, payload))


def plain(found: Frame | Damaged) -> Any:
    return Damaged if isinstance(found, Damaged) else (*found[:3], bytes(found.payload))


def decoded(stream: bytes, cuts: list[int] = [], in_place: bool = False, flush: bool = True) -> list[Any]:  # noqa: B006
    """What comes out of `stream`, fed in pieces, and then of the silence behind it."""
    decoder = FrameDecoder(LIMIT)
    found = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, stop in itertools.pairwise(edges):
        piece = stream[start:stop]
        if in_place:
            decoder.room(len(piece))[: len(piece)] = piece
            decoder.received(len(piece))
        else:
            decoder.feed(piece)
        found += decoder.frames()
    if flush:
        decoder.flush()
        found += decoder.frames()
    return [plain(each) for each in found]


@given(st.lists(parts, max_size=6), st.lists(st.integers(0, 30_000), max_size=8), st.booleans())
def test_frames_come_back_wherever_the_stream_is_cut(sent: list[Any], cuts: list[int], in_place: bool) -> None:
    assert decoded(b"".join(whole(*each) for each in sent), cuts, in_place) == sent


@given(st.lists(st.tuples(st.binary(max_size=40), parts), min_size=1, max_size=4), st.lists(st.integers(0, 9_000)))
def test_frames_are_found_between_garbage_and_each_stretch_of_it_is_reported_once(
    sent: list[Any], cuts: list[int]
) -> None:
    stream = b"".join(garbage + whole(*each) for garbage, each in sent)
    expected = [event for garbage, each in sent for event in ([Damaged, each] if garbage else [each])]
    assert decoded(stream, cuts) == expected


@given(parts, st.data())
def test_any_single_bit_flip_is_noticed_and_what_stands_beside_it_still_comes(part: Any, data: st.DataObject) -> None:
    before, after = (0x81, 7, 0, b"before"), (0x82, 8, 0, b"after")
    frame = bytearray(whole(*part))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    found = decoded(whole(*before) + bytes(frame) + whole(*after))
    assert found[0] == before
    assert found[-1] == after
    assert found[1:-1]
    assert set(found[1:-1]) == {Damaged}


@given(parts, st.data())
def test_bytes_lost_in_one_frame_do_not_lose_the_next(part: Any, data: st.DataObject) -> None:
    frame = whole(*part)
    start = data.draw(st.integers(0, len(frame) - 1))
    stop = data.draw(st.integers(start + 1, len(frame)))
    after = (0x82, 8, 0, b"after")
    found = decoded(frame[:start] + frame[stop:] + whole(*after))
    assert found[-1] == after
    assert part not in found
    assert set(found[:-1]) <= {Damaged}


@given(parts, st.data())
def test_a_frame_cut_short_is_reported_when_the_line_stays_quiet(part: Any, data: st.DataObject) -> None:
    stream = whole(*part)[: data.draw(st.integers(1, OVERHEAD + len(part[3]) - 1))]
    assert decoded(stream, flush=False) == []
    assert decoded(stream) == [Damaged]
    after = (1, 2, 3, b"")
    decoder = FrameDecoder(LIMIT)
    decoder.feed(stream)
    decoder.flush()
    assert [plain(each) for each in decoder.frames()] == [Damaged]
    decoder.feed(whole(*after))
    assert [plain(each) for each in decoder.frames()] == [after]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_what_is_made_of_a_stream_does_not_depend_on_how_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    hostile = stream.replace(b"\x00", START)
    assert decoded(hostile, cuts) == decoded(hostile)


def test_a_length_above_the_limit_is_noise_and_one_at_it_is_not() -> None:
    decoder = FrameDecoder(100)
    decoder.feed(whole(1, 1, 0, bytes(101)) + whole(1, 2, 0, bytes(100)))
    assert [plain(each) for each in decoder.frames()] == [Damaged, (1, 2, 0, bytes(100))]


def test_payloads_stay_as_they_are_while_more_arrives() -> None:
    decoder = FrameDecoder(1 << 20)
    sent = [bytes([number]) * size for number, size in enumerate((10, 5_000, 300_000, 0, 70_000, 200))]
    kept = []
    for number, payload in enumerate(sent):
        decoder.feed(whole(1, number, 0, payload))
        kept += [each.payload for each in decoder.frames() if isinstance(each, Frame)]
    assert [bytes(each) for each in kept] == sent


def test_what_is_missing_is_said_exactly_once_the_header_is_there() -> None:
    decoder = FrameDecoder(LIMIT)
    frame = whole(1, 2, 0, bytes(1000))
    assert decoder.missing == OVERHEAD
    decoder.feed(frame[:HEADER_SIZE])
    assert list(decoder.frames()) == []
    assert decoder.missing == len(frame) - HEADER_SIZE
    decoder.feed(frame[HEADER_SIZE:-1])
    assert list(decoder.frames()) == []
    assert decoder.missing == 1


def test_headers_nested_by_a_hostile_line_cost_no_more_than_the_line_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = 0

    def counted(data: bytes, value: int = 0) -> int:
        nonlocal checked
        checked += len(data)
        return real(data, value)

    real = frames.crc32
    count = 2_000
    headers = [bytes(encode(1, 0, 0, bytes(HEADER_SIZE * (count - n)))[0]) for n in range(1, count)]
    stream = b"".join(headers) + bytes(2 * HEADER_SIZE)
    monkeypatch.setattr(frames, "crc32", counted)
    assert set(decoded(stream)) == {Damaged}
    assert checked < 4 * len(stream)


@pytest.mark.parametrize("fields", [(256, 0, 0), (0, 65_536, 0), (0, 0, -1)])
def test_a_number_beyond_its_field_is_refused(fields: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no frame has kind"):
        encode(*fields)


def test_pieces_are_sent_as_they_are_given() -> None:
    piece = bytearray(b"payload")
    pieces = encode(1, 2, 0, piece, memoryview(b"more"))
    assert pieces[1] is piece
    assert b"".join(bytes(each) for each in pieces) == whole(1, 2, 0, b"payloadmore")
