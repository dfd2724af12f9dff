"""The serial board's firmware, spoken to in frames."""

from __future__ import annotations

import itertools
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.links.board_frames import (
    VERSION,
    Advance,
    Configure,
    Configured,
    Counter,
    Counts,
    CountsRequest,
    Fetch,
    Hello,
    HelloRequest,
    Kind,
    Last,
    Multiply,
    Output,
    Pulse,
    Read,
    Refusal,
    State,
    Status,
    Time,
    Timed,
    Where,
)
from labctl.links.frames import ANSWER, Frame, FrameDecoder, encode
from labctl.links.serial import SerialLink
from labctl.simulated_instruments.instruments.board import MemoryBoard
from labctl.simulated_instruments.instruments.serial_board import build
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site

ROWS, COLS = 6, 10
CELLS = ROWS * COLS
VOLT = 65_536 / 5.0  # codes
NAN = math.nan


class Bench:
    """A board with its outputs on, and whoever talks to it. `ask` counts on; `say` sends what it is given."""

    def __init__(self, greeted: bool = True, **options: object) -> None:
        self.board = build({"chip": "T-7", "rows": ROWS, "cols": COLS, **options}, Site(Path()))
        self.chip = self.board.firmware.chip
        self.numbers = itertools.count(65_530)  # so that they soon begin anew
        self.reconnect()
        if greeted:
            self.greet(1)
            self.ask(Kind.OUTPUT, *Output(True).pack())

    def reconnect(self) -> None:
        self.conversation = self.board.wire.connect(stream=True)
        self.decoder = FrameDecoder(1 << 24)

    def raw(self, data: bytes) -> list[Frame]:
        self.conversation.write(data)
        while pieces := self.conversation.take():
            for piece in pieces:
                self.decoder.feed(piece)
        found = list(self.decoder.frames())
        assert all(isinstance(each, Frame) for each in found)
        return found  # type: ignore[return-value]

    def say(self, kind: int, number: int, *pieces: Any) -> Frame:
        (answer,) = self.raw(b"".join(encode(kind, number & 0xFFFF, 0, *pieces)))
        return answer

    def greet(self, session: int) -> Hello:
        answer = self.say(Kind.HELLO, next(self.numbers), *HelloRequest(VERSION, session).pack())
        assert answer.status == Status.OK
        return Hello.unpack(answer.payload)

    def ask(self, kind: int, *pieces: Any) -> memoryview:
        answer = self.say(kind, next(self.numbers), *pieces)
        assert (answer.status, answer.kind) == (Status.OK, kind | ANSWER)
        return answer.payload

    def refusal(self, kind: int, *pieces: Any) -> int:
        answer = self.say(kind, next(self.numbers), *pieces)
        assert answer.status == Status.REFUSED
        return Refusal.unpack(answer.payload).number

    @property
    def last(self) -> Last:
        return Last.unpack(self.ask(Kind.LAST))


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.board.close()


def u4(*cells: int) -> np.ndarray:
    return np.array(cells, "<u4")


def pulse(
    sequence: int,
    cells: np.ndarray | None,
    volts: float = 3.5,
    where: Where = Where.INDEXED,
    count: int | None = None,
    *,
    operation: int = 1,
    verify: bool = True,
    width: float = 1e-6,
    gate: float = 1.5,
) -> tuple[Any, ...]:
    number = len(cells) if count is None and cells is not None else count or CELLS
    codes = np.full(number, round(volts * VOLT), "<u2")
    return Pulse(sequence, operation, verify, where, width, gate, cells, codes).pack()


# -- sessions -----------------------------------------------------------------------------------------------------


def test_nothing_is_done_before_it_is_greeted() -> None:
    bench = Bench(greeted=False)
    answer = bench.say(Kind.PULSE, 5, *pulse(1, u4(1)))
    assert (answer.status, answer.number, answer.kind) == (Status.NO_SESSION, 5, Kind.PULSE | ANSWER)
    assert not bench.chip.pulse_counts.any()


