"""A message as a person reads it: text as text, blocks by size and digest, two of them side by side.

Pure: bytes in, lines of text out. Nothing is left out because it usually differs: a time or a reading that is another
one is shown as such.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from labctl.links.blocks import parse_header
from labctl.links.board_frames import Kind, Status
from labctl.links.frames import ANSWER, HEADER_SIZE, OVERHEAD, START, Frame, FrameDecoder

_AROUND = 2  # equal pieces shown beside those that differ
_LEAST_COLUMN = 16
_FRAME_LIMIT = 1 << 32
_LENGTH_AT = 8  # of the payload's length in a frame's header
_QUOTES = b"\"'"
_HASH = ord("#")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a message: a unit of text with its separator, or a block.

    data: the bytes. text: how it is shown. sha256: of a block's payload; empty for text. size: of that payload.
    is_cut: it is the beginning of a longer block.
    """

    data: bytes
    text: str
    sha256: str = ""
    size: int = 0
    is_cut: bool = False


def pieces_of(data: bytes) -> list[Piece]:
    """`data` in pieces that make it up, none left out: IEEE 488.2 units and blocks, or the frames of a serial board."""
    return list(_framed(data) if data.startswith(START) else _units(data))


def shown(data: bytes, width: int | None = None) -> str:
    """`data` on one line, cut to `width` characters where given."""
    text = "".join(piece.text for piece in pieces_of(data)).removesuffix("\\n")
    return shorten(text, width) if width is not None else text


