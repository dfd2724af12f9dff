"""The serial link against the reference firmware, over a pseudo-terminal and a socket, on a line that fails."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_boards import DemoLine, compile_demo_board, demo_line

from labctl.errors import InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links.board_frames import (
    VERSION,
    Advance,
    Configure,
    Configured,
    Hello,
    Kind,
    Output,
    Pulse,
    Read,
    State,
    Status,
    Time,
    Timed,
    Where,
)
from labctl.links.frames import ANSWER, Frame, FrameDecoder, encode
from labctl.links.serial import SerialLink
from labctl.links.serial_ports import canonical_port, open_port, port_address
from labctl.links.wire_log import WireLog, read_wire_log
from labctl.simulated_instruments.instruments.serial_board import SerialFace

LINES = ("pty", "socket") if os.name == "posix" else ("socket",)
CELLS = np.arange(5, dtype=np.uint32)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_demo_board(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(params=LINES)
def line(program: Path, request: pytest.FixtureRequest) -> Iterator[DemoLine]:
    with demo_line(program, request.param) as found:
        yield found


@pytest.fixture
def link(line: DemoLine) -> Iterator[SerialLink]:
    with SerialLink(line.resource_name, timeout_s=1.0) as found:
        yield found


def pulse(link: SerialLink, sequence: int) -> Timed:
    """2 uS more in each cell, as the demo board has it."""
    batch = Pulse(sequence, 2, True, Where.INDEXED, 1e-6, 1.2, CELLS, np.full(5, round(65_536 / 5), np.uint16))
    return Timed.unpack(link.request(Kind.PULSE, *batch.pack()), "<u2", 5)


def conductance(link: SerialLink) -> float:
    """uS of the first cell."""
    codes = Timed.unpack(link.request(Kind.READ, *Read(1, math.nan, CELLS[:1]).pack()), "<u2", 1).values
    return float(codes[0]) * 16e-6 / 0.2 / 16_383 * 1e6


def armed(link: SerialLink) -> None:
    link.request(Kind.OUTPUT, *Output(True).pack())


class Once:
    """Does `harm` to the first piece of the line it sees, and lets the rest pass."""

    def __init__(self, harm: Callable[[bytes], bytes]) -> None:
        self._harm = harm
        self.seen: list[bytes] = []

    def __call__(self, data: bytes) -> bytes:
        self.seen.append(data)
        return self._harm(data) if len(self.seen) == 1 else data


HARM: dict[str, Callable[[bytes], bytes]] = {
    "lost": lambda _: b"",
    "header damaged": lambda data: data[:5] + bytes([data[5] ^ 4]) + data[6:],
    "length damaged": lambda data: data[:8] + bytes([data[8] ^ 0x40]) + data[9:],
    "payload damaged": lambda data: data[:-7] + bytes([data[-7] ^ 1]) + data[-6:],
    "cut short": lambda data: data[:-9],
    "beginning lost": lambda data: data[3:],
    "middle lost": lambda data: data[:17] + data[19:],
    "doubled": lambda data: data + data,
    "noise before": lambda data: b"LC\x01noise" + data,
    "noise behind": lambda data: data + b"noiseLC",
}


def test_a_board_is_greeted_asked_and_set(link: SerialLink) -> None:
    assert (link.idn, link.hello.max_payload, link.sessions) == ("labctl,DEMO-32,0,1.0", 1024, 1)
    settings = Configured.unpack(link.request(Kind.CONFIGURE, *Configure(0.4, math.nan, 310.0).pack()))
    assert (settings.read_voltage, settings.current_range, settings.temperature) == (0.4, 16e-6, 310.0)
    state = State.unpack(link.request(Kind.STATE))
    assert (state.read_voltage, state.temperature, state.output) == (0.4, 310.0, False)
    link.connect()  # a second time is none
    assert link.sessions == 1


@pytest.mark.parametrize("way", ["to_board", "to_link"])
@pytest.mark.parametrize("harm", HARM)
def test_a_pulse_is_given_once_whatever_the_line_does_to_it(
    line: DemoLine, link: SerialLink, way: str, harm: str
) -> None:
    armed(link)
    before = conductance(link)
    failing = Once(HARM[harm])
    setattr(line, way, failing)
    answered = pulse(link, 1)
    assert failing.seen
    assert conductance(link) == pytest.approx(before + 2.0, abs=0.01)
    assert answered.values[0] * 16e-6 / 0.2 / 16_383 * 1e6 == pytest.approx(before + 2.0, abs=0.01)
    assert link.sessions == 1
    assert pulse(link, 2).time > answered.time


def test_answers_that_come_late_are_never_taken_for_the_next_ones(line: DemoLine, link: SerialLink) -> None:
    def delayed(data: bytes) -> bytes:
        time.sleep(0.4)  # beyond the quarter of a second after which a request is sent again
        return data

    line.to_link = delayed
    assert Time.unpack(link.request(Kind.ADVANCE, *Advance(5.0).pack())).time == 1.7e9 + 5
    line.to_link = None
    for count in range(1, 4):
        assert Time.unpack(link.request(Kind.ADVANCE, *Advance(1.0).pack())).time == 1.7e9 + 5 + count
    assert link.sessions == 1


def test_a_silent_board_is_given_up_at_the_deadline_with_the_whole_story(line: DemoLine, link: SerialLink) -> None:
    line.to_board = lambda _: b""
    started = time.monotonic()
    with pytest.raises(LinkTimeoutError, match=r"did not answer after 0\.[45]\d* s of 0\.4\d* s, waiting") as caught:
        link.request(Kind.STATE, timeout_s=0.4)
    assert time.monotonic() - started < 0.6
    assert str(caught.value).startswith(line.resource_name)
    assert "the answer to STATE (frame " in str(caught.value)
    assert "20 bytes), sent " in str(caught.value)


def test_a_line_that_never_stops_talking_is_not_listened_to_for_ever(line: DemoLine, link: SerialLink) -> None:
    line.to_link = lambda data: os.urandom(5000) + data[:-4]  # which noise does not make whole but by one in 2**32
    started = time.monotonic()
    with pytest.raises(LinkTimeoutError, match="sent"):
        link.request(Kind.STATE, timeout_s=0.4)
    assert time.monotonic() - started < 0.7


def test_after_a_time_out_a_new_session_is_begun_and_the_driver_told(line: DemoLine) -> None:
    told: list[float] = []
    with SerialLink(line.resource_name, timeout_s=1.0, after_fault=told.append) as link:
        armed(link)
        pulse(link, 1)
        line.to_link = lambda _: b""
        with pytest.raises(LinkTimeoutError):
            pulse(link, 2)
        line.to_link = None
        state = State.unpack(link.request(Kind.STATE))
        assert (state.sequence, state.output) == (2, False)  # it was given, and the new session has outputs off
        assert (link.sessions, len(told)) == (2, 1)
        assert 0 < told[0] < 1.0


def test_nothing_is_sent_once_finding_the_place_has_used_up_the_time(line: DemoLine) -> None:
    with SerialLink(line.resource_name, timeout_s=1.0, after_fault=lambda _: time.sleep(0.6)) as link:
        line.to_link = lambda _: b""
        with pytest.raises(LinkTimeoutError):
            link.request(Kind.STATE, timeout_s=0.2)
        line.to_link = None
        with pytest.raises(
            LinkTimeoutError, match=r"OUTPUT was not sent: finding the place again took all of the 0\.5 s"
        ):
            link.request(Kind.OUTPUT, *Output(True).pack(), timeout_s=0.5)
        assert not State.unpack(link.request(Kind.STATE)).output


def test_where_the_driver_cannot_go_on_the_link_stays_unusable(line: DemoLine) -> None:
    def refuse(within_s: float) -> None:
        raise LinkError(f"not in {within_s:.0f} s")

    with SerialLink(line.resource_name, timeout_s=1.0, after_fault=refuse) as link:
        line.to_link = lambda _: b""
        with pytest.raises(LinkTimeoutError):
            link.request(Kind.STATE, timeout_s=0.2)
        line.to_link = None
        for _ in range(2):
            with pytest.raises(LinkError, match="not in 0 s; its place was lost at "):
                link.request(Kind.STATE)


def test_a_board_that_was_off_has_lost_its_settings_until_it_is_connected_anew(
    line: DemoLine, link: SerialLink
) -> None:
    line.restart()
    for _ in range(2):
        with pytest.raises(LinkError, match="the board has been restarted, its settings are lost: connect anew"):
            link.request(Kind.STATE)
    link.close()
    link.connect()
    assert State.unpack(link.request(Kind.STATE)).sequence == 0


def test_a_board_that_was_off_is_noticed_though_its_answer_was_lost_too(line: DemoLine, link: SerialLink) -> None:
    line.to_link = lambda _: b""
    with pytest.raises(LinkTimeoutError):
        link.request(Kind.STATE, timeout_s=0.2)
    line.restart()
    line.to_link = None
    with pytest.raises(LinkError, match="has been restarted"):
        link.request(Kind.STATE)


def test_a_refusal_names_the_request_and_the_error(link: SerialLink) -> None:
    with pytest.raises(
        InstrumentError, match=r'refused PULSE \(frame \d+, 82 bytes\): -221,"outputs are off"'
    ) as caught:
        pulse(link, 1)
    assert caught.value.errors == ((-221, "outputs are off"),)
    assert caught.value.command.startswith("PULSE")
    assert link.sessions == 1
    armed(link)
    pulse(link, 1)


def test_a_payload_longer_than_the_board_takes_is_not_sent(link: SerialLink) -> None:
    with pytest.raises(ValueError, match="a READ of 2020 bytes is longer than the 1024 that this board takes"):
        link.request(Kind.READ, *Read(1, 0.1, np.arange(500)).pack())


def test_numbers_wrap(line: DemoLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda _: 65_533)
    with SerialLink(line.resource_name) as link:
        for count in range(1, 6):
            assert Time.unpack(link.request(Kind.ADVANCE, *Advance(1.0).pack())).time == 1.7e9 + count


def test_the_wire_log_has_every_frame_both_ways(line: DemoLine, tmp_path: Path) -> None:
    log = WireLog(tmp_path / "wire.log")
    with SerialLink(line.resource_name, timeout_s=1.0, wire_log=log) as link:
        line.to_link = Once(HARM["payload damaged"])
        link.request(Kind.TIME)
    log.close()
    found: dict[str, list[int]] = {}
    for direction in "><":
        decoder = FrameDecoder(1024)
        for _, way, data in read_wire_log(log.path):
            if way == direction:
                decoder.feed(data)
        found[direction] = [each.kind if isinstance(each, Frame) else -1 for each in decoder.frames()]
    assert found[">"] == [Kind.HELLO, Kind.TIME, Kind.TIME]
    assert found["<"] == [Kind.HELLO | ANSWER, -1, Kind.TIME | ANSWER]


def test_a_slow_line_is_given_the_time_its_bytes_take(program: Path) -> None:
    with demo_line(program, LINES[0]) as line:
        with SerialLink(line.resource_name, baud_rate=9600, timeout_s=0.4) as link:
            line.to_board = sent = Once(lambda data: data)
            line.seconds_per_byte = 10 / 9600
            started = time.monotonic()
            answer = link.request(Kind.READ, *Read(100, math.nan, CELLS).pack())
            assert time.monotonic() - started > 1.0 > link.timeout_s
        assert len(Timed.unpack(answer, "<u2", 500).values) == 500
        assert len(sent.seen) == 1


def test_a_socket_that_was_closed_is_opened_anew_by_the_next_request(program: Path) -> None:
    def ask_until_it_fails() -> None:
        while True:  # what is written to a socket that has just been closed may still be accepted
            link.request(Kind.STATE, timeout_s=0.3)

    with demo_line(program, "socket") as line, SerialLink(line.resource_name, timeout_s=1.0) as link:
        armed(link)
        line.hang_up()
        with pytest.raises(LinkClosedError, match=r"the port was lost: .* waiting for the answer to STATE"):
            ask_until_it_fails()
        assert State.unpack(link.request(Kind.STATE)).output is False
        assert link.sessions == 2


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_a_terminal_that_is_gone_is_a_closed_link(program: Path) -> None:
    with demo_line(program, "pty") as line:
        link = SerialLink(line.resource_name, timeout_s=0.5)
        link.connect()
    with pytest.raises(LinkClosedError, match="the port was lost"):
        link.request(Kind.STATE)
    with pytest.raises(LinkClosedError, match="could not be opened"):
        link.request(Kind.STATE)
    link.close()
    link.close()
    with pytest.raises(LinkClosedError, match="not connected"):
        link.request(Kind.STATE)


def test_nothing_at_the_address_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LinkClosedError, match=r"nowhere::INSTR: could not be opened: No such file or directory$"):
        SerialLink(f"ASRL{tmp_path / 'nowhere'}::INSTR").connect()
    with pytest.raises(LinkError, match="not the name of a serial port: write one like 'ASRL/dev/ttyUSB0::INSTR'"):
        SerialLink("TCPIP::h::5025::SOCKET").connect()
    with pytest.raises(LinkError, match="serial_library is empty or ends with @labctl or @replay, not '@py'"):
        SerialLink("ASRL3::INSTR", serial_library="@py").connect()


@pytest.mark.parametrize(
    ("name", "windows", "address"),
    [
        ("ASRL/dev/ttyUSB0::INSTR", False, "/dev/ttyUSB0"),
        ("ASRLsocket://127.0.0.1:5000::INSTR", False, "socket://127.0.0.1:5000"),
        ("ASRL3::INSTR", True, "COM3"),
        ("ASRL3::INSTR", False, "/dev/ttyS2"),
        ("asrlCOM7", True, "COM7"),
    ],
)
def test_resource_names_say_which_port(name: str, windows: bool, address: str) -> None:
    assert port_address(name, windows) == address


@pytest.mark.skipif(os.name != "posix", reason="ports have paths on POSIX")
def test_all_names_of_a_port_are_one(tmp_path: Path) -> None:
    link = tmp_path / "by-id"
    link.symlink_to("/dev/ttyS2")
    for name in ("ASRL3::INSTR", "ASRL03::INSTR", "ASRL/dev/ttyS2::INSTR", "asrl/dev//ttyS2", f"ASRL{link}::INSTR"):
        assert canonical_port(name) == "ASRL/dev/ttyS2::INSTR"
    assert canonical_port("ASRLsocket://127.0.0.1:5000::INSTR") == "ASRLsocket://127.0.0.1:5000::INSTR"
    assert canonical_port("ASRLcom3::INSTR") == "ASRLCOM3::INSTR"


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_a_port_that_another_program_has_open_is_refused() -> None:
    master, slave = os.openpty()
    try:
        port = open_port(f"ASRL{os.ttyname(slave)}::INSTR", "", 115_200, 1.0)
        with pytest.raises(LinkClosedError, match="could not be opened: another program has it open"):
            open_port(f"ASRL{os.ttyname(slave)}::INSTR", "", 115_200, 1.0)
        port.close()
    finally:
        os.close(master)
        os.close(slave)


# -- a board in this process ----------------------------------------------------------------------------------------

BENCH = """
[instruments]
[arrays]
[simulated.board]
simulator = "serial_board"
resource_name = "ASRL7::INSTR"
chip = "T-1"
rows = 8
cols = 8
"""


def test_a_board_in_this_process_that_is_silent_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tmp_path / "bench.toml"
    bench.write_text(BENCH, encoding="utf-8")
    with SerialLink("ASRL7::INSTR", serial_library=f"{bench}@labctl", timeout_s=5.0) as link:
        armed(link)
        with monkeypatch.context() as silenced:
            silenced.setattr(SerialFace, "answer", lambda *_: [])
            started = time.monotonic()
            with pytest.raises(LinkTimeoutError, match=r"did not answer after 0\.\d+ s of 5\.\d* s, .* sent 4 times"):
                link.request(Kind.STATE)
            assert time.monotonic() - started < 0.5
        state = State.unpack(link.request(Kind.STATE))
        assert (state.output, link.sessions) == (False, 2)
    with pytest.raises(LinkError, match=r"could not be opened: .*nothing at ASRL8::INSTR; there are: ASRL7::INSTR"):
        SerialLink("ASRL8::INSTR", serial_library=f"{bench}@labctl").connect()


# -- boards that are no such boards ---------------------------------------------------------------------------------

HELLO = Hello(VERSION, 1024, 1, 0, 2, 2, *[1.0] * 2, 16, *[1.0] * 11, True, "Rogue", "R", "none")


def answering(reply: Callable[[Frame], bytes]) -> tuple[str, threading.Thread]:
    """A board on a socket that answers each request with what `reply` makes of it; and its resource name."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            connection = listener.accept()[0]
        decoder = FrameDecoder(1 << 16)
        with connection:
            while data := connection.recv(4096):
                decoder.feed(data)
                for found in decoder.frames():
                    assert isinstance(found, Frame)
                    connection.sendall(reply(found))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"ASRLsocket://127.0.0.1:{listener.getsockname()[1]}::INSTR", thread


