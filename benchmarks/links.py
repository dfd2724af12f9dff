"""Exchanges a second and block MB/s of every link, against the floors of the same wires in the same run.

    OMP_NUM_THREADS=1 python benchmarks/links.py [--rounds 7] [--json]

The instruments are served by `labctl sim serve` in another process. The floor of a socket is a plain socket, with
`recv_into` and `sendall`, to a process that answers without looking; that of a serial port is pyserial's `read(n)`, and
`write`, to the same. Medians over rounds in which all links and floors take their turn. POSIX only, as ptys are.

A block is 512 kB of SCPI codes, or of the frames' pulse counts, which cannot be written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import serial
from link_ends import ANSWER

from labctl.links.board_frames import Counter, CountsRequest, Kind
from labctl.links.serial import SerialLink
from labctl.links.visa import VisaLink

HERE = Path(__file__).parent
BLOCK = 512 * 512 * 2
EXCHANGES = 1000
BAUD_RATE = 4_000_000  # only what deadlines are made of: the ports keep to none
_ENTRY_POINT = "[labctl.simulators]\nlink_block = link_ends:BlockInstrument\n"
_INSIDE = "TCPIP0::127.0.0.1::5025::SOCKET"
_FRAMES_INSIDE = "ASRL7::INSTR"


@dataclass(frozen=True, slots=True)
class Line:
    """What is measured: an exchange, a block that is read and one that is written, if it can be. floor: its name."""

    name: str
    floor: str
    exchange: Callable[[], object]
    read: Callable[[], object]
    write: Callable[[], object] | None


def bench_file(folder: Path) -> Path:
    path = folder / "bench.toml"
    frames = 'simulator = "serial_board"\nrows = 512\ncols = 256\nmax_payload = 1048576\n'
    path.write_text(
        f'[simulated.raw]\nsimulator = "link_block"\nresource_name = "{_INSIDE}"\n'
        f'[simulated.pty]\nsimulator = "link_block"\nresource_name = "ASRL{folder}/pty::INSTR"\n'
        '[simulated.net]\nsimulator = "link_block"\nresource_name = "ASRLsocket://127.0.0.1:0::INSTR"\n'
        f'[simulated.frames]\n{frames}resource_name = "ASRL{folder}/frames::INSTR"\n'
        f'[simulated.frames_inside]\n{frames}resource_name = "{_FRAMES_INSIDE}"\n'
    )
    return path


@contextlib.contextmanager
def process(*command: object, **more: Any) -> Iterator[Any]:
    """What it prints, while it runs."""
    started = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, **more)
    try:
        yield started.stdout
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(10)
        assert started.stdout is not None
        started.stdout.close()


@contextlib.contextmanager
def served(folder: Path, bench: Path) -> Iterator[dict[str, str]]:
    """Where each instrument is, by name; `raw` on HiSLIP as `hislip`."""
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(HERE)])}
    command = [sys.executable, "-m", "labctl", "sim", "serve", bench, "--port", "0", "--hislip", "0", "--json"]
    with process(*command, env=surroundings, cwd=folder) as said:
        listing = ""
        while not listing.endswith("]\n"):
            line = said.readline()
            if not line:
                raise SystemExit("the server did not start")
            listing += line
        places: dict[str, str] = {}
        for each in json.loads(listing):
            if "hislip" in each["resource_name"]:
                places.setdefault(f"{each['name']} hislip", each["resource_name"])
            else:
                places[each["name"]] = each["resource_name"]
        yield places


def scpi_line(name: str, floor: str, link: VisaLink) -> Line:
    codes = np.random.default_rng(1).integers(0, 65536, BLOCK // 2, np.uint16)
    link.write("FORM INT;FORM:BORD SWAP")
    link.exchange(":BLOC ", codes)
    return Line(
        name,
        floor,
        lambda: link.query("*OPC?"),
        lambda: link.exchange(":BLOC?"),
        lambda: link.exchange(":BLOC ", codes),
    )


def frames_line(name: str, floor: str, link: SerialLink) -> Line:
    ask = CountsRequest(Counter.PULSES).pack()
    return Line(name, floor, lambda: link.request(Kind.STATE), lambda: link.request(Kind.COUNTS, *ask), None)


def socket_floor(port: int) -> tuple[Line, socket.socket]:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    memory, block = memoryview(bytearray(BLOCK)), bytes(BLOCK)

    def fetch(size: int) -> None:
        left = memory[:size]
        while len(left):
            left = left[connection.recv_into(left) :]

    def ask(question: bytes, size: int) -> None:
        connection.sendall(question)
        fetch(size)

    def write() -> None:
        connection.sendall(b"W")
        ask(block, 1)

    return Line(
        "plain socket", "", lambda: ask(b"Q*OPC?;:SYST:ERR?\n", len(ANSWER)), lambda: ask(b"R", BLOCK), write
    ), connection


def serial_floor(port: serial.Serial) -> Line:
    block = bytes(BLOCK)

    def ask(question: bytes, size: int) -> None:
        port.write(question)
        assert len(port.read(size)) == size

    return Line(
        "pyserial on a pty",
        "",
        lambda: ask(b"Q*OPC?;:SYST:ERR?\n", len(ANSWER)),
        lambda: ask(b"R", BLOCK),
        lambda: ask(b"W" + block, 1),
    )


@contextlib.contextmanager
def lines(folder: Path) -> Iterator[list[Line]]:
    """Every floor and link, open."""
    metadata = folder / "link_ends-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: link-ends\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(_ENTRY_POINT)
    sys.path.append(str(folder))
    bench = bench_file(folder)
    with contextlib.ExitStack() as opened:
        places = opened.enter_context(served(folder, bench))
        port, terminal = opened.enter_context(process(sys.executable, HERE / "link_ends.py", BLOCK)).readline().split()
        socket_line, connection = socket_floor(int(port))
        opened.enter_context(connection)
        found = [socket_line, serial_floor(opened.enter_context(serial.Serial(terminal, timeout=10)))]
        for name, floor, place, library in (
            ("SCPI, raw socket", "plain socket", places["raw"], "@py"),
            ("SCPI, HiSLIP", "plain socket", places["raw hislip"], "@py"),
            ("SCPI, socket://", "plain socket", places["net"], "@py"),
            ("SCPI, pty", "pyserial on a pty", places["pty"], "@py"),
            ("SCPI, in process", "plain socket", _INSIDE, f"{bench}@labctl"),
        ):
            found.append(scpi_line(name, floor, opened.enter_context(VisaLink(place, visa_library=library))))
        for name, floor, place, library in (
            ("frames, pty", "pyserial on a pty", places["frames"], ""),
            ("frames, in process", "plain socket", _FRAMES_INSIDE, f"{bench}@labctl"),
        ):
            link = SerialLink(place, serial_library=library, baud_rate=BAUD_RATE)
            found.append(frames_line(name, floor, opened.enter_context(link)))
        yield found


def seconds(work: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def measured(rounds: int) -> list[dict[str, Any]]:
    """One row a line: 1/s, MB/s read and written, and the same as ratios to its floor."""
    with tempfile.TemporaryDirectory() as name, lines(Path(name)) as found:
        taken: dict[str, list[tuple[float, float, float]]] = {line.name: [] for line in found}
        for _ in range(rounds + 1):  # the first warms up
            for line in found:
                exchange = 1 / seconds(line.exchange, EXCHANGES)
                read = BLOCK / 1e6 / seconds(line.read, 5)
                written = BLOCK / 1e6 / seconds(line.write, 5) if line.write is not None else float("nan")
                taken[line.name].append((exchange, read, written))
    rows = []
    for line in found:
        row: dict[str, Any] = {"link": line.name, "floor": line.floor}
        for index, key in enumerate(("exchanges_per_s", "read_mb_per_s", "write_mb_per_s")):
            values = [each[index] for each in taken[line.name][1:]]
            row[key] = statistics.median(values) if values[0] == values[0] else None
            if line.floor and row[key] is not None:
                floors = [each[index] for each in taken[line.floor][1:]]
                row[f"{key}_ratio"] = statistics.median(a / b for a, b in zip(values, floors, strict=True))
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measured(given.rounds)
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'link':<20} {'exchanges/s':>12} {'read MB/s':>10} {'write MB/s':>10}   ratio to its floor")
    for row in rows:
        figures = [row["exchanges_per_s"], row["read_mb_per_s"], row["write_mb_per_s"]]
        shown = [f"{value:,.0f}" if value is not None else "-" for value in figures]
        ratios = [row.get(f"{key}_ratio") for key in ("exchanges_per_s", "read_mb_per_s", "write_mb_per_s")]
        against = " ".join("   -" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{row['link']:<20} {shown[0]:>12} {shown[1]:>10} {shown[2]:>10}   "
            f"{against + '  ' + row['floor'] if row['floor'] else 'floor'}"
        )


if __name__ == "__main__":
    main()
