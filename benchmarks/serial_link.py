"""Frames a second and block MB/s of the serial link, against pyserial's own `read(n)` on the same line.

    OMP_NUM_THREADS=1 python benchmarks/serial_link.py [--line pty|socket] [--json]

The other end is a process that answers each request with a frame it has ready, so that only the link is measured. The
floor writes the same request and reads the answer with one `read(n)` of its exact length, which it is told beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import serial

from labctl.links.board_frames import VERSION, Hello, Kind, Read
from labctl.links.frames import ANSWER, OVERHEAD, Damaged, FrameDecoder, encode
from labctl.links.serial import SerialLink
from labctl.links.serial_ports import SLICE_S, close_port, port_address

BLOCK = 1 << 20
ROUNDS = 9
EXCHANGES = 2_000
HELLO = Hello(VERSION, BLOCK, 1, 0, 2, 2, *[1.0] * 2, 16, *[1.0] * 11, True, "Bench", "B", "none")


def whole(kind: int, number: int, *pieces: Any) -> bytes:
    return b"".join(encode(kind, number, 0, *pieces))


def answer_frames(end: int) -> None:
    """STATE gets an empty answer, READ one of as many bytes as it says repeats."""
    decoder = FrameDecoder(1 << 16)
    block = bytes(BLOCK)
    with contextlib.suppress(OSError):
        while data := os.read(end, 1 << 16):
            decoder.feed(data)
            for found in decoder.frames():
                assert not isinstance(found, Damaged), found
                if found.kind == Kind.READ:
                    pieces: tuple[Any, ...] = (block[: Read.unpack(found.payload).repeats],)
                else:
                    pieces = HELLO.pack() if found.kind == Kind.HELLO else ()
                left = memoryview(whole(found.kind | ANSWER, found.number, *pieces))
                while left:
                    left = left[os.write(end, left) :]


def serve_socket(listener: socket.socket) -> None:
    while True:
        with listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer_frames(connection.fileno())


@contextlib.contextmanager
def line(kind: str) -> Iterator[str]:
    """The resource name of a board in another process."""
    context = multiprocessing.get_context("fork")
    if kind == "pty":
        import tty

        ours, theirs = os.openpty()
        tty.setraw(theirs)
        ends: tuple[int, ...] = (ours, theirs)
        name = f"ASRL{os.ttyname(theirs)}::INSTR"
        board = context.Process(target=answer_frames, args=(ours,), daemon=True)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        name, ends = f"ASRLsocket://127.0.0.1:{listener.getsockname()[1]}::INSTR", (listener.detach(),)
        board = context.Process(target=serve_socket, args=(socket.socket(fileno=os.dup(ends[0])),), daemon=True)
    board.start()
    try:
        yield name
    finally:
        board.terminate()
        board.join()
        for end in ends:
            os.close(end)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measured(kind: str) -> list[dict[str, Any]]:
    """The best of rounds in which floor and link take turns, each on a port of its own."""
    ask_block = Read(BLOCK, 0.1, None).pack()
    with line(kind) as name:
        found: dict[str, list[float]] = {"floor s": [], "link s": [], "floor block": [], "link block": []}
        for _ in range(ROUNDS):
            port = serial.serial_for_url(port_address(name), timeout=SLICE_S * 100)
            found["floor s"].append(seconds(lambda: [_floor(port, Kind.STATE, 0) for _ in range(EXCHANGES)]))  # noqa: B023
            found["floor block"].append(seconds(lambda: _floor(port, Kind.READ, BLOCK, *ask_block)))  # noqa: B023
            close_port(port)
            with SerialLink(name) as link:
                found["link s"].append(seconds(lambda: [link.request(Kind.STATE) for _ in range(EXCHANGES)]))
                found["link block"].append(seconds(lambda: link.request(Kind.READ, *ask_block)))
    best = {key: min(values) for key, values in found.items()}
    per_s = [EXCHANGES / best["floor s"], EXCHANGES / best["link s"]]
    rate = [BLOCK / best["floor block"] / 1e6, BLOCK / best["link block"] / 1e6]
    return [
        {"line": kind, "what": what, "unit": unit, "floor": floor, "link": link, "ratio": link / floor}
        for what, unit, (floor, link) in (("exchange", "1/s", per_s), ("block read", "MB/s", rate))
    ]


def _floor(port: Any, kind: Kind, size: int, *pieces: Any) -> None:
    port.write(whole(kind, 1, *pieces))
    assert len(port.read(OVERHEAD + size)) == OVERHEAD + size


def main() -> None:
    parser = argparse.ArgumentParser(description="The serial link against pyserial's own read(n).")
    parser.add_argument("--line", choices=("pty", "socket"), action="append", help="both where not given")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args()
    rows = [row for kind in given.line or ("pty", "socket") for row in measured(kind)]
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'line':<8} {'what':<12} {'unit':<5} {'read(n)':>10} {'link':>10} {'ratio':>7}")
    for row in rows:
        print(
            f"{row['line']:<8} {row['what']:<12} {row['unit']:<5} {row['floor']:10.4g} {row['link']:10.4g}"
            f" {row['ratio']:7.2f}"
        )


if __name__ == "__main__":
    main()