def test_a_new_session_has_the_first_settings_and_keeps_the_numbers(bench: Bench) -> None:
    bench.ask(Kind.CONFIGURE, *Configure(0.4, 4e-6, 350.0).pack())
    bench.ask(Kind.PULSE, *pulse(1, u4(1)))
    again = bench.greet(2)
    state = State.unpack(bench.ask(Kind.STATE))
    assert (again.sequence, state.sequence, bench.last.number) == (1, 1, 1)
    assert (state.read_voltage, state.current_range, state.output, state.temperature) == (0.2, 16e-6, False, 350.0)


def test_a_greeting_sent_again_is_answered_again_and_resets_nothing(bench: Bench) -> None:
    first = bench.say(Kind.HELLO, 9, *HelloRequest(VERSION, 7).pack())
    again = bench.say(Kind.HELLO, 9, *HelloRequest(VERSION, 7).pack())
    assert bytes(first.payload) == bytes(again.payload)
    bench.say(Kind.OUTPUT, 10, *Output(True).pack())
    assert bench.say(Kind.HELLO, 11, *HelloRequest(VERSION, 7).pack()).status == Status.OK
    assert bench.board.firmware.output


def test_power_off_is_seen_by_another_boot_number(bench: Bench) -> None:
    bench.ask(Kind.PULSE, *pulse(1, u4(1)))
    before = bench.greet(2)
    bench.board.power_cycle()
    bench.reconnect()
    assert bench.say(Kind.TIME, 1).status == Status.NO_SESSION
    after = bench.greet(3)
    assert after.boot != before.boot
    assert (after.sequence, bench.last.number) == (0, 0)
    assert bench.chip.pulse_counts.sum() == 1


# -- once ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.PULSE, pulse(1, u4(1, 2))),
        (Kind.PULSE, pulse(1, u4(1, 2), verify=False)),
        (Kind.READ, Read(3, NAN, None).pack()),
        (Kind.READ, Read(1, 0.3, u4(4)).pack()),
        (Kind.MULTIPLY, Multiply(False, np.full((2, ROWS), 0.1, np.float32)).pack()),
        (Kind.ADVANCE, Advance(5.0).pack()),
        (Kind.PULSE, pulse(9, u4(1))),
    ],
    ids=["verify", "apply", "read", "listed read", "multiply", "advance", "refused"],
)
def test_a_request_sent_again_under_its_number_is_answered_and_not_carried_out(
    bench: Bench, kind: Kind, payload: tuple[Any, ...]
) -> None:
    first = bench.say(kind, next(bench.numbers), *payload)
    before = bench.chip.pulse_counts.sum(), bench.chip.read_counts.sum(), bench.chip.multiplications
    clock = bench.board.firmware.clock.now()
    bench.reconnect()
    again = bench.say(kind, first.number, *payload)
    assert (again.kind, again.status, bytes(again.payload)) == (first.kind, first.status, bytes(first.payload))
    assert before == (bench.chip.pulse_counts.sum(), bench.chip.read_counts.sum(), bench.chip.multiplications)
    assert bench.board.firmware.clock.now() == clock


@pytest.mark.parametrize("ahead", [2, 3, 65_535])
def test_another_number_than_the_next_is_out_of_order(bench: Bench, ahead: int) -> None:
    last = bench.say(Kind.TIME, next(bench.numbers)).number
    answer = bench.say(Kind.PULSE, last + ahead, *pulse(1, u4(1)))
    assert answer.status == Status.OUT_OF_ORDER
    assert not bench.chip.pulse_counts.any()
    assert bench.say(Kind.PULSE, last + 1, *pulse(1, u4(1))).status == Status.OK


@pytest.mark.parametrize("verify", [True, False])
def test_over_a_new_session_the_last_work_is_told_and_its_answer_had_again(bench: Bench, verify: bool) -> None:
    bench.ask(Kind.READ, *Read(1, NAN, None).pack())
    answer = bytes(bench.ask(Kind.PULSE, *pulse(1, u4(1, 2), verify=verify)))
    reads = bench.chip.read_counts.copy()
    bench.reconnect()
    bench.greet(2)
    last = bench.last
    assert (last.number, last.sequence) == (2, 1)
    assert bytes(bench.ask(Kind.FETCH, *Fetch(2).pack())) == answer
    assert last.ended == Timed.unpack(memoryview(answer), "<u2", 2 * verify).time
    assert bench.refusal(Kind.FETCH, *Fetch(1).pack()) == -230
    assert bench.refusal(Kind.FETCH, *Fetch(3).pack()) == -230
    np.testing.assert_array_equal(bench.chip.read_counts, reads)


