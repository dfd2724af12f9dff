"""A recording where a serial link has an open port."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from labctl.errors import LinkError, LinkTimeoutError
from labctl.links.board_frames import HelloRequest, Kind
from labctl.links.frames import Frame, FrameDecoder
from labctl.links.serial_ports import LOST, SLICE_S

if TYPE_CHECKING:
    from labctl.links.blocks import Buffer
    from labctl.links.replay import Recording

_LIMIT = 1 << 32


class ReplayPort:
    """What a serial link uses of pyserial's `Serial`. A silence takes the time for which a real port waits."""

    def __init__(self, recording: Recording) -> None:
        self.is_open = True
        self.write_timeout = 0.0
        self._recording = recording
        self._sent = FrameDecoder(_LIMIT)
        self._message = b""
        self._came = b""

    def write(self, data: Buffer) -> int:
        """Raises ReplayError, or OSError as pyserial does where it was so."""
        import serial

        self._message += bytes(data)
        self._sent.feed(data)
        if next(self._sent.frames(), None) is None:
            return memoryview(data).nbytes  # a long message is written in parts
        message, self._message = self._message, b""
        try:
            self._recording.send(message)
        except LinkTimeoutError:
            raise serial.SerialTimeoutException from None
        except LinkError as problem:
            raise OSError(str(problem).removeprefix(LOST)) from None
        return memoryview(data).nbytes

    def read(self, size: int = 1) -> bytes:
        """Raises ReplayError, or OSError as pyserial does where it was so."""
        if not self._came:
            try:
                self._came = self._recording.answer()
            except LinkError as problem:
                raise OSError(str(problem).removeprefix(LOST)) from None
        if not self._came:
            time.sleep(SLICE_S)
        data, self._came = self._came[:size], self._came[size:]
        return data

    def close(self) -> None:
        self.is_open = False


def recorded_lots(expected: bytes) -> tuple[int, int] | None:
    """The two numbers that a link draws by lot, of its first frame and of the session, where `expected` is a HELLO.

    A replayed link takes the recorded ones: then everything else can be compared byte for byte.
    """
    decoder = FrameDecoder(_LIMIT)
    decoder.feed(expected)
    found = next(decoder.frames(), None)
    if not isinstance(found, Frame) or found.kind != Kind.HELLO:
        return None
    try:
        return found.number, HelloRequest.unpack(found.payload).session
    except ValueError:
        return None
