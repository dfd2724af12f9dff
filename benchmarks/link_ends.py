"""The far ends for `links.py`: an instrument that keeps a block, and a stub that answers without looking."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import numpy as np

ANSWER = b'1;0,"No error"\n'  # as long as what an instrument says to `*OPC?` with the error query behind it


class BlockInstrument:
    """An array that is set and asked for, on labctl's SCPI engine."""

    def __init__(self, options: dict[str, Any], site: Any) -> None:  # noqa: ARG002 -- what an entry point is given
        from labctl.simulated_instruments.scpi import Block, Command, Instrument

        self.block = np.zeros(0, "<u2")
        self.wire = Instrument(
            ("labctl", "BLOCK", "1", "1"),
            [Command("BLOCk", set=self.keep, parameters=(Block(dtype=np.uint16),), query=lambda: self.block)],
        )

    def keep(self, block: np.ndarray) -> None:
        self.block = block

    def close(self) -> None:
        """Nothing to save."""


def stub(ours: int, block: int) -> None:
    """On an open file: `Q` is answered with `ANSWER`, `R` with `block` bytes, and `W` is followed by as many."""
    data, memory = bytes(block), memoryview(bytearray(block))
    while asked := os.read(ours, 1):
        if asked == b"Q":
            os.read(ours, 1 << 12)
            os.write(ours, ANSWER)
        elif asked == b"R":
            _write(ours, data)
        else:
            left = memory
            while len(left):
                left = left[os.readv(ours, [left]) :]
            os.write(ours, b"1")


def _write(ours: int, data: bytes) -> None:
    left = memoryview(data)
    while len(left):
        left = left[os.write(ours, left) :]


def main() -> None:
    """A stub on a TCP port and one on a pseudo-terminal; says where they are."""
    import threading
    import tty

    block = int(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    terminal, theirs = os.openpty()
    tty.setraw(theirs)
    print(listener.getsockname()[1], os.ttyname(theirs), flush=True)
    threading.Thread(target=stub, args=(terminal, block), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=stub, args=(connection.detach(), block), daemon=True).start()


if __name__ == "__main__":
    main()
