"""One connection to an instrument of scripts: lines in, lines out. A `wire.Conversation`.

Every line that is printed is an answer of its own, which a transport that marks ends marks. Answers that were not read
stay until they are, as on the instruments: a new message takes nothing away.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from labctl.links.blocks import Buffer

from ..scpi.errors import ScpiError
from ..scpi.formatting import Segment
from ..scpi.service import Serviced

if TYPE_CHECKING:
    from .instrument import TspInstrument

_WINDOW = 64 * 1024  # what one receive call may bring
_LONGEST_LINE = 1024 * 1024
_SENT_AHEAD = 64 * 1024  # a stream's answers that may wait before its next message does
_MOST_ANSWERS = 64 * 1024 * 1024  # bytes


class TspConversation(Serviced):
    """Made by `TspInstrument.connect`. Its buffers are its own; everything else is the instrument's."""

    def __init__(self, instrument: TspInstrument, stream: bool) -> None:
        super().__init__(instrument.status, instrument.lock)
        self._instrument = instrument
        self._stream = stream
        self._input = bytearray()
        self._window = bytearray(_WINDOW)
        self._overrun = False
        self._answers: deque[bytes] = deque()
        self._given = 0  # bytes of the first answer that were read
        self.pending = 0

    def write(self, data: Buffer, end: bool = False) -> None:
        with self._instrument.lock:
            self._input += data
            self._run(end)

    def writable(self) -> memoryview:
        return memoryview(self._window)

    def received(self, count: int, end: bool = False) -> None:
        self.write(memoryview(self._window)[:count], end)

    def read(self, size: int, until: int | None = None) -> tuple[Segment, bool]:
        """Up to `size` bytes of the next answer, and whether they end it; one after another on a stream."""
        with self._instrument.lock:
            if not self._answers:
                if not self._stream:
                    self._report(ScpiError(-420))
                return b"", False
            data, ended = self._taken(size, until)
            while self._stream and ended and self._answers and not _ends(data, until) and len(data) < size:
                more, ended = self._taken(size - len(data), until)
                data += more
            self._catch_up()
            return data, ended

    def take(self) -> list[Segment]:
        """Everything a stream has to send; an empty list once that is all."""
        with self._instrument.lock:
            segments: list[Segment] = [answer[self._given :] for answer in self._answers]
            self._forget_answers()
            self._catch_up()
            return [b"".join(segments)] if segments else []

    def clear(self) -> None:
        """Device clear: ends the script that is running, drops what was sent and not carried out, and the answers."""
        self._instrument.abort()
        with self._instrument.lock:
            self._input.clear()
            self._instrument.forget_script()
            self._forget_answers()
            self._update_request()

    @property
    def message_available(self) -> bool:
        return self.pending > 0

    @property
    def backlog(self) -> int:
        return len(self._input) if self._is_ahead else 0

    def answer(self, message: bytes) -> None:
        """Called by the instrument: one more answer waits to be read. Raises ScpiError where too many do."""
        if self.pending + len(message) > _MOST_ANSWERS:
            raise ScpiError(-430, f"more than {_MOST_ANSWERS} bytes wait to be read")
        self._answers.append(message)
        self.pending += len(message)

    @property
    def _is_ahead(self) -> bool:
        return self._stream and self.pending >= _SENT_AHEAD

    def _run(self, end: bool = False) -> None:
        """Carry out the lines that are there. Should the firmware fail, all input is dropped."""
        try:
            while not self._is_ahead and (stop := self._input.find(b"\n")) >= 0:
                self._line(stop, stop + 1)
            if end and self._input:
                self._line(len(self._input), len(self._input))
        except BaseException:
            self._input.clear()
            raise
        if len(self._input) > _LONGEST_LINE and not self._is_ahead:
            self._input.clear()
            self._overrun = True

    def _line(self, stop: int, beyond: int) -> None:
        line = self._input[:stop].decode("latin-1").rstrip("\r")
        del self._input[:beyond]
        if self._overrun:
            self._overrun = False
            self._report(ScpiError(-363, f"a line of more than {_LONGEST_LINE} bytes"))
        else:
            self._instrument.carry_out(line, self)
            self._update_request()

    def _taken(self, size: int, until: int | None) -> tuple[bytes, bool]:
        """Up to `size` bytes of the first answer, not beyond the byte `until`, and whether they end it."""
        answer = self._answers[0]
        stop = min(self._given + size, len(answer))
        if until is not None and (found := answer.find(bytes([until]), self._given, stop)) >= 0:
            stop = found + 1
        data = answer[self._given : stop]
        self.pending -= len(data)
        self._given = stop
        if stop == len(answer):
            self._answers.popleft()
            self._given = 0
        return data, stop == len(answer)

    def _forget_answers(self) -> None:
        self._answers.clear()
        self._given = self.pending = 0

    def _catch_up(self) -> None:
        """Carry out what waited for answers to leave, now that some have."""
        if self._input and not self._is_ahead:
            self._run()
        self._update_request()


def _ends(data: bytes, until: int | None) -> bool:
    return until is not None and data.endswith(bytes([until]))
