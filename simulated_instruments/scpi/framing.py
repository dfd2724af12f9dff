"""Where a program message ends, found as its bytes arrive.

A newline ends a message, unless it stands inside a string or a block. Block payloads are stepped over by
their declared length and text is searched by compiled patterns, so nothing is looked at byte by byte. What
was seen of an unfinished message is remembered, so how a message is cut into fragments makes no difference.
"""

from __future__ import annotations

import re

from labctl.links.blocks import Buffer, parse_header

from .errors import ScpiError

_LANDMARK = re.compile(rb"[\n\"'#]")
_CLOSING = {ord('"'): re.compile(rb'"'), ord("'"): re.compile(rb"'")}
_NEWLINE = re.compile(rb"\n")
_BEFORE_BLOCK = frozenset(range(0x21)) | {ord(",")}  # a block is a parameter: white space or a comma leads it

INCOMPLETE = -1


class Framer:
    """Scans one message after another. Give it every byte exactly once, in order.

    Attributes:
        overrun: why the message being scanned is too long to be kept, None as long as it is not.
        expected: bytes still missing from the block being scanned.
        open_ended: an indefinite block began, so that the end of the message is the end of its payload.
    """

    def __init__(self, text_limit: int, block_limit: int, end_flag: bool) -> None:
        """`end_flag`: the transport marks ends, so newlines within an indefinite block are data."""
        self._text_limit = text_limit
        self._block_limit = block_limit
        self._end_flag = end_flag
        self.reset()

    def reset(self) -> None:
        """Forget the message being scanned: the next byte begins one."""
        self.overrun: ScpiError | None = None
        self.expected = 0
        self._text = 0
        self._blocks = 0
        self._quote = 0
        self.open_ended = False
        self._header = b""
        self._last = 0x20

    def scan(self, data: Buffer, start: int, stop: int) -> int:
        """Scan `data[start:stop]`; the position one past the newline that ends the message, or INCOMPLETE."""
        position = start
        while position < stop:
            if self.expected:
                position = self._skip_payload(position, stop)
            elif self._header:
                position = self._extend_header(data, position)
            else:
                begin = position
                position, ended = self._scan_text(data, position, stop)
                self._count_text(position - begin)
                if ended:
                    return position
        return INCOMPLETE

    def _skip_payload(self, position: int, stop: int) -> int:
        step = min(self.expected, stop - position)
        self.expected -= step
        self._last = ord("#")
        return position + step

    def _scan_text(self, data: Buffer, position: int, stop: int) -> tuple[int, bool]:
        """On to the next place where what newlines mean changes; whether the message ended there."""
        if self.open_ended:
            found = None if self._end_flag else _NEWLINE.search(data, position, stop)
            return (found.end(), True) if found else (stop, False)
        if self._quote:
            found = _CLOSING[self._quote].search(data, position, stop)
            if found:
                self._last, self._quote = self._quote, 0
            return (found.end() if found else stop), False
        found = _LANDMARK.search(data, position, stop)
        if found is None:
            self._last = data[stop - 1]
            return stop, False
        mark = data[found.start()]
        if mark == 0x0A:
            return found.end(), True
        if mark != ord("#"):
            self._quote = mark
        elif (data[found.start() - 1] if found.start() > position else self._last) in _BEFORE_BLOCK:
            return self._begin_header(data, found.start(), stop), False
        self._last = mark
        return found.end(), False

    def _begin_header(self, data: Buffer, position: int, stop: int) -> int:
        """Past the block's header at `position` where it is all there, else past its `#`."""
        try:
            header = parse_header(data, position, stop)
        except ValueError:  # which is found out again as its bytes are taken one by one
            header = None
        if header is None:
            self._last, self._header = data[position], b"#"
            return position + 1
        self._last = data[header.start - 1]
        self._begin_payload(header.size)
        return header.start

    def _extend_header(self, data: Buffer, position: int) -> int:
        """Take one more byte of what may be a block's header: it has eleven at most."""
        self._header += data[position : position + 1]
        try:
            header = parse_header(self._header)
        except ValueError:  # `#H1F`, or malformed: text then, and this byte may be a landmark
            self._last, self._header = self._header[-2], b""
            return position
        self._count_text(1)
        if header is not None:
            self._last, self._header = self._header[-1], b""
            self._begin_payload(header.size)
        return position + 1

    def _begin_payload(self, size: int | None) -> None:
        if size is None:
            self.open_ended = True
            return
        self.expected = size
        self._blocks += size
        if self._blocks > self._block_limit and self.overrun is None:
            self.overrun = ScpiError(-223, f"blocks of more than {self._block_limit} bytes")

    def _count_text(self, size: int) -> None:
        self._text += size
        limit = self._block_limit if self.open_ended else self._text_limit
        if self._text > limit and self.overrun is None:
            self.overrun = ScpiError(-363, f"a message of more than {limit} bytes")