def answer(found: Frame, status: int, *pieces: Any) -> bytes:
    return b"".join(bytes(each) for each in encode(found.kind | ANSWER, found.number, status, *pieces))


@pytest.mark.parametrize(
    ("status", "pieces", "problem"),
    [
        (0, (b"hello",), "does not greet as a test board does: a HELLO answer has at least"),
        (0, Hello(9, *list(vars(HELLO).values())[1:]).pack(), "the board speaks version 9 of the protocol, not 1"),
        (1, (b"\x91\xffno",), 'refused HELLO .*: -111,"no"'),
        (1, (b"",), "was answered with status 1: a refusal has at least 2 bytes"),
        (77, (b"",), "was answered with status 77"),
    ],
)
def test_what_does_not_greet_as_a_board_does_is_no_board(status: int, pieces: Any, problem: str) -> None:
    name, thread = answering(lambda found: answer(found, status, *pieces))
    with pytest.raises((LinkError, InstrumentError), match=problem):
        SerialLink(name, timeout_s=1.0).connect()
    thread.join(5)


def test_a_board_that_expects_another_number_is_greeted_anew() -> None:
    numbers: list[int] = []

    def reply(found: Frame) -> bytes:
        if found.kind == Kind.HELLO:
            return answer(found, Status.OK, *HELLO.pack())
        numbers.append(found.number)
        return answer(found, Status.OUT_OF_ORDER if len(numbers) == 1 else Status.OK)

    name, thread = answering(reply)
    with SerialLink(name, timeout_s=1.0) as link:
        with pytest.raises(LinkError, match=r"out of order for the board: is another program using it\?"):
            link.request(Kind.OUTPUT, b"\x00")
        assert link.request(Kind.OUTPUT, b"\x00") == b""
        assert link.sessions == 2
        link.resynchronise()
        assert link.sessions == 3
    thread.join(5)
