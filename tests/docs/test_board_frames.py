"""The serial board's page: its vectors go through the codec, and the reference firmware does what the page says."""

from __future__ import annotations

import math
import os
import random
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import labctl
from demo_boards import compile_demo_board, demo_line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.array import Operation, PulseBatch
from labctl.drivers.serial_board import SerialBoard
from labctl.links import board_frames as payloads
from labctl.links.board_frames import Kind, Status, Where
from labctl.links.frames import ANSWER, Damaged, Frame, FrameDecoder, encode

PAGE = Path(__file__).parents[2] / "docs" / "board-frames.md"

IDENTITY = ("labctl,DEMO-32,0,1.0", "DEMO", "toy")
CELLS, MASK = np.array([5, 1023]), np.packbits([1, 0, 0, 0, 0, 0, 0, 1, 0, 1])
BOARD = (32, 32, 5 / 65_536, 0.0, 16, 0.05, 0.5, 256e-6, 1e-6, 4e-6, 4.5, 4.0, 4.0, 3.3, 1e-8, 1e-3)

MEANT: dict[str, Any] = {
    "HELLO request 42": payloads.HelloRequest(1, 0x0123456789ABCDEF),
    "HELLO answer 42": payloads.Hello(1, 1024, 0x1122334455667788, 7, *BOARD, True, *IDENTITY),
    "CONFIGURE request 43": payloads.Configure(0.25, math.nan, math.nan),
    "CONFIGURE answer 43": payloads.Configured(2**-30, 0.0, 14, 0.25, 16e-6, 300.0),
    "OUTPUT request 44": payloads.Output(True),
    "OUTPUT answer 44": payloads.Empty(),
    "STATE request 45": payloads.Empty(),
    "STATE answer 45": payloads.State(7, True, 1.7e9, 0.25, 16e-6, 300.0),
    "PULSE request 46": payloads.Pulse(8, 1, True, Where.INDEXED, 1e-6, 1.2, CELLS, np.array([51_200, 65_535])),
    "PULSE answer 46": payloads.Timed(1.7e9, np.array([1024, 0], "<u2")),
    "PULSE request 47": payloads.Pulse(9, 2, False, Where.MASKED, 1e-7, 2.0, MASK, np.array([1, 2, 3])),
    "PULSE refusal 47": payloads.Refusal(-221, "outputs are off"),
    "READ request 48": payloads.Read(2, math.nan, np.array([5])),
    "READ answer 48": payloads.Timed(1.7e9, np.array([1024, 1025], "<u2")),
    "READ request 49": payloads.Read(1, 0.1, None),
    "MULTIPLY request 50": payloads.Multiply(False, np.array([[0.1, 0.2]], "<f4")),
    "MULTIPLY answer 50": payloads.Timed(1.7e9, np.array([1e-6, 2e-6], "<f4")),
    "COUNTS request 51": payloads.CountsRequest(0),
    "COUNTS answer 51": payloads.Counts(np.array([0, 1, 65_536, 2])),
    "LAST request 52": payloads.Empty(),
    "LAST answer 52": payloads.Last(12, 7, 1.7e9),
    "FETCH request 53": payloads.Fetch(12),
    "TIME request 65535": payloads.Empty(),
    "TIME answer 65535": payloads.Time(1.7e9),
    "ADVANCE request 0": payloads.Advance(3600.0),
}
STATUSES = {
    "DAMAGED": (Kind.NONE, 0, Status.DAMAGED),
    "NO_SESSION": (Kind.STATE | ANSWER, 45, Status.NO_SESSION),
    "OUT_OF_ORDER": (Kind.STATE | ANSWER, 45, Status.OUT_OF_ORDER),
}


