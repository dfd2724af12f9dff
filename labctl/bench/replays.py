"""Whose log is whose: `LABCTL_REPLAY` puts recordings in the place of instruments of a bench file.

The variable names one log or several, apart as in `PATH`, each as `LOG` or `NAME=LOG`. A log without a name belongs to
the instrument whose `wire_log` it is, else to the one at the address it was recorded from, else to the only one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.errors import BenchError
from labctl.links.replay import LIBRARY, ReplaySpec
from labctl.links.wire_log import read_lines

if TYPE_CHECKING:
    from labctl.bench.settings import WiredSettings

VARIABLE = "LABCTL_REPLAY"


def assigned(text: str, instruments: Mapping[str, WiredSettings]) -> dict[str, ReplaySpec]:
    """Name to recording, of the logs in `text`. Raises BenchError, NoWireLogError."""
    found: dict[str, ReplaySpec] = {}
    for entry in filter(None, text.split(os.pathsep)):
        name, equals, log = entry.partition("=")
        is_named = bool(equals) and name in instruments
        spec = ReplaySpec.parse(f"{Path(log if is_named else entry).absolute()}{LIBRARY}")
        answered = name if is_named else owner(spec.log, instruments, VARIABLE)
        if answered in found:
            raise BenchError(f"{VARIABLE}: both {found[answered].log} and {spec.log} would answer for {answered}")
        found[answered] = spec
    return found


def owner(log: Path, instruments: Mapping[str, WiredSettings], said_with: str) -> str:
    """Whose log it is. Raises BenchError, which says with what to say it, and NoWireLogError."""
    recorded_at = next((line.facts.get("resource_name", "") for line in read_lines(log)), "")
    for candidates in (
        [
            name
            for name, each in instruments.items()
            if each.wire_log and Path(each.wire_log).resolve() == log.resolve()
        ],
        [name for name, each in instruments.items() if each.address == recorded_at],
        list(instruments),
    ):
        if len(candidates) == 1:
            return candidates[0]
    known = ", ".join(instruments) or "none"
    raise BenchError(f"{said_with}: say which instrument's log {log} is; there are: {known}")
