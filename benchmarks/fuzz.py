"""Hostile messages at the codec of frames, the serial board's firmware, and the SCPI engine around the test board's.

    OMP_NUM_THREADS=1 python benchmarks/fuzz.py frames|scpi [--messages N] [--seed S] [--json]

Messages are real ones, mutated, and random bytes; seeded, so that a finding can be had again. After every thousand,
the instrument has to answer as if nothing had been. A crash is an exception or warning that comes out, a hang a
message that takes longer than a second, growth is what the process holds more after all messages than after the first
tenth of them.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import struct
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from labctl.links import board_frames as payloads
from labctl.links.board_frames import Kind, Status, Where
from labctl.links.frames import ANSWER, START, Damaged, Frame, FrameDecoder, encode
from labctl.simulated_instruments.instruments import serial_board, test_board
from labctl.simulated_instruments.wire import Conversation, Site

ROWS, COLS = 8, 8
CELLS = ROWS * COLS
MAX_PAYLOAD = 4096
SLOW_S = 1.0
ROUND = 1000  # messages between two looks at whether it still answers
TRACED = 5_000  # of the last messages, with every allocation followed
MAX_GROWTH_KIB = 4096

OPTIONS = {"chip": "FUZZ", "rows": ROWS, "cols": COLS}


@dataclass
class Report:
    """What came of `messages`. crashes: how the first few ended, with the message. growth_kib: of the process's memory
    after the first tenth of the messages; traced_kib: of what Python holds, over the last ones.
    """

    part: str
    seed: int
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    hangs: int = 0
    crashes: list[str] = field(default_factory=list)
    answered: int = 0
    rss_kib: int = 0
    growth_kib: int = 0
    traced_kib: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not (self.crashes or self.hangs or max(self.growth_kib, self.traced_kib) > MAX_GROWTH_KIB)


class Target(ABC):
    """Something that bytes are sent to. `send` and `check` raise whatever goes wrong."""

    @abstractmethod
    def hostile(self, source: random.Random) -> bytes: ...

    @abstractmethod
    def send(self, data: bytes, source: random.Random) -> int:
        """Send `data`; how often something was carried out."""

    @abstractmethod
    def check(self) -> None:
        """Whether it answers as if nothing had been."""


# -- frames -----------------------------------------------------------------------------------------------------------


class Frames(Target):
    """The codec by itself, and the firmware behind it, which get the same bytes in the same pieces."""

    def __init__(self, folder: Path) -> None:
        self._decoder = FrameDecoder(MAX_PAYLOAD)
        board = serial_board.build({**OPTIONS, "max_payload": MAX_PAYLOAD}, Site(folder))
        self._line: Conversation = board.wire.connect(stream=True)
        self._answers = FrameDecoder(MAX_PAYLOAD)
        self._number = 0
        self._session = 1 << 32  # of ours: hostile ones have small numbers
        self._sequence = self._batch = self._work = 0

    def hostile(self, source: random.Random) -> bytes:
        kind = source.random()
        if kind < 0.15:
            return source.randbytes(source.randrange(64))
        if kind < 0.25:
            return _forged_header(source)
        message = self._frame(source)
        return message if kind < 0.5 else _mutated(message, source, (START, b"LC", b"L", b"\x00", b"\xff"))

    def send(self, data: bytes, source: random.Random) -> int:
        answered = 0
        for piece in _cut(data, source):
            self._decoder.feed(piece)
            for found in self._decoder.frames():
                assert isinstance(found, Damaged) or len(found.payload) <= MAX_PAYLOAD
            self._line.write(piece)
            answered += sum(self._learn(answer) for answer in self._heard())
        if source.random() < 0.2:  # a silence: else a forged header would hide the next frames, most often
            self._decoder.flush()
            list(self._decoder.frames())
            self._line.clear()
        return answered

    def check(self) -> None:
        self._decoder.flush()
        list(self._decoder.frames())
        marker = bytes(range(256)) * 8
        self._decoder.feed(b"".join(encode(1, 2, 3, marker)))
        found = list(self._decoder.frames())
        assert found == [Frame(1, 2, 3, memoryview(marker))], f"the codec gave {found} for a whole frame"
        self._line.clear()
        self._session += 1
        hello = payloads.Hello.unpack(self._ask(Kind.HELLO, payloads.HelloRequest(1, self._session)))
        assert (hello.rows, hello.cols) == (ROWS, COLS)
        self._ask(Kind.OUTPUT, payloads.Output(True))
        self._sequence = payloads.State.unpack(self._ask(Kind.STATE, payloads.Empty())).sequence

    def _learn(self, answer: Frame) -> bool:
        """Keep in step, so that most of what follows is carried out; whether this was."""
        if answer.status in (Status.OK, Status.REFUSED):
            self._number = answer.number
        if (answer.kind, answer.status) == (Kind.PULSE | ANSWER, Status.OK):
            self._sequence = self._batch
        if (answer.kind, answer.status) == (Kind.LAST | ANSWER, Status.OK):
            self._work = payloads.Last.unpack(answer.payload).number
        return answer.status == Status.OK

    def _ask(self, kind: Kind, payload: Any) -> memoryview:
        self._number = (self._number + 1) & 0xFFFF
        self._line.write(b"".join(encode(kind, self._number, 0, *payload.pack())))
        (answer,) = self._heard()
        assert answer[:3] == (kind | ANSWER, self._number, Status.OK), f"{kind.name} was answered with {answer}"
        return answer.payload

    def _heard(self) -> list[Frame]:
        while segments := self._line.take():
            for segment in segments:
                self._answers.feed(segment)
        found = list(self._answers.frames())
        assert not any(isinstance(each, Damaged) for each in found), "the firmware sent what is no frame"
        return [each for each in found if isinstance(each, Frame)]

    def _frame(self, source: random.Random) -> bytes:
        """A whole frame, most often the very next one, with a payload that is right or nearly."""
        kind = source.choice(list(Kind))
        payload = b"".join(bytes(piece) for piece in self._payload(kind, source).pack())
        if source.random() < 0.3:
            payload = _mutated(payload, source, (b"\x00" * 8, b"\xff" * 8, struct.pack("<d", float("nan"))))
        number = self._number + (source.random() < 0.9) if source.random() < 0.95 else source.randrange(1 << 16)
        return b"".join(encode(kind if source.random() < 0.95 else source.randrange(256), number & 0xFFFF, 0, payload))

    def _payload(self, kind: Kind, source: random.Random) -> Any:
        count = source.randrange(CELLS + 1)
        cells = np.sort(np.array(source.sample(range(CELLS), count), np.uint32))
        if kind == Kind.PULSE:
            return self._pulse(cells, source)
        if kind == Kind.READ:
            listed = cells if source.random() < 0.5 else None
            return payloads.Read(source.randrange(4), source.choice((0.1, float("nan"), _number(source))), listed)
        if kind == Kind.MULTIPLY:
            return payloads.Multiply(
                source.random() < 0.5, np.full((source.randrange(4), 8), source.uniform(-1, 1), "<f4")
            )
        if kind == Kind.HELLO:
            return payloads.HelloRequest(source.choice((1, source.randrange(1 << 16))), source.randrange(3))
        simple: dict[Kind, Callable[[], Any]] = {
            Kind.CONFIGURE: lambda: payloads.Configure(_number(source), _number(source), _number(source)),
            Kind.OUTPUT: lambda: payloads.Output(source.random() < 0.9),
            Kind.COUNTS: lambda: payloads.CountsRequest(source.randrange(3)),
            Kind.FETCH: lambda: payloads.Fetch(self._work if source.random() < 0.5 else source.getrandbits(64)),
            Kind.ADVANCE: lambda: payloads.Advance(_number(source)),
        }
        return simple.get(kind, payloads.Empty)()

    def _pulse(self, cells: Any, source: random.Random) -> payloads.Pulse:
        self._batch = self._sequence + (source.random() < 0.8)
        where = source.choice(list(Where))
        count = CELLS if where is Where.ALL else len(cells)
        mask = np.zeros(CELLS, np.bool_)
        mask[cells] = True
        named = {Where.ALL: None, Where.INDEXED: cells, Where.MASKED: np.packbits(mask)}[where]
        codes = np.full(count, source.randrange(1 << source.choice((15, 15, 16))), np.uint16)
        width, gate = (usual if source.random() < 0.9 else _number(source) for usual in (1e-6, 1.5))
        verify = source.random() < 0.5
        return payloads.Pulse(
            self._batch, source.choice((1, 2, 3, 1, 2, 3, 0, 4)), verify, where, width, gate, named, codes
        )


def _forged_header(source: random.Random) -> bytes:
    """Headers that hold, of frames that do not; some inside one another."""
    stream = b""
    for _ in range(source.randrange(1, 20)):
        length = source.choice((0, 1, source.randrange(300), MAX_PAYLOAD, MAX_PAYLOAD + 1, 0xFFFFFFFF))
        head = struct.pack("<3sBHHI", START, source.randrange(256), source.randrange(1 << 16), 0, length)
        stream += head + struct.pack("<I", crc32(head)) + source.randbytes(source.randrange(8))
    return stream


def _number(source: random.Random) -> float:
    special = (0.0, -1.0, 0.2, 1e-6, 300.0, 1e300, -1e300, float("nan"), float("inf"), float("-inf"), 5e-324)
    return source.choice(special) if source.random() < 0.7 else source.uniform(-10, 1000)


# -- SCPI -------------------------------------------------------------------------------------------------------------

SCPI = tuple(
    message.encode("latin-1")
    for message in (
        "*IDN?", "*CLS", "*RST", "*ESR?", "*ESE 255;*ESE?", "*SRE 32;*SRE?", "*STB?", "*TST?", "*OPC;*OPC?;*WAI",
        "SYST:ERR?", "SYSTem:ERRor:COUNt?;ALL?", "SYST:VERS?", "STATus:PRESet", "STAT:OPER:ENAB 16;COND?;EVEN?",
        "ARR:GEOM?;CELL?;SER?;TIM?", "ARR:COUN:PULS?;READ?", "DAC:SCAL?;:SENS:ADC:SCAL?;:SOUR:LIM?", "OUTP ON;OUTP?",
        "SENS:VOLT 250MV;VOLT?;VOLT? MIN;VOLT? MAX", "SENS:CURR:RANG 16UA;RANG?", "SENS:TEMP?;:SOUR:TEMP 310;TEMP?",
        "OUTP:SAFE", "FORM:BORD SWAP;DATA REAL,32", "FORM:DATA ASC;:FORM:BORD NORM", "FORM INT,16;:FORM?",
        "PULS:SEQ?;:FETC:WORK?", "PULS:APPL:ALL 1,FORM,1US,1.2,#3128" + "\x00" * 128,
        "PULS:VER:IND? 1,SET,100NS,2,#14\x00\x00\x00\x05,#12\xc8\x00",
        "PULS:VER:MASK? 1,RES,1US,2,#18\x80\x00\x00\x00\x00\x00\x00\x00,#12\xc8\x00",
        "READ:REG? 0,0,8,8", "READ:REG? 1,2,3,4,5", "READ:IND? 2,#14\x00\x00\x00\x07", "FETC? 1", "FETC:NEXT 3",
        "MULT? #232" + "\x00" * 32, "MULT:TRAN? #0" + "\x3c\x23\xd7\x0a" * 8,
        "SYST:TIME?;TIME:VIRT?;:SYST:TIME:ADV 1.5", "OUTP ON;:PULS:SEQ?;:ARR:GEOM?;*OPC?", 'SYST:ERR? "a;b"',
        "(@1,3:5)",
    )
)  # fmt: skip
SCPI_PIECES = (
    b";", b":", b"?", b"#", b"#9999999999", b"#0", b"#10", b"\n", b",", b'"', b"'", b"(@", b")", b"*", b"1E999", b"-0",
    b"9.91E37", b"#HFFFF", b"MIN", b"MAX", b"DEF", b"\x00", b"\xff", b" " * 50, b"A" * 300, b"1" * 400, b"::", b";;",
)  # fmt: skip


class Scpi(Target):
    """The engine around the firmware that is served, as a stream and as a bus that marks ends, in turns."""

    def __init__(self, folder: Path) -> None:
        self._wire = test_board.build(OPTIONS, Site(folder)).wire
        self._lines: list[Conversation] = [self._wire.connect(stream=True), self._wire.connect(stream=False)]

    def hostile(self, source: random.Random) -> bytes:
        kind = source.random()
        if kind < 0.1:
            return source.randbytes(source.randrange(80))
        message = b";:".join(source.choice(SCPI) for _ in range(source.choice((1, 1, 2, 5))))
        if kind > 0.3:
            message = _mutated(message, source, SCPI_PIECES)
        return message + b"\n" * (source.random() < 0.9)

    def send(self, data: bytes, source: random.Random) -> int:
        is_bus = source.random() < 0.5
        line = self._lines[is_bus]
        answered = 0
        pieces = list(_cut(data, source))
        for index, piece in enumerate(pieces):
            line.write(piece, end=is_bus and index == len(pieces) - 1)
            while source.random() < 0.9 and line.take():
                answered += 1
        line.status_byte()
        if source.random() < 0.02:
            line.clear()
        return answered

    def check(self) -> None:
        for line in self._lines:
            line.clear()
            while line.take():
                pass
            line.write(b"*CLS;*RST;:SYST:ERR?;*IDN?\n", end=True)
            answer = b"".join(bytes(segment) for segment in line.take())
            assert answer == b'0,"No error";labctl,TB-512,FUZZ,1.0\n', f"it says {answer!r}"


# -- both -------------------------------------------------------------------------------------------------------------


def _mutated(message: bytes, source: random.Random, pieces: tuple[bytes, ...]) -> bytes:
    """One to four of: a bit flipped, bytes lost, doubled, replaced, something put in, the end cut off."""
    data = bytearray(message)
    for _ in range(source.randrange(1, 5)):
        at = source.randrange(len(data) + 1)
        stop = min(at + source.randrange(1, 12), len(data))
        harm = source.randrange(6)
        if harm == 0 and at < len(data):
            data[at] ^= 1 << source.randrange(8)
        elif harm == 1:
            del data[at:stop]
        elif harm == 2:
            data[at:at] = data[at:stop] * source.choice((1, 1, 2, 30))
        elif harm == 3:
            data[at:stop] = source.randbytes(stop - at)
        elif harm == 4:
            data[at:at] = source.choice(pieces)
        elif source.random() < 0.3:
            del data[at:]
    return bytes(data)


def _cut(data: bytes, source: random.Random) -> Iterator[bytes]:
    """Most often in one piece."""
    while data and source.random() < 0.2:
        at = source.randrange(len(data) + 1)
        yield data[:at]
        data = data[at:]
    yield data


def _rss_kib() -> int:
    """Memory of this process; 0 where the system does not say it in this way."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4
    except OSError:
        return 0