def vectors(kind: str) -> dict[str, bytes]:
    fences = re.findall(r"^```vectors\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = re.findall(rf"^{kind} (.+)\n((?:    .+\n)+)", "".join(fences), re.MULTILINE)
    return {title: bytes.fromhex("".join(lines.split())) for title, lines in found}


def joined(pieces: Any) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


def decoded(stream: bytes, step: int) -> list[Frame | Damaged]:
    decoder = FrameDecoder(1 << 20)
    found = []
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])
        found += decoder.frames()
    decoder.flush()
    return found + list(decoder.frames())


def test_each_frame_of_the_page_is_one_that_is_tried_here() -> None:
    assert list(vectors("frame")) == [*MEANT, *STATUSES]


@pytest.mark.parametrize("title", MEANT)
def test_a_frame_of_the_page_is_what_is_sent_and_understood(title: str) -> None:
    name, direction, number = title.split()
    kind = Kind[name] if direction == "request" else Kind[name] | ANSWER
    status = Status.REFUSED if direction == "refusal" else Status.OK
    pieces, vector = MEANT[title].pack(), vectors("frame")[title]
    assert joined(encode(kind, int(number), status, *pieces)) == vector
    assert decoded(vector, len(vector)) == [(kind, int(number), status, joined(pieces))]


@pytest.mark.parametrize("title", STATUSES)
def test_a_bare_status_of_the_page_is_what_is_sent_and_understood(title: str) -> None:
    vector = vectors("frame")[title]
    assert joined(encode(*STATUSES[title])) == vector
    assert decoded(vector, len(vector)) == [(*STATUSES[title], b"")]


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("title", vectors("stream"))
def test_a_stream_of_the_page_is_taken_apart_as_it_says(title: str, step: int) -> None:
    seen = [
        "damaged" if isinstance(each, Damaged) else f"frame {each.number}"
        for each in decoded(vectors("stream")[title], step)
    ]
    assert ", ".join(seen) == title.rpartition(" = ")[2]


# -- the reference firmware -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_demo_board(tmp_path_factory.mktemp("firmware"))


class Raw:
    """A demo board on a socket, spoken to in bytes."""

    def __init__(self, program: Path) -> None:
        self._socket, theirs = socket.socketpair()
        self._board = subprocess.Popen([program], stdin=theirs, stdout=theirs)
        theirs.close()
        self._socket.settimeout(5)
        self._decoder = FrameDecoder(1 << 16)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        assert self._board.wait(5) == 0

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> Frame:
        while True:
            for found in self._decoder.frames():
                assert isinstance(found, Frame), found
                return found
            self._decoder.feed(self._socket.recv(4096))

    def ask(self, kind: int, number: int, payload: Any = payloads.Empty()) -> Frame:  # noqa: B008 -- it is frozen
        self.send(joined(encode(kind, number, 0, *payload.pack())))
        return self.answer()

    def greet(self, number: int = 42) -> payloads.Hello:
        return payloads.Hello.unpack(self.ask(Kind.HELLO, number, payloads.HelloRequest(1, 7)).payload)


def test_the_makefile_builds_the_demo_board_as_it_is_built_here(program: Path, tmp_path: Path) -> None:
    assert program.exists()
    made = tmp_path / "firmware"
    made.mkdir()
    for source in PAGE.with_name("firmware").iterdir():
        (made / source.name).write_bytes(source.read_bytes())
    subprocess.run(["make", "-C", made], check=True, capture_output=True)
    with Raw(made / "demo_board") as board:
        assert board.greet().identity == IDENTITY[0]


def test_the_firmware_says_what_the_page_has_it_say(program: Path) -> None:
    frames = vectors("frame")
    with Raw(program) as board:
        board.send(frames["HELLO request 42"])
        hello = payloads.Hello.unpack(board.answer().payload)
        meant = MEANT["HELLO answer 42"]
        assert (*vars(hello).values(),)[4:] == (*vars(meant).values(),)[4:]
        for title in ("CONFIGURE request 43", "OUTPUT request 44", "STATE request 45"):
            board.send(frames[title])
            assert board.answer()[1:3] == (int(title.split()[-1]), Status.OK)


