"""An instrument that is programmed in scripts (Keithley's TSP): a line is a chunk of Lua, `print` is what answers.

instrument = TspInstrument(("Maker", "Model 1", "serial", "1.0"), clock)
instrument.power_on({"level": Attribute(...)}, on_reset=...)
conversation = instrument.connect()
conversation.write(b"print(1 + 1)", end=True)
conversation.read(1024)
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..instruments.clocks import BoardClock
from ..scpi.errors import ScpiError
from ..scpi.status import StandardEvent, Status, StatusByte
from .common import common_commands, common_tables, display_table, status_table
from .conversation import TspConversation
from .errors import RUNTIME, ScriptError
from .output import OutputFormat
from .sandbox import Sandbox

_LOADING = re.compile(r"(loadscript|loadandrunscript)(?:\s+([A-Za-z_]\w*))?\s*")
_COMMON = re.compile(r"(\*[A-Za-z]+\??)\s*(.*)", re.DOTALL)
_LONGEST_SCRIPT = 16 * 1024 * 1024  # bytes
_SLICE = 0.05  # s of real time between two looks at whether to go on waiting


class TspInstrument:
    """What a firmware of scripts is written on.

    Attributes:
        status: registers and error queue, for all connections.
        format: how numbers leave.
        lock: held while a message is carried out; a firmware's own threads take it to touch shared state.
        line_frequency, prompts, show_errors, shown, lockout, node_enable: settings that scripts have.
    """

    def __init__(
        self, identity: tuple[str, str, str, str], clock: BoardClock, registers: Mapping[str, int] | None = None
    ) -> None:
        """identity: manufacturer, model, serial number, firmware version.

        registers: the firmware's own, by name -> the bit of the status byte that sums each up.
        """
        self.identity = identity
        self.clock = clock
        self.status = Status(queue_capacity=100, registers=registers)
        self.format = OutputFormat()
        self.lock = threading.RLock()
        self.line_frequency = 50
        self.prompts = self.show_errors = self.lockout = self.node_enable = 0
        self.shown = ""
        self.timer_started = clock.now()
        self.speaker: TspConversation | None = None
        self.status_table = status_table(self, {})
        self._on_reset: Callable[[], None] = lambda: None
        self._commands = common_commands(self)
        self._loading: tuple[str, bool] | None = None  # name, and whether to run it: a script is being sent
        self._script: list[str] = []
        self._size = 0
        self._failed = False

    def power_on(
        self,
        tables: Mapping[str, Any],
        on_reset: Callable[[], None] = lambda: None,
        status: Mapping[str, Any] | None = None,
        display: Mapping[str, Any] | None = None,
    ) -> None:
        """tables: the instrument's own global names. status, display: what it has in those tables besides."""
        self._on_reset = on_reset
        self.status_table = status_table(self, dict(status or {}))
        everything = {**common_tables(self), "display": display_table(self, dict(display or {})), **tables}
        self._sandbox = Sandbox(everything, self._print, self.format.number, self.report)

    def connect(self, stream: bool = False) -> TspConversation:
        """A new connection. `stream`: the transport is a raw socket or a serial port, which marks no ends."""
        return TspConversation(self, stream)

    # -- what scripts and firmware do -----------------------------------------------------------------------------

    def now(self) -> float:
        return self.clock.now()

    def spend(self, seconds: float) -> None:
        """Wait, unless the script that waits is aborted meanwhile. Raises ScriptError then."""
        left = seconds
        while left > 0:
            step = left if self.clock.virtual else min(left, _SLICE)
            self.clock.spend(step)
            left -= step
            if self._sandbox.aborted:
                raise ScriptError(RUNTIME, "script aborted")

    def report(self, error: ScpiError) -> None:
        self._failed = True
        self.status.report(error)
        if self.show_errors:
            self._print(str(error))

    def reset(self) -> None:
        """`reset()`, `*RST`: settings to their defaults. Errors, events and enables stay as they are."""
        self.format.reset()
        self._on_reset()

    def complete(self) -> None:
        self.status.events |= StandardEvent.OPERATION_COMPLETE

    def exit(self) -> None:
        raise ScriptError(RUNTIME, "script exited")

    def send(self, message: bytes) -> None:
        """To whoever sent what is being carried out."""
        if self.speaker is not None:
            self.speaker.answer(message)

    def _print(self, line: str) -> None:
        self.send(line.encode("latin-1", "replace") + b"\n")

    def status_byte(self) -> int:
        """`*STB?`: with the summary MSS as bit 6; reading clears nothing."""
        available = self.speaker is not None and self.speaker.pending > 0
        byte = self.status.byte(available)
        return int(byte | StatusByte.SERVICE if byte & self.status.service_enable else byte)

    # -- messages -------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """End what is being carried out, from another thread too."""
        self._sandbox.abort()

    def forget_script(self) -> None:
        """Drop a script that has been sent in part."""
        self._loading, self._script, self._size = None, [], 0

    def carry_out(self, line: str, speaker: TspConversation) -> None:
        """One message, without its end. Errors go to the queue."""
        self.speaker, self._failed = speaker, False
        try:
            self._message(line)
        except ScpiError as error:
            self.report(error)
        if self.prompts:
            self._print(">>>>" if self._loading else "TSP?" if self._failed else "TSP>")

    def _message(self, line: str) -> None:
        word = line.strip()
        if self._loading is not None:
            self._collect(line, word)
        elif found := _LOADING.fullmatch(word):
            self._loading, self._script = (found[2] or "", found[1] == "loadandrunscript"), []
        elif word.startswith("*"):
            for each in word.split(";"):
                self._common(each.strip())
        elif word and word != "abort":
            self._sandbox.run(line)

    def _collect(self, line: str, word: str) -> None:
        assert self._loading is not None  # the caller has seen to that
        if word != "endscript":
            self._script.append(line)
            self._size += len(line) + 1
            if self._size > _LONGEST_SCRIPT:
                self.forget_script()
                raise ScpiError(-225)
            return
        (name, at_once), text = self._loading, "\n".join(self._script)
        self.forget_script()
        self._sandbox.load(text, name, at_once)

    def _common(self, text: str) -> None:
        found = _COMMON.fullmatch(text)
        command = self._commands.get(found[1].upper()) if found else None
        if found is None or command is None:
            raise ScpiError(-113, text[:40])
        answer = command(found[2].strip())
        if answer is not None:
            self._print(answer)
