"""The simulated benches of this process: whoever opens the same file has the same instruments.

A bench may be on two kinds of wire at once, some instruments on VISA and one on a serial port, all around one chip.
It is powered on by the first who opens it, and switched off, its state saved, when the last one has closed.
"""

from __future__ import annotations

import threading
from pathlib import Path

from .hosting import HostingError, SimulatedBench, load


class _Shared:
    """A bench that is powered on, and by how many it is held."""

    def __init__(self, bench: SimulatedBench) -> None:
        self.bench = bench
        self.holders = 1


_lock = (
    threading.RLock()
)  # a resource manager that was forgotten is closed by the garbage collector, wherever that runs
_held: dict[Path, _Shared] = {}
"""As global as the process that they live in."""


class Hold:
    """One user's part in a bench, until `close()`."""

    def __init__(self, key: Path, shared: _Shared) -> None:
        self.bench = shared.bench
        self._key = key
        self._shared: _Shared | None = shared

    def close(self) -> None:
        """The last one switches the instruments off, and has their errors. May be called twice."""
        with _lock:
            shared, self._shared = self._shared, None
            if shared is None:
                return
            shared.holders -= 1
            if not shared.holders:
                del _held[self._key]
                shared.bench.close()  # still locked: whoever opens the file next reads what is saved here


def hold(path: Path | None, faults: Path | None = None) -> Hold:
    """The bench file at `path` (None: the package's own). Raises HostingError where it is wrong.

    faults: a plan for all its wires, which only the one who powers the bench on can give.
    """
    key = Path.cwd() / "<embedded>" if path is None else path.resolve()  # the package's own has relative paths too
    with _lock:
        shared = _held.get(key)
        if shared is None:
            shared = _held[key] = _Shared(load(path, faults))
        elif faults is not None:
            raise HostingError(f"{path or key.name}: is powered on in this process already, without {faults}")
        else:
            shared.holders += 1
        return Hold(key, shared)