def test_the_firmware_goes_by_the_state_machine(program: Path) -> None:
    with Raw(program) as board:
        assert board.ask(Kind.STATE, 9)[:3] == (Kind.STATE | ANSWER, 9, Status.NO_SESSION)
        board.greet(65_535)
        assert payloads.Time.unpack(board.ask(Kind.ADVANCE, 0, payloads.Advance(5.0)).payload).time == 1.7e9 + 5
        assert payloads.Time.unpack(board.ask(Kind.ADVANCE, 0, payloads.Advance(5.0)).payload).time == 1.7e9 + 5
        assert board.ask(Kind.TIME, 2)[:3] == (Kind.TIME | ANSWER, 2, Status.OUT_OF_ORDER)
        assert board.ask(Kind.TIME, 65_535).status == Status.OUT_OF_ORDER
        refused = board.ask(0x55, 1)
        assert (refused.kind, refused.status) == (0xD5, Status.REFUSED)
        assert payloads.Refusal.unpack(refused.payload).number == -113
        board.send(joined(encode(Kind.TIME | ANSWER, 2, 0)))  # an echo
        assert payloads.Time.unpack(board.ask(Kind.TIME, 2).payload).time == 1.7e9 + 5


def test_a_new_session_has_the_first_settings_and_keeps_batches_and_work(program: Path) -> None:
    batch = MEANT["PULSE request 46"]
    first = payloads.Pulse(1, 1, True, Where.INDEXED, 1e-6, 1.2, batch.cells, np.array([51_200, 51_200]))
    with Raw(program) as board:
        hello = board.greet()
        board.ask(Kind.CONFIGURE, 43, payloads.Configure(0.4, math.nan, math.nan))
        board.ask(Kind.OUTPUT, 44, payloads.Output(True))
        answered = board.ask(Kind.PULSE, 45, first)
        again = payloads.Hello.unpack(board.ask(Kind.HELLO, 7, payloads.HelloRequest(1, 8)).payload)
        assert (again.boot, again.sequence) == (hello.boot, 1)
        state = payloads.State.unpack(board.ask(Kind.STATE, 8).payload)
        assert (state.output, state.read_voltage) == (False, 0.2)
        last = payloads.Last.unpack(board.ask(Kind.LAST, 9).payload)
        assert (last.number, last.sequence) == (1, 1)
        assert board.ask(Kind.FETCH, 10, payloads.Fetch(1)).payload == answered.payload
        assert payloads.Refusal.unpack(board.ask(Kind.PULSE, 11, first).payload).number == -221
        board.ask(Kind.OUTPUT, 12, payloads.Output(True))
        assert board.ask(Kind.PULSE, 13, first).payload == answered.payload  # not applied again
        other = payloads.Pulse(1, 1, True, Where.INDEXED, 1e-6, 1.3, batch.cells, first.codes)
        assert payloads.Refusal.unpack(board.ask(Kind.PULSE, 14, other).payload).number == 101


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("title", vectors("stream"))
def test_the_firmware_finds_frames_as_the_codec_does(program: Path, title: str, step: int) -> None:
    """Each frame of the page's streams is answered, with NO_SESSION, and each damage reported."""
    stream = vectors("stream")[title]
    with Raw(program) as board:
        for start in range(0, len(stream), step):
            board.send(stream[start : start + step])
        for word in title.rpartition(" = ")[2].split(", "):
            found = board.answer()
            if word == "damaged":
                assert found[:3] == (Kind.NONE, 0, Status.DAMAGED)
            else:
                assert (found.status, f"frame {found.number}") == (Status.NO_SESSION, word)


