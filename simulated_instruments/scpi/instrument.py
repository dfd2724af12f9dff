"""A SCPI instrument: identity, commands, status and settings, and the connections made to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial

from .commands import Command, known_unit
from .common import common_commands
from .errors import ScpiError
from .exchange import Exchange
from .formatting import Format
from .headers import Tree
from .status import Status, StatusByte

_KNOWN = 512  # texts


class Instrument:
    """What a firmware is written on. Built, it is powered on: PON is set, nothing enabled, the queue empty.

    Attributes:
        status: registers and error queue; a firmware sets `status.operation.change(bit, on)` and the like.
        format: what FORMat says about arrays.
        lock: held while a message is carried out; a firmware's own threads take it to touch shared state.
        tree: the commands.
    """

    def __init__(
        self,
        identity: tuple[str, str, str, str],
        commands: Iterable[Command] = (),
        on_reset: Callable[[], None] = lambda: None,
        self_test: Callable[[], int] = lambda: 0,
        *,
        on_message: Callable[[], None] = lambda: None,
        on_refusal: Callable[[], None] = lambda: None,
        registers: Mapping[str, int] | None = None,
        own_format: bool = False,
        forgiving: bool = False,
        queue_capacity: int = 32,
        text_limit: int = 64 * 1024,
        block_limit: int = 256 * 1024 * 1024,
        output_limit: int = 256 * 1024 * 1024,
    ) -> None:
        """Raises ValueError where the identity is not four fields or two commands answer to the same header.

        identity: manufacturer, model, serial number, firmware version. on_reset: what `*RST` does beyond
        FORMat. self_test: what `*TST?` answers; 0 is passed. on_message: called as a message begins to be carried
        out. on_refusal: called where a command of it is refused. registers: further ones of STATus, as the header's
        node -> the bit of the status byte that sums it up.
        own_format: the firmware brings FORMat[:DATA] and FORMat:BORDer itself, as its words are others.
        forgiving: takes words of more than twelve letters, a comma with nothing behind it, and `:*CLS`, as some do.
        text_limit, block_limit: bytes of one message outside and inside its blocks, beyond which it is
        dropped with -363 or -223. output_limit: bytes of one answer (-430).
        """
        if len(identity) != 4 or any(set(field) & set(",;\n") for field in identity):
            raise ValueError(f"an identity is four fields without commas or semicolons, not {identity!r}")
        self.identity = identity
        self.text_limit = text_limit
        self.block_limit = block_limit
        self.output_limit = output_limit
        self.own_format = own_format
        self.forgiving = forgiving
        self.status = Status(queue_capacity, registers or {})
        self.format = Format()
        self.lock = threading.RLock()
        self.tree: Tree[Command] = Tree()
        self.speaker: Exchange | None = None
        self.on_message = on_message
        self.on_refusal = on_refusal
        self._on_reset = on_reset
        self._self_test = self_test
        self.known = lru_cache(_KNOWN)(partial(known_unit, self.tree, forgiving=forgiving))
        """`known_unit`, which remembers."""
        for command in (*common_commands(self), *commands):
            self.add(command)

    def add(self, command: Command) -> None:
        """Raises ValueError where another command answers to the same header."""
        self.tree.add(command.header, command)

    def connect(self, stream: bool = False) -> Exchange:
        """A new connection. `stream`: the transport is a raw socket or a serial port, which marks no ends."""
        return Exchange(self, stream)

    def report(self, number: int, detail: str = "") -> None:
        """Queue an error that no command caused, as a real instrument's interlock does."""
        with self.lock:
            self.status.report(ScpiError(number, detail))

    def reset(self) -> None:
        """`*RST`: settings to their defaults. Errors, events, enables and buffers stay as they are."""
        self.format.reset()
        self._on_reset()

    def self_test(self) -> int:
        """`*TST?`: 0 where passed; anything else is also queued as -330."""
        result = self._self_test()
        if result:
            self.status.report(ScpiError(-330, str(result)))
        return result

    def status_byte(self) -> int:
        """`*STB?`: the status byte of whoever asks, with the summary MSS as bit 6; reading clears nothing."""
        available = self.speaker is not None and self.speaker.message_available
        byte = self.status.byte(available)
        return byte | StatusByte.SERVICE if byte & self.status.service_enable else byte