def shorten(text: str, width: int, at: int = 0) -> str:
    """At most `width` characters of `text`, those around position `at` among them, what is left out marked."""
    if len(text) <= width:
        return text
    start = min(max(at - width // 2, 0), len(text) - width)
    cut = text[start : start + width]
    if start:
        cut = "..." + cut[3:]
    return cut[:-3] + "..." if start + width < len(text) else cut


def first_difference(one: bytes, other: bytes) -> int | None:
    """The first byte in which they differ, from 0; None where they are the same."""
    if one == other:
        return None
    low, high = 0, min(len(one), len(other))  # halving compares slices, which costs no loop over bytes
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def side_by_side(recorded: bytes, actual: bytes, titles: tuple[str, str], width: int) -> list[str]:
    """Both messages in two columns, piece by piece, rows that differ marked `*`, and the first difference below."""
    column = max((width - 7) // 2, _LEAST_COLUMN)
    before, after = pieces_of(recorded), pieces_of(actual)
    lines = [f"    {titles[0]:<{column}} | {titles[1]}"]
    matcher = SequenceMatcher(None, [piece.data for piece in before], [piece.data for piece in after], autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            lines += _equal_rows(before[i:i_end], column, is_first=i == 0, is_last=i_end == len(before))
            continue
        for row in range(max(i_end - i, j_end - j)):
            left = before[i + row].text if i + row < i_end else ""
            right = after[j + row].text if j + row < j_end else ""
            at = _parting(left, right)
            lines.append(f"  * {shorten(left, column, at):<{column}} | {shorten(right, column, at)}".rstrip())
    at_byte = first_difference(recorded, actual)
    return lines if at_byte is None else lines + _close_up(recorded, actual, at_byte, titles, width)


# -- inside -------------------------------------------------------------------------------------------------------


def _units(data: bytes) -> Iterator[Piece]:
    """Text at its semicolons and newlines, blocks apart. A quote begins a string only where a datum can begin."""
    start = at = 0
    quote = 0
    while at < len(data):
        byte = data[at]
        if quote:
            quote = 0 if byte == quote else quote
        elif byte in _QUOTES and (at == 0 or data[at - 1] in b",; \t\n"):
            quote = byte
        elif byte in b";\n":
            yield _text(data[start : at + 1])
            start = at + 1
        elif byte == _HASH and (payload := _payload_of(data, at)) is not None:
            if start < at:
                yield _text(data[start:at])
            start = at
            at = min(payload.stop, len(data))
            yield _block(data[start:at], data[payload.start : at], payload.stop - payload.start)
            start = at
            continue
        at += 1
    if start < len(data):
        yield _text(data[start:])


def _framed(data: bytes) -> Iterator[Piece]:
    """A frame is two pieces, what it is and what it carries; what is no whole frame is shown as a block."""
    at = 0
    while data.startswith(START, at) and len(data) - at >= OVERHEAD:
        end = at + OVERHEAD + int.from_bytes(data[at + _LENGTH_AT : at + _LENGTH_AT + 4], "little")
        decoder = FrameDecoder(_FRAME_LIMIT)
        decoder.feed(data[at:end])
        frame = next(decoder.frames(), None)
        if not isinstance(frame, Frame):
            break
        payload = bytes(frame.payload)
        name = f"{_frame_name(frame)} number {frame.number}"
        yield Piece(data[at : at + HEADER_SIZE], f"{name} " if payload else name)
        yield _block(data[at + HEADER_SIZE : end], payload) if payload else Piece(data[at + HEADER_SIZE : end], "")
        at = end
    if at < len(data):
        yield _block(data[at:], data[at:])


def _frame_name(frame: Frame) -> str:
    kind = frame.kind & ~ANSWER if frame.kind != Kind.NONE else frame.kind
    name = Kind(kind).name if kind in list(Kind) else f"kind {kind:#04x}"
    if not frame.kind & ANSWER:
        return name
    status = Status(frame.status).name if frame.status in list(Status) else f"status {frame.status}"
    return f"{name} {status}"


def _text(data: bytes) -> Piece:
    return Piece(data, "".join(_character(byte) for byte in data))


def _block(data: bytes, payload: bytes, announced: int | None = None) -> Piece:
    digest = hashlib.sha256(payload).hexdigest()
    cut = announced is not None and len(payload) < announced
    of = f" of {announced:,}" if cut else ""
    return Piece(data, f"<{len(payload):,}{of} bytes {digest[:8]}>", digest, len(payload), cut)


def _character(byte: int) -> str:
    if 0x20 <= byte < 0x7F and byte != 0x5C:
        return chr(byte)
    return {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x5C: "\\\\"}.get(byte, f"\\x{byte:02x}")


def _payload_of(data: bytes, at: int) -> range | None:
    """Where the payload of the block at `data[at]` stands, or would if it were whole; None where it is no block."""
    try:
        header = parse_header(data, at)
    except ValueError:  # as in `#H1F`
        return None
    if header is None:
        return None
    return range(header.start, len(data) - data.endswith(b"\n") if header.stop is None else header.stop)


def _equal_rows(pieces: Sequence[Piece], column: int, is_first: bool, is_last: bool) -> list[str]:
    """Those next to a row that differs, and how many are between."""
    head = 0 if is_first else _AROUND
    tail = 0 if is_last else _AROUND
    hidden = len(pieces) - head - tail
    texts = [shorten(piece.text, column) for piece in pieces]
    rows = [f"    {text:<{column}} | {text}".rstrip() for text in texts]
    if hidden <= 1:
        return rows
    return [*rows[:head], f"    ... {hidden} the same", *rows[len(rows) - tail :]]


def _parting(one: str, other: str) -> int:
    """The first character in which they differ."""
    at = first_difference(one.encode(), other.encode())  # both are ASCII
    return 0 if at is None else at


def _close_up(recorded: bytes, actual: bytes, at: int, titles: tuple[str, str], width: int) -> list[str]:
    """The bytes around the first difference, one message above the other, and a mark below it."""
    label = max(len(title) for title in titles) + 6
    room = max(width - label, _LEAST_COLUMN)
    start, taken = at, 0
    while start > 0 and taken + len(_character(recorded[start - 1])) <= room // 2:
        start -= 1
        taken += len(_character(recorded[start]))
    lines = [f"  first difference: byte {at:,}"]
    for title, data in zip(titles, (recorded, actual), strict=True):
        text = "".join(_character(byte) for byte in data[start : start + room])
        ends = len(data) <= start + room and len(text) <= room
        cut = text if ends else text[: room - 3] + "..."
        lines.append(f"    {title:<{label - 4}}{cut}")
    return [*lines, " " * (label + taken) + "^"]