@given(st.lists(st.binary(max_size=200).map(lambda data: data.replace(b"\x00", b"LC\x01")), max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_noise_the_firmware_answers_what_the_codec_lets_through(program: Path, noise: list[bytes]) -> None:
    hello = joined(encode(Kind.HELLO, 1, 0, *payloads.HelloRequest(1, 7).pack()))
    with Raw(program) as board:
        expected = []
        decoder = FrameDecoder(1024)
        for piece in [*noise, hello]:
            board.send(piece)
            decoder.feed(piece)
            expected += [isinstance(each, Damaged) for each in decoder.frames()]
        for is_damage in expected:
            assert (board.answer().status == Status.DAMAGED) == is_damage
        assert expected[-1] is False


def test_the_firmware_forgets_half_a_frame_when_the_line_stays_quiet(program: Path) -> None:
    long = joined(encode(Kind.PULSE, 1, 0, bytes(1000)))
    with Raw(program) as board:
        board.send(long[:500])
        assert board.answer().status == Status.DAMAGED
        assert board.greet().rows == 32


def harmful(seed: int) -> Callable[[bytes], bytes]:
    """Some of what passes is lost, damaged, doubled or cut short."""
    source = random.Random(seed)

    def harm(data: bytes) -> bytes:
        kind, at = source.random(), source.randrange(len(data))
        if kind < 0.02:
            return b""
        if kind < 0.12:
            return data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]
        if kind < 0.17:
            return data + data
        return data[:at] if kind < 0.19 else data

    return harm


def programmed(driver: SerialBoard) -> list[np.ndarray]:
    """What is read of an array that is formed, set, reset and multiplied, most of it in several frames."""
    found = []
    for operation, volts in ((Operation.FORM, 3.0), (Operation.SET, 1.5), (Operation.RESET, 0.7)):
        for step in (1, 3, 40):
            cells = np.arange(0, driver.geometry.cells, step, dtype=np.uint32)
            codes = np.full(len(cells), round(volts / 5 * 65_536), np.uint16)
            found += [each.codes for each in driver.pulse_and_verify(PulseBatch(operation, cells, codes, 1e-6, 1.5))]
        driver.pulse(PulseBatch(operation, cells, codes, 1e-6, 1.5))
        found.append(driver.read(repeats=2).codes)
    found.append(driver.multiply(np.linspace(0, 0.3, 20 * 32, dtype=np.float32).reshape(20, 32)))
    return found


def test_the_demo_board_says_how_it_is_used(program: Path) -> None:
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: demo_board ")
    for wrong in (["--nonsense"], ["/dev/null", "more"]):
        refused = subprocess.run([program, *wrong], capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals on Windows")
def test_the_demo_board_is_tried_without_a_cable_as_the_page_says(program: Path, tmp_path: Path) -> None:
    (recipe,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    with subprocess.Popen([program, "--pty"], stdout=subprocess.PIPE, text=True) as board:
        try:
            assert board.stdout is not None
            (tmp_path / "demo.toml").write_text(recipe.replace("/dev/pts/7", board.stdout.readline().strip()))
            for _ in range(2):  # it stays when a program leaves
                done = labctl("bench", "check", "demo.toml", cwd=tmp_path)
                assert done.returncode == 0, done.stderr
                assert IDENTITY[0] in done.stdout
        finally:
            board.kill()


@pytest.mark.parametrize("kind", ["pty", "socket"] if os.name == "posix" else ["socket"])
def test_the_driver_programs_the_reference_firmware_to_the_same_end_on_a_line_that_fails(
    program: Path, kind: str
) -> None:
    results = []
    for seed in (None, 5):
        with demo_line(program, kind) as line:
            settings = SerialBoard.Settings(
                driver="serial_board", resource_name=line.resource_name, rows=32, cols=32, timeout=2.0
            )
            with SerialBoard(settings) as driver:
                if seed is not None:
                    line.to_board, line.to_link = harmful(seed), harmful(seed + 1)
                results.append(programmed(driver))
                line.to_board = line.to_link = None
    for quiet, harmed in zip(*results, strict=True):
        np.testing.assert_array_equal(harmed, quiet)
    assert len({each.tobytes() for each in results[0]}) > 6  # the toy's cells do change
