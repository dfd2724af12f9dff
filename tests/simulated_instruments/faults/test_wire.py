"""Each kind of fault as a plain socket, PyVISA and pyserial meet it."""

from __future__ import annotations

import math
import socket
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyvisa
import serial
from benches import write_bench

from labctl.links.board_frames import VERSION, HelloRequest, Kind, Status
from labctl.links.frames import Frame, FrameDecoder, encode
from labctl.simulated_instruments.faults import FaultyWire, as_plan, read_plan
from labctl.simulated_instruments.faults.plan import parse_plan
from labctl.simulated_instruments.instruments.board import FIRMWARE
from labctl.simulated_instruments.instruments.serial_board import build as build_serial_board
from labctl.simulated_instruments.servers.hislip import HislipServer
from labctl.simulated_instruments.wire import Site

IDN = f"labctl,TB-512,T-1,{FIRMWARE}\n".encode()
SEQUENCE = b"PULS:SEQ?\n"
Make = Callable[..., Any]


def fault(kind: str, *messages: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "messages": list(messages), **more}


# -- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [True, False], ids=["received", "written"])
def test_half_a_frame_is_passed_on_after_a_silence(tmp_path: Path, in_place: bool) -> None:
    """It is damaged to the board. What has come behind it, and is sent again for want of an answer, is answered."""
    board = build_serial_board({"chip": "T-1", "rows": 4, "cols": 4}, Site(tmp_path))
    wire = FaultyWire(board, parse_plan({"seed": 1, "faults": [fault("drop", 1000)]}, "plan", tmp_path), "board")
    conversation = wire.connect(stream=True)
    hello = b"".join(encode(Kind.HELLO, 7, 0, *HelloRequest(VERSION, 99).pack()))
    for message in (b"".join(encode(Kind.PULSE, 3, 0, bytes(100_000)))[:40], hello, hello):
        if in_place:
            conversation.writable()[: len(message)] = message
            conversation.received(len(message))
        else:
            conversation.write(message)
        time.sleep(0.3)
    decoder = FrameDecoder(1 << 20)
    while pieces := conversation.take():
        for piece in pieces:
            decoder.feed(piece)
    assert [each.status for each in decoder.frames() if isinstance(each, Frame)] == [
        Status.DAMAGED,
        Status.OK,
        Status.OK,
    ]
    wire.close()
    board.close()


# -- a raw socket -----------------------------------------------------------------------------------------------


def test_without_faults_everything_passes_as_it_is(faulty: Make) -> None:
    client = faulty().connect()
    client.send(b"*IDN?\nFORM ASC;:READ:IND? 1,#14\x00\x00\x00\x00\n")
    assert client.line().count(b"\n") == 2 or client.line()
    for size in (1, 3, 7):
        message = b"PULS:SEQ?;:READ:IND? 1,#14\x0a\x00\x00\x00;*IDN?\n"
        for start in range(0, len(message), size):
            client.send(message[start : start + size])
        assert client.line().startswith(b"0;")


def test_a_dropped_answer_was_carried_out_and_a_dropped_message_was_not(faulty: Make) -> None:
    where = faulty(fault("drop", 1), fault("drop", 2, direction="to"))
    client = where.connect()
    client.send(b"OUTP ON;OUTP?\n")
    assert client.receive() == b""
    client.send(b"OUTP OFF\n")
    assert client.ask(b"OUTP?\n") == b"1\n"
    assert where.injected == [(1, "drop"), (2, "drop")]


def test_a_doubled_message_is_carried_out_twice_and_a_doubled_answer_comes_twice(faulty: Make) -> None:
    where = faulty(fault("duplicate", 1), fault("duplicate", 2, direction="to"))
    client = where.connect()
    client.send(b"*IDN?\n")
    assert (client.line() + (client.receive() or b"")) == 2 * IDN
    client.send(b"SYST:TIME:ADV 1;:SYST:TIME?\n")
    times = (client.line() + (client.receive() or b"")).split()
    assert len(times) == 2
    assert float(times[1]) == float(times[0]) + 1


def test_what_is_cut_off_an_answer_never_comes_and_what_is_cut_off_a_message_joins_the_next(faulty: Make) -> None:
    client = faulty(fault("truncate", 1, at=5), fault("truncate", 2, at=4, direction="to")).connect()
    client.send(b"*IDN?\n")
    assert client.receive() == IDN[:5]
    assert client.receive() == b""
    client.send(b"PULS:NONSENSE\n")
    assert client.ask(b":SEQ?\n") == b"0\n"


@pytest.mark.parametrize("at", [0, 1, 7, 21])
def test_a_connection_ends_at_the_very_byte(faulty: Make, at: int) -> None:
    client = faulty(fault("close", 1, at=at)).connect()
    client.send(b"*IDN?\n")
    received = b""
    while piece := client.receive(5):
        received += piece
    assert piece is None
    assert received == IDN[:at]


