"""Whose log is whose: `LABCTL_REPLAY` puts recordings in the place of instruments of a bench file.

The variable names one log or several, apart as in `PATH`, each as `LOG` or `NAME=LOG`. A log without a name belongs to
the instrument whose `wire_log` it is, else to the one at the address it was recorded from, else to the only one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.errors import BenchError
from labctl.links.replay import LIBRARY, ReplaySpec
from labctl.links.wire_log import read_lines

if TYPE_CHECKING:
    from labctl.bench.settings import WiredSettings

VARIABLE = "LABCTL_REPLAY"

MadeOf = Mapping[str, Sequence[str]]


def assigned(text: str, instruments: Mapping[str, WiredSettings], made_of: MadeOf) -> dict[str, ReplaySpec]:
    """Name to recording, of the logs in `text`. made_of: of the instruments without a wire, those they are made of.

    Raises BenchError, NoWireLogError.
    """
    found: dict[str, ReplaySpec] = {}
    for entry in filter(None, text.split(os.pathsep)):
        name, log = _named(entry)
        if name:
            check_name(name, instruments, made_of)
        spec = ReplaySpec.parse(f"{Path(log).absolute()}{LIBRARY}")
        answered = name or owner(spec.log, instruments, VARIABLE)
        if answered in found:
            raise BenchError(f"{VARIABLE}: both {found[answered].log} and {spec.log} would answer for {answered}")
        found[answered] = spec
    return found


def _named(entry: str) -> tuple[str, str]:
    """The name and the log of `NAME=LOG`; no name where it is a LOG, which may have an equals sign in it."""
    name, equals, log = entry.partition("=")
    whole = ReplaySpec.parse(f"{entry}{LIBRARY}").log
    is_log = not equals or not log or "=" not in str(whole) or "/" in name or os.sep in name or whole.exists()
    return ("", entry) if is_log else (name, log)


def check_name(name: str, instruments: Mapping[str, WiredSettings], made_of: MadeOf) -> None:
    """Whether one with a wire is called `name`. Raises BenchError."""
    if name in instruments:
        return
    if name in made_of:
        parts = ", ".join(dict.fromkeys(made_of[name]))
        instead = f": it is made of others, so name these: {parts}" if parts else ", so there is no log of it"
        raise BenchError(f"{name!r} has no wire of its own{instead}")
    raise BenchError(f"no instrument {name!r}; there are: {', '.join([*instruments, *made_of]) or 'none'}")


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