def test_the_same_batch_in_a_new_session_has_the_answer_it_had(bench: Bench) -> None:
    answer = Timed.unpack(bench.ask(Kind.PULSE, *pulse(1, u4(1, 2))), "<u2", 2)
    bench.greet(2)
    bench.ask(Kind.OUTPUT, *Output(True).pack())
    again = Timed.unpack(bench.ask(Kind.PULSE, *pulse(1, u4(1, 2))), "<u2", 2)
    np.testing.assert_array_equal(again.values, answer.values)
    assert again.time == answer.time
    assert bench.refusal(Kind.PULSE, *pulse(1, u4(1, 3))) == 101
    assert bench.refusal(Kind.PULSE, *pulse(3, u4(1, 2))) == 101
    assert bench.chip.pulse_counts.sum() == 2
    assert bench.chip.read_counts.sum() == 2


# -- noise --------------------------------------------------------------------------------------------------------


def test_what_is_no_frame_is_told_and_the_next_one_is_carried_out(bench: Bench) -> None:
    number = next(bench.numbers)
    whole = b"".join(encode(Kind.PULSE, number, 0, *pulse(1, u4(1))))
    torn = bytearray(whole)
    torn[20] ^= 1
    damaged, answer = bench.raw(bytes(torn) + whole)
    assert (damaged.kind, damaged.number, damaged.status) == (Kind.NONE, 0, Status.DAMAGED)
    assert (answer.number, answer.status) == (number, Status.OK)
    assert bench.chip.pulse_counts.sum() == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 80), st.integers(0, 80))
def test_whatever_arrives_a_request_said_often_enough_is_carried_out_once(
    noise: list[bytes], start: int, stop: int
) -> None:
    """As the link does it: the same frame until its answer comes."""
    bench = Bench(greeted=False)
    hello = b"".join(encode(Kind.HELLO, 1, 0, *HelloRequest(VERSION, 5).pack()))
    output = b"".join(encode(Kind.OUTPUT, 2, 0, *Output(True).pack()))
    batch = b"".join(encode(Kind.PULSE, 3, 0, *pulse(1, u4(1))))
    for request, kind in ((hello, Kind.HELLO), (output, Kind.OUTPUT), (batch, Kind.PULSE)):
        for junk in [*noise, request[min(start, stop) : max(start, stop)]]:
            bench.raw(junk)
        for _ in range(50):
            if any(each.kind == kind | ANSWER for each in bench.raw(request)):
                break
        else:
            pytest.fail("the request was never answered")
    assert bench.chip.pulse_counts.sum() == 1


def test_who_asks_and_never_listens_is_no_longer_answered() -> None:
    bench = Bench(rows=64, cols=64)
    for _ in range(200):
        read = encode(Kind.READ, next(bench.numbers) & 0xFFFF, 0, *Read(1, NAN, None).pack())
        bench.conversation.write(b"".join(read))
    assert bench.conversation.pending < 100_000
    assert bench.conversation.backlog > 0
    assert bench.board.firmware.work < 20
    while bench.conversation.take():
        pass
    assert bench.board.firmware.work == 200


# -- what is refused, with nothing done ---------------------------------------------------------------------------

