"""A VISA link on a serial port: straight on the pyserial port inside pyvisa-py, over a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from labctl.errors import LinkClosedError, LinkTimeoutError
from labctl.links.transports import SerialTransport
from labctl.links.visa import VisaLink

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

NO_ERROR = b'0,"No error"'


class Line:
    """Our end of a pseudo-terminal, and what pyserial opens at the other."""

    def __init__(self) -> None:
        import tty

        self.ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.heard: list[bytes] = []
        self.resource_name = f"ASRL{os.ttyname(self._theirs)}::INSTR"

    def lines(self) -> Iterator[bytes]:
        data = b""
        with contextlib.suppress(OSError):
            while True:
                data += os.read(self.ours, 1 << 16)
                while b"\n" in data:
                    line, data = data.split(b"\n", 1)
                    self.heard.append(line)
                    yield line

    def send(self, data: bytes) -> None:
        left = memoryview(data)
        while len(left):
            left = left[os.write(self.ours, left) :]

    def hang_up(self) -> None:
        for end in (self._theirs, self.ours):  # in this order, which wakes who reads
            with contextlib.suppress(OSError):
                os.close(end)


@contextlib.contextmanager
def instrument(answers: dict[bytes, bytes | Callable[[Line], None]]) -> Iterator[Line]:
    """Who answers `*IDN?` and its error query, and of messages that begin with a key what that says or does."""
    line = Line()

    def behave() -> None:
        for message in line.lines():
            special = next((answer for key, answer in answers.items() if message.startswith(key)), None)
            if callable(special):
                special(line)
            elif special is not None:
                line.send(special)
            elif message == b"*IDN?":
                line.send(b"Rogues,S1,7,1.0\n")
            elif message:
                line.send(NO_ERROR + b"\n")

    thread = threading.Thread(target=behave, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.hang_up()
        thread.join(5)


def link_to(line: Line, timeout_s: float = 5.0) -> VisaLink:
    return VisaLink(line.resource_name, visa_library="@py", timeout_s=timeout_s)


def test_blocks_and_words_come_through_the_port_itself() -> None:
    block = bytes(range(256)) * 2048
    answers: dict[bytes, bytes | Callable[[Line], None]] = {
        b"BLOCK?": b"#6524288" + block + b";1.5;" + NO_ERROR + b"\n",
        b"EMPTY?": b"#10;" + NO_ERROR + b"\n",
    }
    with instrument(answers) as line, link_to(line) as link:
        assert isinstance(link._transport, SerialTransport)
        for _ in range(3):
            found, value = link.exchange("BLOCK?")
            assert found.tobytes() == block
            assert value == "1.5"
            assert link.exchange("EMPTY?")[0].size == 0


def test_a_block_goes_out_whole() -> None:
    codes = np.random.default_rng(1).integers(1, 9, 300_000, np.uint8)  # no newline among them
    with instrument({}) as line, link_to(line) as link:
        link.exchange("CODES ", codes)
    assert line.heard[-1] == b"CODES #6300000" + codes.tobytes() + b";:SYSTem:ERRor?"


def test_silence_is_reported_near_the_deadline_and_a_late_answer_is_never_taken_for_the_next() -> None:
    def late(line: Line) -> None:
        time.sleep(0.5)
        line.send(b"late;" + NO_ERROR + b"\n")

    with instrument({b"SLOW?": late, b"ECHO?": b"5;" + NO_ERROR + b"\n"}) as line, link_to(line, 1.0) as link:
        started = time.monotonic()
        with pytest.raises(LinkTimeoutError, match=r"no answer after .* waiting for the answer to SLOW\?"):
            link.query("SLOW?", timeout_s=0.2)
        assert 0.2 <= time.monotonic() - started < 1.0
        assert [link.query("ECHO?") for _ in range(3)] == ["5"] * 3


def test_an_answer_that_stops_short_says_how_much_came() -> None:
    with (
        instrument({b"HALF?": b"#6524288" + bytes(100_000)}) as line,
        link_to(line, 0.3) as link,
        pytest.raises(LinkTimeoutError, match="the answer did not go on after 100008 bytes"),
    ):
        link.exchange("HALF?")


def test_a_line_that_is_gone_is_reported_at_once() -> None:
    with instrument({b"DIE?": Line.hang_up}) as line, link_to(line, 10.0) as link:
        started = time.monotonic()
        with pytest.raises(LinkClosedError, match="the port broke"):
            link.query("DIE?")
        assert time.monotonic() - started < 5.0


def test_a_message_that_is_not_taken_ends_at_the_deadline() -> None:
    stop = threading.Event()
    with instrument({b"DEAF": lambda _: stop.wait(10)}) as line, link_to(line, 1.0) as link:  # type: ignore[dict-item]
        with pytest.raises(LinkTimeoutError):
            link.query("DEAF?", timeout_s=0.1)
        started = time.monotonic()
        with pytest.raises(LinkTimeoutError):
            link.exchange("X ", np.ones(5_000_000, np.uint8), timeout_s=0.5)
        assert time.monotonic() - started < 3.0
        stop.set()