def test_a_connection_that_ends_within_a_message_loses_it_alone(faulty: Make) -> None:
    where = faulty(fault("close", 1, at=7, direction="to"))
    client = where.connect()
    client.send(b"OUTP ON\n")
    assert client.receive(5) is None
    assert where.connect().ask(b"OUTP?\n") == b"0\n"


def test_damage_is_where_and_what_the_plan_says(faulty: Make) -> None:
    client = faulty(
        fault("corrupt", 1, at=[0, 2], flips=[1, 0x80]), fault("corrupt", 2, at=[6], flips=[1], direction="to")
    ).connect()
    expected = bytearray(IDN)
    expected[0] ^= 1
    expected[2] ^= 0x80
    assert client.ask(b"*IDN?\n") == expected
    client.send(b"PULS:SEQ?\n")  # SDQ
    assert client.ask(b"SYST:ERR?\n").startswith(b"-113,")


def test_an_answer_is_late_by_its_latency_and_the_boards_clock_does_not_know(faulty: Make) -> None:
    client = faulty(fault("latency", 2, seconds=0.3), fault("latency", 4, seconds=0.3, direction="to")).connect()
    before = client.ask(b"SYST:TIME?\n")
    for _ in range(2):
        started = time.monotonic()
        assert client.ask(b"SYST:TIME?\n") == before
        assert 0.3 <= time.monotonic() - started < 2
        assert client.ask(b"SYST:TIME?\n") == before


def test_a_hung_board_answers_nobody_until_it_does_again_and_then_everything(faulty: Make) -> None:
    where = faulty(fault("hang", 1, seconds=0.5))
    client, other = where.connect(), where.connect()
    started = time.monotonic()
    client.send(b"*IDN?\n")
    time.sleep(0.05)
    other.send(SEQUENCE)
    assert other.receive(0.2) == b""
    assert other.line() == b"0\n"
    assert client.line() == IDN
    assert 0.5 <= time.monotonic() - started < 3


def test_a_board_that_is_gone_takes_what_is_sent_and_says_nothing_ever(faulty: Make) -> None:
    where = faulty(fault("hang", 2, direction="to"))
    client = where.connect()
    assert client.ask(b"*IDN?\n") == IDN
    client.send(b"OUTP ON;*IDN?\n")
    assert client.receive(0.2) == b""
    late = where.connect()
    late.send(b"*IDN?\n")
    assert late.receive(0.2) == b""
    assert not where.board.firmware.output
    started = time.monotonic()
    where.close()
    assert time.monotonic() - started < 2


def test_an_answer_trickles(faulty: Make) -> None:
    client = faulty(fault("trickle", 1, rate=100, piece=4)).connect()
    started = time.monotonic()
    client.send(b"*IDN?\n")
    assert client.receive(5) == IDN[:4]
    assert client.line() == IDN[4:]
    assert 0.2 < time.monotonic() - started < 2  # 22 bytes


def test_a_reboot_ends_every_connection_and_loses_settings_not_cells(faulty: Make) -> None:
    where = faulty(fault("reboot", 3, direction="to", seconds=0.2))
    client, other = where.connect(), where.connect()
    assert other.ask(b"*IDN?\n") == IDN
    client.send(b"OUTP ON;:FORM:BORD SWAP;:PULS:APPL:IND 1,FORM,1US,1.2,#14\x05\x00\x00\x00,#12\x00\xc8\n")
    client.send(b"PULS:SEQ?\n")
    assert client.receive(5) is None
    other.send(SEQUENCE)
    assert other.receive(5) is None
    started = time.monotonic()
    after = where.connect()
    assert after.ask(b"*ESR?;:PULS:SEQ?;:OUTP?\n") == b"128;0;0\n"
    assert 0.1 < time.monotonic() - started < 2
    assert where.board.chip.pulse_counts.sum() == 1
    assert after.ask(b"FORM ASC;:ARR:COUN:PULS?\n").count(b"1") == 1


def test_a_plan_and_its_log_do_the_same_to_the_same_traffic(faulty: Make, tmp_path: Path) -> None:
    faults = [
        {"kind": kind, "probability": 0.2, "direction": way} | more
        for way in ("to", "from")
        for kind, more in (
            ("drop", {}),
            ("duplicate", {}),
            ("truncate", {}),
            ("corrupt", {"bytes": 2}),
            ("latency", {"seconds": 0.0, "jitter": 0.002}),
        )
    ]

    def traffic(where: Any) -> bytes:
        client = where.connect()
        for _ in range(60):
            client.send(b"*CLS;:SYST:TIME?\n")
        client.socket.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.receive(30):
            received += piece
        assert piece is None
        return received

    first, again, other = faulty(*faults), faulty(*faults), faulty(*faults, seed=2)
    received = traffic(first)
    assert len(first.injected) > 40
    assert traffic(again) == received
    assert [each.fault for each in again.wire.record.injected] == [each.fault for each in first.wire.record.injected]
    assert traffic(other) != received
    (tmp_path / "replay.toml").write_text(as_plan(first.wire.record.injected), encoding="utf-8")
    replayed = faulty(*tomllib.loads((tmp_path / "replay.toml").read_text())["faults"], seed=99)
    assert traffic(replayed) == received
    assert [each.fault for each in replayed.wire.record.injected] == [each.fault for each in first.wire.record.injected]