MASK = np.packbits(np.arange(CELLS) < 3)
REFUSALS: dict[str, tuple[Kind, tuple[Any, ...], int]] = {
    "amplitude above FORM's limit": (Kind.PULSE, pulse(1, u4(1), 4.501), -222),
    "amplitude above SET's limit": (Kind.PULSE, pulse(1, u4(1), 4.001, operation=2), -222),
    "no such operation": (Kind.PULSE, pulse(1, u4(1), operation=4), -224),
    "too narrow": (Kind.PULSE, pulse(1, u4(1), width=9e-9), -222),
    "no width": (Kind.PULSE, pulse(1, u4(1), width=NAN), -222),
    "gate too high": (Kind.PULSE, pulse(1, u4(1), gate=3.31), -222),
    "a cell beyond the array": (Kind.PULSE, pulse(1, u4(0, CELLS)), -222),
    "a cell twice": (Kind.PULSE, pulse(1, u4(1, 1)), -224),
    "too few for all": (Kind.PULSE, pulse(1, None, where=Where.ALL, count=CELLS - 1), -161),
    "amplitudes not of the mask": (Kind.PULSE, pulse(1, MASK, where=Where.MASKED, count=4), -161),
    "a mask of another array": (Kind.PULSE, pulse(1, MASK[:-1], where=Where.MASKED, count=3), -161),
    "a number ahead": (Kind.PULSE, pulse(2, u4(1)), 101),
    "half a batch": (Kind.PULSE, (b"".join(bytes(each) for each in pulse(1, u4(1)))[:-1],), -161),
    "no repeats": (Kind.READ, Read(0, NAN, None).pack(), -222),
    "a read voltage too high": (Kind.READ, Read(1, 0.51, None).pack(), -222),
    "more readings than go into a frame": (Kind.READ, Read(10_000, NAN, None).pack(), -223),
    "an input too high": (Kind.MULTIPLY, Multiply(False, np.full((1, ROWS), 0.6, np.float32)).pack(), -222),
    "no inputs": (Kind.MULTIPLY, Multiply(False, np.zeros((0, ROWS), np.float32)).pack(), -161),
    "a range too high": (Kind.CONFIGURE, Configure(0.3, 1.0, NAN).pack(), -222),
    "too hot": (Kind.CONFIGURE, Configure(0.3, 1e-6, 1000.0).pack(), -222),
    "no such counter": (Kind.COUNTS, CountsRequest(2).pack(), -224),
    "time backwards": (Kind.ADVANCE, Advance(-1.0).pack(), -222),
    "no such request": (0x3F, (), -113),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_wrong_is_refused_whole(bench: Bench, case: str) -> None:
    kind, payload, number = REFUSALS[case]
    before = bench.ask(Kind.STATE)
    assert bench.refusal(kind, *payload) == number
    assert not bench.chip.pulse_counts.any()
    assert not bench.chip.read_counts.any()
    assert bytes(bench.ask(Kind.STATE)) == bytes(before)
    assert bench.last.number == 0


def test_with_outputs_off_no_pulse_is_given(bench: Bench) -> None:
    bench.ask(Kind.OUTPUT, *Output(False).pack())
    assert bench.refusal(Kind.PULSE, *pulse(1, u4(1))) == -221
    assert not bench.chip.pulse_counts.any()


# -- what it answers ----------------------------------------------------------------------------------------------


def test_listed_masked_and_all_are_the_same_pulses() -> None:
    found = []
    for where, cells in ((Where.INDEXED, u4(*range(CELLS))), (Where.MASKED, np.packbits(np.ones(CELLS, bool)))):
        bench = Bench()
        found.append(Timed.unpack(bench.ask(Kind.PULSE, *pulse(1, cells, where=where, count=CELLS)), "<u2", CELLS))
    whole = Timed.unpack(Bench().ask(Kind.PULSE, *pulse(1, None, where=Where.ALL)), "<u2", CELLS)
    for each in found:
        np.testing.assert_array_equal(each.values, whole.values)
        assert each.time == whole.time


def test_settings_counts_and_time(bench: Bench) -> None:
    configured = Configured.unpack(bench.ask(Kind.CONFIGURE, *Configure(0.1, 5e-6, NAN).pack()))
    assert (configured.read_voltage, configured.current_range, configured.temperature) == (0.1, 16e-6, 300.0)
    top = configured.adc_offset + configured.adc_step * (2**configured.adc_bits - 1)
    assert top == pytest.approx(16e-6 / 0.1)
    bench.ask(Kind.PULSE, *pulse(1, u4(3, 5), verify=False))
    bench.ask(Kind.READ, *Read(4, NAN, u4(5)).pack())
    pulses = Counts.unpack(bench.ask(Kind.COUNTS, *CountsRequest(Counter.PULSES).pack()), CELLS).counts
    reads = Counts.unpack(bench.ask(Kind.COUNTS, *CountsRequest(Counter.READS).pack()), CELLS).counts
    assert np.flatnonzero(pulses).tolist() == [3, 5]
    assert (np.flatnonzero(reads).tolist(), reads[5]) == ([5], 4)
    before = Time.unpack(bench.ask(Kind.TIME)).time
    assert Time.unpack(bench.ask(Kind.ADVANCE, *Advance(100.0).pack())).time == pytest.approx(before + 100, abs=3e-7)


def test_real_time_cannot_be_advanced() -> None:
    bench = Bench(clock="real")
    assert not bench.greet(4).is_clock_virtual
    assert bench.refusal(Kind.ADVANCE, *Advance(1.0).pack()) == -221


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_payload": 100}, "max_payload must be between 256 and 268435456 bytes, not 100"),
        ({"chip": "A;B"}, "an identity is four fields without commas or semicolons"),
        ({"clock": "sundial"}, "clock must be 'virtual' or 'real', not 'sundial'"),
    ],
)
def test_options_that_make_no_board_are_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + sentence):
        Bench(greeted=False, **options)


