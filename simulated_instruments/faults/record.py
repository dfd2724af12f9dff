"""What was done: each fault settled for the message it met, and all of them together as a plan that does it again."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .kinds import Fault


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault as it was done. time: s since 1970, wall clock. message: its number at that instrument, from 1.

    where: in words. fault: settled, for this one message.
    """

    time: float
    instrument: str
    message: int
    where: str
    fault: Fault

    @property
    def kind(self) -> str:
        return self.fault.name

    def as_table(self) -> str:
        """A `[[faults]]` table of a plan."""
        values: dict[str, Any] = msgspec.to_builtins(self.fault)
        lines = [f"# {self.time:.6f} {self.instrument}: {self.where}", "[[faults]]"]
        return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]) + "\n"


def as_plan(injected: Iterable[Injected]) -> str:
    """A plan, as text, that does the same to the same traffic: nothing in it is left to chance."""
    return "\n".join(["seed = 0\n", *(each.as_table() for each in injected)])


_KEPT = 100_000


class Record:
    """What was injected: the last of it kept, and everything written to a file as it happens where there is one."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises OSError where `path` cannot be written."""
        self._path = path
        self._lock = threading.Lock()
        self._injected: deque[Injected] = deque(maxlen=_KEPT)
        if path is not None:
            path.write_text("seed = 0\n\n", encoding="utf-8")

    @property
    def injected(self) -> tuple[Injected, ...]:
        """So far, in the order of their messages; of very many the last."""
        with self._lock:
            return tuple(sorted(self._injected, key=lambda each: each.message))

    def add(self, injected: Injected) -> None:
        with self._lock:
            self._injected.append(injected)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(injected.as_table() + "\n")
