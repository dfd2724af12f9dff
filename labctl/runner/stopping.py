"""Signals while a run goes on: the first asks it to stop, the second aborts it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from labctl.runner.telling import tell


class StopSwitch:
    """First signal: finish this step and stop. Second: abort now. While the run is ending: let it end."""

    _SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")

    def __init__(self) -> None:
        self.requested = False
        self.is_ending = False
        self.reason = ""

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals that would end the process meanwhile; only the main thread can.

        What the process was told to ignore, as under `nohup`, it goes on ignoring.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in self._SIGNALS if hasattr(signal, name)]
        wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        name = signal.Signals(number).name
        if self.is_ending:
            tell("reaching safe state and closing the file: a moment")
        elif self.requested:
            self.reason = f"aborted by a second {name}"
            raise KeyboardInterrupt
        else:
            self.requested, self.reason = True, f"stopped by {name}"
            tell("stopping after this step; once more to abort now")