# -- half frames --------------------------------------------------------------------------------------------------


HALF = b"".join(encode(Kind.PULSE, 3, 0, bytes(100_000)))[:40]
"""Of a frame whose sender was killed."""


@pytest.fixture(params=["socket", "pty"])
def port(request: pytest.FixtureRequest) -> Iterator[str]:
    """The resource name of a board on a server of that kind."""
    if request.param == "pty" and sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals")
    board = build({"chip": "T-7", "rows": ROWS, "cols": COLS}, Site(Path()))
    if request.param == "socket":
        with TcpServer(board.wire) as server:
            yield server.serial_resource_name
    else:
        from labctl.simulated_instruments.servers.pseudo_terminal import PtyServer  # none on Windows

        with PtyServer(board.wire) as terminal:
            yield terminal.resource_name
    board.close()


def opened(resource_name: str) -> Any:
    return serial.serial_for_url(resource_name.removeprefix("ASRL").removesuffix("::INSTR"), timeout=5)


def heard(line: Any, *statuses: int) -> None:
    """As many frames as there are statuses, with these."""
    decoder = FrameDecoder(1 << 24)
    found: list[int] = []
    while len(found) < len(statuses):
        piece = line.read(1)
        assert piece, f"only {found}"
        decoder.feed(piece)
        found += [each.status for each in decoder.frames() if isinstance(each, Frame)]
    assert found == list(statuses)


def test_half_a_frame_is_forgotten_after_a_silence_whatever_brings_the_bytes(port: str) -> None:
    hello = b"".join(encode(Kind.HELLO, 7, 0, *HelloRequest(VERSION, 99).pack()))
    with opened(port) as line:
        line.write(HALF)
        time.sleep(0.4)
        line.write(hello)
        heard(line, Status.DAMAGED, Status.OK)
        line.write(HALF[:20])
        time.sleep(0.4)
        line.write(hello)
        heard(line, Status.DAMAGED, Status.OK)


@pytest.mark.parametrize("port", ["pty"], indirect=True)  # a socket's end is the end of its frame
def test_whoever_comes_after_one_killed_in_mid_frame_is_served(port: str) -> None:
    with opened(port) as line:
        line.write(HALF)
    time.sleep(0.4)
    with SerialLink(port, timeout_s=2.0) as link:
        assert link.idn.startswith("labctl,SB-512,T-7,")


def test_a_pause_within_a_frame_shorter_than_the_silence_is_none(port: str) -> None:
    hello = b"".join(encode(Kind.HELLO, 7, 0, *HelloRequest(VERSION, 99).pack()))
    with opened(port) as line:
        for at in range(0, len(hello), 10):
            line.write(hello[at : at + 10])
            time.sleep(0.05)
        heard(line, Status.OK)


def test_while_the_board_is_at_work_the_line_is_not_silent(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a frame waits longer for its reader than a silence lasts, because of the work before it."""
    started, carry_out = threading.Event(), MemoryBoard.begin_message

    def slow(board: MemoryBoard) -> None:
        started.set()
        time.sleep(0.5)
        carry_out(board)

    monkeypatch.setattr(MemoryBoard, "begin_message", slow)
    first = b"".join(encode(Kind.HELLO, 7, 0, *HelloRequest(VERSION, 99).pack()))
    second = b"".join(encode(Kind.STATE, 8, 0))
    with opened(port) as line:
        line.write(first + second[:10])
        assert started.wait(5)
        line.write(second[10:])
        heard(line, Status.OK, Status.OK)