PARTS: dict[str, Callable[[Path], Target]] = {"frames": Frames, "scpi": Scpi}


def fuzz(part: str, messages: int, seed: int, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Send so many messages; what came of it."""
    report = Report(part, seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        target = PARTS[part](Path(folder))
        target.check()
        before = traced = 0
        for count in range(messages):
            if count == messages // 10:
                gc.collect()
                before = _rss_kib()
            if count == max(messages - TRACED, 0):
                gc.collect()
                tracemalloc.start()
            if count == max(messages - TRACED // 2, messages // 2):
                gc.collect()
                traced = tracemalloc.get_traced_memory()[0]
            _one(target, random.Random(f"{part} {seed} {count}"), count, report)
            if (count + 1) % ROUND == 0:
                progress(count + 1)
        gc.collect()
        report.traced_kib = round((tracemalloc.get_traced_memory()[0] - traced) / 1024, 1)
        tracemalloc.stop()
    report.rss_kib = _rss_kib()
    report.growth_kib = report.rss_kib - before
    report.seconds = round(time.monotonic() - started, 1)
    return report


def _one(target: Target, source: random.Random, count: int, report: Report) -> None:
    message = b""
    started = time.perf_counter()
    try:
        message = target.hostile(source)
        report.answered += target.send(message, source)
        if (count + 1) % ROUND == 0:
            target.check()
    except Exception:  # noqa: BLE001 -- whatever comes out is what is looked for
        if len(report.crashes) < 5:
            report.crashes.append(f"message {count}: {message[:200]!r}\n{traceback.format_exc(limit=-4)}")
    took = time.perf_counter() - started
    report.slowest_s = max(report.slowest_s, round(took, 4))
    report.hangs += took > SLOW_S
    report.messages += 1
    report.bytes += len(message)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hostile messages: no crash, no hang, no growth.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args()
    if given.messages < 1:
        parser.error("--messages must be 1 or more")

    def progress(count: int) -> None:
        print(f"\r{count} of {given.messages}", end="", file=sys.stderr, flush=True)

    report = fuzz(given.part, given.messages, given.seed, progress if sys.stderr.isatty() else lambda _: None)
    if given.json:
        print(json.dumps({**asdict(report), "is_clean": report.is_clean}, indent=2))
    else:
        print(
            f"{report.messages} hostile messages ({report.bytes / 1e6:.1f} MB) to {report.part}, seed {report.seed}, "
        )
        print(f"in {report.seconds:.1f} s; {report.answered} answers")
        print(f"crashes {len(report.crashes)}, hangs {report.hangs}, slowest message {report.slowest_s:.3f} s")
        print(f"memory {report.rss_kib} KiB, growth {report.growth_kib} KiB; of Python's own {report.traced_kib} KiB")
        for crash in report.crashes:
            print(crash)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
