"""What a catalogue knows of one run: read from its file, and kept as JSON."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import msgspec

from labctl.recording.layout import Outcome
from labctl.recording.nested import flat, plain
from labctl.recording.reader import opened, summarise, text, whole


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One run, as its file and the tags beside it say.

    started: s since 1970 by the clock on the wall. elapsed: s, as the run tells it, else by the array's clock.
    pulses: on single cells; unknown_dose: of those, how many nobody can say were applied. unsettled: operations with
    an intent and no outcome. attributes: the flat provenance (`host`, `seed`, `labctl_version`, ...). settings,
    summary: what the protocol was given and what it returned, `set.stop` naming what is nested; arrays by shape, type
    and SHA-256.
    """

    path: Path = Path()
    protocol: str
    title: str
    measurement: str
    chip_serial: str
    operator: str
    outcome: Outcome
    message: str
    started: float
    elapsed: float
    rows: int
    cols: int
    cell: str
    steps: int
    operations: int
    events: int
    pulses: int
    unknown_dose: int
    unsettled: int
    attributes: dict[str, Any]
    settings: dict[str, Any]
    summary: dict[str, Any]
    tags: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nobody writes the run any more."""
        return self.outcome is not Outcome.LIVE


SCHEMA = f"1 {Entry.__struct_fields__}"
"""What a kept entry is made of; the number is raised when a field comes to mean something else."""

_BESIDE = ("path", "tags", "note")
"""What is not of the file's content, and so not kept with it."""


def read_entry(path: Path) -> Entry:
    """The run at `path`, without its tags. Raises RecordingError (NoRunError: it is no run's file at all)."""
    with opened(path) as (file, commit), whole(path):
        run = summarise(path, file, commit)
        settings = msgspec.json.decode(text(file["provenance"].attrs.get("settings", "{}")))
        cell = str(text(file.attrs.get("cell", "")))
    attributes = {name: plain(item) for name, item in run.attributes.items()}
    elapsed = run.summary.get("elapsed_s")
    return Entry(
        path=path,
        protocol=run.protocol,
        title=run.title,
        measurement=str(attributes.get("measurement", "")),
        chip_serial=str(attributes.get("chip_serial", "")),
        operator=str(attributes.get("operator", "")),
        outcome=run.outcome,
        message=run.message,
        started=_seconds(attributes.get("wall_time_start"), run.started),
        elapsed=elapsed if isinstance(elapsed, float) else _seconds(run.ended) - _seconds(run.started),
        rows=run.rows,
        cols=run.cols,
        cell=cell,
        steps=run.steps,
        operations=run.operations,
        events=run.events,
        pulses=run.pulses,
        unknown_dose=run.unknown_dose,
        unsettled=run.unsettled,
        attributes=attributes,
        settings=flat(settings),
        summary=flat(run.summary),
    )


def encode(entry: Entry) -> bytes:
    """What was read of the file, as JSON. Raises UnicodeEncodeError where some of it is no text."""
    content = msgspec.structs.asdict(entry)
    return msgspec.json.encode({name: item for name, item in content.items() if name not in _BESIDE}, enc_hook=str)


def decode(content: bytes, path: Path, tags: tuple[str, ...], note: str) -> Entry:
    """The entry that `encode` wrote, of the file at `path`. Raises msgspec.MsgspecError for what is none."""
    return msgspec.structs.replace(_DECODER.decode(content), path=path, tags=tags, note=note)


def _seconds(*said: Any) -> float:
    """The first of the ISO times that is one, in s since 1970; 0 where none is."""
    for each in said:
        with contextlib.suppress(ValueError, OverflowError):
            return dt.datetime.fromisoformat(str(each)).timestamp()
    return 0.0


_DECODER = msgspec.json.Decoder(Entry)