# -- other clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", ["TCPIP0::127.0.0.1::5025::SOCKET", "GPIB0::9::INSTR"])
def test_in_process_pyvisa_waits_for_what_is_late_and_no_longer_than_its_time_out(
    tmp_path: Path, resource: str
) -> None:
    plan = [
        '{kind = "latency", seconds = 0.2, messages = [2]}',
        '{kind = "hang", seconds = 0.4, messages = [3]}',
        '{kind = "close", at = 4, messages = [5]}',
    ]
    (tmp_path / "faults.toml").write_text(f"log = 'log.toml'\nfaults = [{', '.join(plan)}]", encoding="utf-8")
    bench = write_bench(tmp_path, rows=4, cols=4, resource=resource, simulated='faults = "faults.toml"')
    manager = pyvisa.ResourceManager(f"{bench}@labctl")
    try:
        board = manager.open_resource(resource, read_termination="\n", write_termination="\n", timeout=300)
        assert board.query("*IDN?").encode() + b"\n" == IDN
        started = time.monotonic()
        assert board.query("*IDN?").encode() + b"\n" == IDN
        assert 0.2 <= time.monotonic() - started < 0.3
        with pytest.raises(pyvisa.errors.VisaIOError, match="VI_ERROR_TMO"):
            board.query("*IDN?")
        assert 0.5 <= time.monotonic() - started < 2
        assert board.read().encode() + b"\n" == IDN
        assert board.query("PULS:SEQ?") == "0"
        board.write("*IDN?")
        assert board.read_bytes(4) == IDN[:4]
        with pytest.raises(pyvisa.errors.VisaIOError, match="VI_ERROR_CONN_LOST"):
            board.read()
    finally:
        manager.close()
    assert [each.name for each in read_plan(tmp_path / "log.toml").faults] == ["latency", "hang", "close"]


def test_hislip_clients_meet_them_too(faulty: Make) -> None:
    where = faulty(fault("drop", 2), fault("corrupt", 3, at=[0], flips=[1]), fault("close", 4, at=3))
    manager = pyvisa.ResourceManager("@py")
    with HislipServer({"hislip0": where.wire}, port=0) as server:
        board = manager.open_resource(server.resource_name("hislip0"), read_termination="\n", timeout=300)
        assert board.query("*IDN?").encode() + b"\n" == IDN
        with pytest.raises(pyvisa.errors.VisaIOError, match="VI_ERROR_TMO"):
            board.query("*IDN?")
        board.clear()
        assert board.query("*IDN?") == "m" + IDN.decode()[1:-1]
        with pytest.raises((RuntimeError, pyvisa.errors.VisaIOError)):
            board.query("*IDN?")
        board.close()
    manager.close()


def test_pyserial_meets_them_too(faulty: Make) -> None:
    where = faulty(fault("truncate", 1, at=6), fault("close", 2, at=3))
    with serial.serial_for_url(f"socket://127.0.0.1:{where.server.port}", timeout=0.3) as port:
        port.write(b"*IDN?\n")
        assert port.read(100) == IDN[:6]
        port.write(b"*IDN?\n")
        assert port.read(3) == IDN[:3]
        with pytest.raises(serial.SerialException):
            port.read(1)


def test_frames_are_messages_too_however_they_are_cut() -> None:
    from labctl.simulated_instruments.faults.messages import Cutter

    frames = [
        b"".join(encode(kind, kind, 0, payload)) for kind, payload in ((1, b""), (16, b"a\n#\"'" * 99), (4, b"\n"))
    ]
    stream = b"".join(frames)
    for size in (1, 2, 5, 19, 1000):
        cutter = Cutter(stream=True)
        found = []
        for start in range(0, len(stream), size):
            cutter.append(stream[start : start + size])
            found += [message for message, _ in cutter.messages(end=False)]
        assert found == frames


def test_silence_without_end_is_no_number_of_seconds(faulty: Make) -> None:
    where = faulty(fault("hang", 1))
    where.connect().send(b"*IDN?\n")
    deadline = time.monotonic() + 5
    while where.wire.silent_until != math.inf:
        assert time.monotonic() < deadline
        time.sleep(0.01)
