"""Follows a run file while another process writes it: every look reads only the rows that are new.

The file is opened for each look and closed again, so that nothing is ever in its writer's way, a file that was
replaced is noticed, and what is kept here does not grow with the run.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Operation
from labctl.errors import NoRunError
from labctl.recording import layout, names
from labctl.recording.layout import AskedBy, Commit, Outcome, State
from labctl.recording.reader import opened, read_summary, text, whole

_BLOCK = 1 << 18  # rows read at once
_POINTS = 1024  # kept of a curve
_RATE_S = 5.0  # over which a rate is taken
_PULSES = tuple(int(operation) for operation in Operation)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A scalar of the steps, or of the auxiliaries. unit: SI, `1` for counts, "" for none."""

    name: str
    unit: str
    long_name: str


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a run from its beginning on.

    began: s since 1970 on the wall clock, started: the same on the array's clock. scalars: what each step says, as the
    protocol declared it. settings: the protocol's, arrays as their digests. was_resumed: so that there were pauses.
    associative: whether the array is one, of whose cells a run says nothing: its events are recorded passes.
    """

    path: Path
    protocol: str
    title: str
    chip_serial: str
    bench_name: str
    rows: int
    cols: int
    began: float
    started: float
    scalars: tuple[Quantity, ...]
    auxiliaries: tuple[Quantity, ...]
    settings: Mapping[str, Any]
    was_resumed: bool
    associative: bool = False

    @property
    def cells(self) -> int:
        """That the run says something of."""
        return 0 if self.associative else self.rows * self.cols


class Curve:
    """A quantity by step, thinned out evenly where there are many: at most so many points, and the last one."""

    def __init__(self) -> None:
        self._steps: NDArray[np.int64] = np.empty(0, np.int64)
        self._values: NDArray[np.float64] = np.empty(0)
        self._last: tuple[int, float] | None = None
        self._given = 0  # points so far
        self._stride = 1  # of which one in so many is kept

    def add(self, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Further (n,) points; those without a value are passed over."""
        known = np.isfinite(values)
        steps, values = steps[known], values[known]
        if not len(steps):
            return
        kept = (np.arange(self._given, self._given + len(steps)) % self._stride) == 0
        self._steps = np.concatenate([self._steps, steps[kept]])
        self._values = np.concatenate([self._values, values[kept]])
        self._given += len(steps)
        self._last = int(steps[-1]), float(values[-1])
        while len(self._steps) > _POINTS:
            self._steps, self._values, self._stride = self._steps[::2], self._values[::2], 2 * self._stride

    @property
    def last(self) -> float | None:
        """The latest value; None where there was none."""
        return None if self._last is None else self._last[1]

    def points(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n,) steps and values."""
        if self._last is None or self._steps[-1] == self._last[0]:
            return self._steps, self._values
        return np.append(self._steps, self._last[0]), np.append(self._values, self._last[1])


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look saw. The arrays are the follower's own, (rows * cols,), and go on changing; empty of an associative
    array.

    message: how the run ended. behind: events in the file that were not looked at yet. elapsed: s, by the wall;
    bench_elapsed: on the array's clock. pulses_per_s: by the wall, of late; of the whole run when it is over; None when
    not known. phase, latest: of the last step, which need not give every scalar. curves: of each scalar that was ever
    given. reading: S, the last of each cell, NaN where there is none. pulses: that the cell got. target: S, NaN where
    there is none; None where the protocol has no targets, or has not given them yet. surroundings: the last sample.
    unknown_dose, not_applied: pulses; of an associative array, actions.
    """

    head: Head
    commit: Commit
    message: str
    behind: int
    elapsed: float
    bench_elapsed: float
    pulses_per_s: float | None
    phase: str
    latest: Mapping[str, float]
    curves: Mapping[str, Curve]
    reading: NDArray[np.float32]
    pulses: NDArray[np.uint32]
    target: NDArray[np.float32] | None
    surroundings: Mapping[str, float]
    unknown_dose: int
    not_applied: int

    @property
    def outcome(self) -> Outcome:
        return self.commit.outcome

    @property
    def is_over(self) -> bool:
        """Whether nobody writes the run any more, and everything in it has been looked at."""
        return self.outcome is not Outcome.LIVE and not self.behind


class Follower:
    """Looks at the run file `path` again and again. `now`: monotonic s, for rates; `wall`: s since 1970."""

    def __init__(
        self, path: Path, *, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._now = now
        self._wall = wall
        self._seen: _Seen | None = None

    def look(self, patience_s: float = float("inf")) -> Sight:
        """What is new since the last look; the rest is for the next one after so many s.

        A file that was put in the old one's place is read from its beginning. Raises NoRunError where there is none,
        RecordingError where it is no whole run file, or is just being closed.
        """
        deadline = self._now() + patience_s
        with opened(self.path) as (file, commit), whole(self.path):
            identity = _identity(file)
            if self._seen is None or self._seen.identity != identity or not self._seen.is_before(commit):
                self._seen = _Seen(identity, _head(self.path, file))
            seen = self._seen
            seen.take(file, commit, lambda: self._now() >= deadline)
            seen.rate.note(self._now(), commit.pulses)
        return self._sight(seen, commit)

    def _sight(self, seen: _Seen, commit: Commit) -> Sight:
        ended = commit.outcome not in (Outcome.LIVE, Outcome.KILLED)
        summary = read_summary(self.path) if ended else None
        elapsed = self._elapsed(seen.head, commit, summary.summary if summary else {})
        overall = commit.pulses / elapsed if elapsed > 0 and not seen.head.was_resumed else None
        rate = seen.rate.per_second if commit.outcome is Outcome.LIVE else overall
        return Sight(
            head=seen.head,
            commit=commit,
            message=summary.message if summary else "",
            behind=commit.events - seen.events,
            elapsed=elapsed,
            bench_elapsed=max(0.0, commit.ended - seen.head.started),
            pulses_per_s=None if seen.head.associative else rate,
            phase=seen.phase,
            latest=seen.latest,
            curves=seen.curves,
            reading=seen.reading,
            pulses=seen.pulses,
            target=seen.target,
            surroundings=seen.surroundings,
            unknown_dose=seen.unknown_dose + _in_flight(seen.head, commit),
            not_applied=seen.not_applied,
        )

    def _elapsed(self, head: Head, commit: Commit, summary: Mapping[str, Any]) -> float:
        """As the run said itself when it ended; of one killed or resumed, until its file was last written to."""
        said = None if head.was_resumed else summary.get("elapsed_s")
        if isinstance(said, int | float):
            return float(said)
        until = self._wall() if commit.outcome is Outcome.LIVE else self.path.stat().st_mtime
        return max(0.0, until - head.began)


def newest_live(folder: Path) -> Path | None:
    """The run in `folder`, or in a folder in it, that was begun last of those that are being written now.

    Raises NoRunError where there is no such folder.
    """
    if not folder.is_dir():
        raise NoRunError(f"there is no folder {folder}")
    found: list[tuple[float, Path]] = []
    for within, _, files in os.walk(folder):
        for name in {each.removesuffix(".lock") for each in files if each.endswith(".h5.lock")} & set(files):
            path = Path(within, name)
            try:
                found.append((names.lock_path(path).stat().st_mtime, path))
            except FileNotFoundError:  # it ended just now
                continue
    return next((path for _, path in sorted(found, reverse=True) if names.is_live(path)), None)


class _Rate:
    """Pulses a second of late."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, moment: float, pulses: int) -> None:
        self._marks.append((moment, pulses))
        while len(self._marks) > 2 and moment - self._marks[1][0] >= _RATE_S:
            self._marks.popleft()

    @property
    def per_second(self) -> float | None:
        (began, before), (ended, after) = self._marks[0], self._marks[-1]
        return (after - before) / (ended - began) if ended > began else None


class _Seen:
    """What has been read of one file so far."""

    def __init__(self, identity: tuple[int, int], head: Head) -> None:
        self.identity = identity
        self.head = head
        self.events = self.operations = self.steps = self.samples = 0
        self.phase = ""
        self.latest: dict[str, float] = {}
        self.curves: dict[str, Curve] = {}
        self.reading = np.full(head.cells, np.nan, np.float32)
        self.pulses = np.zeros(head.cells, np.uint32)
        self.target: NDArray[np.float32] | None = None
        self.surroundings: dict[str, float] = {}
        self.unknown_dose = self.not_applied = 0
        self.rate = _Rate()

    def is_before(self, commit: Commit) -> bool:
        """Whether `commit` is one that the same file can have come to."""
        return self.events <= commit.events and self.steps <= commit.steps and self.samples <= commit.samples

    def take(self, file: h5py.File, commit: Commit, is_late: Callable[[], bool]) -> None:
        """Read what `commit` counts and is new; of the events as much as there is time for."""
        if self.steps < commit.steps:
            self._take_steps(file["steps"], commit.steps)
            self._take_target(file["maps"])
        if self.samples < commit.samples:
            self._take_sample(file["auxiliaries"], commit.samples)
        while self.events < commit.events or self.operations < commit.operations:
            if self.head.associative:
                self._take_actions(file["operations"], commit)
            else:
                self._take_events(file, commit)
            if is_late():
                break

    def _take_steps(self, steps: h5py.Group, until: int) -> None:
        for first, last in _blocks(self.steps, until):
            rows = np.arange(first, last)
            values = {each.name: _column(steps[each.name], first, last) for each in self.head.scalars}
            if self.head.was_resumed:
                superseded = steps["asked_by"][first:last] == AskedBy.SUPERSEDED
                values = {name: np.where(superseded, np.nan, column) for name, column in values.items()}
            for name, column in values.items():
                if np.isfinite(column).any():
                    self.curves.setdefault(name, Curve()).add(rows, column)
            self.latest = {name: float(column[-1]) for name, column in values.items() if np.isfinite(column[-1])}
        self.steps = until
        self.phase = _meaning(steps["phase"], int(steps["phase"][until - 1]))

    def _take_target(self, maps: h5py.Group) -> None:
        if "target" in maps:
            target = maps["target"][:].ravel().astype(np.float32)
            self.target = target if np.isfinite(target).any() else None

    def _take_sample(self, auxiliaries: h5py.Group, until: int) -> None:
        last = {each.name: float(auxiliaries[each.name][until - 1]) for each in self.head.auxiliaries}
        self.surroundings, self.samples = last, until

    def _take_actions(self, table: h5py.Group, commit: Commit) -> None:
        """One block; passes are not looked at."""
        part = slice(self.operations, min(commit.operations, self.operations + _BLOCK))
        self._doubt(table["state"][part], np.ones(part.stop - part.start, np.int64))
        self.operations = part.stop
        if self.operations == commit.operations:
            self.events = commit.events

    def _take_events(self, file: h5py.File, commit: Commit) -> None:
        """One block: a part of an operation, or as many small operations as fit."""
        table = file["operations"]
        stop = min(commit.operations, self.operations + _BLOCK // 16)
        part = slice(self.operations, stop)
        begin, sizes = (table[name][part].astype(np.int64) for name in ("first_event", "events"))
        last = int(min(begin[-1] + sizes[-1], self.events + _BLOCK))
        done = int(np.count_nonzero(begin + sizes <= last))
        if last <= self.events and not done:
            raise ValueError("its operations do not add up to its events")
        here = (np.minimum(begin + sizes, last) - np.maximum(begin, self.events)).clip(0)
        self._count(table, part, here)
        if last > self.events:
            self._spread(file["events"], table, part, here, last)
        self.events, self.operations = last, self.operations + done

    def _count(self, table: h5py.Group, part: slice, here: NDArray[np.int64]) -> None:
        """Pulses that are not what was meant, among the events `here` of the operations in `part`."""
        self._doubt(table["state"][part], here * np.isin(table["kind"][part], _PULSES))

    def _doubt(self, state: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
        self.unknown_dose += int(counts[state == State.UNKNOWN_DOSE].sum())
        self.not_applied += int(counts[state == State.NOT_APPLIED].sum())

    def _spread(self, events: h5py.Group, table: h5py.Group, part: slice, here: NDArray[np.int64], last: int) -> None:
        """Readings and pulses of the next events up to `last`, to their cells; of several the last one counts."""
        rows = slice(self.events, last)
        cells, codes, stored = events["cell"][rows], events["reading"][rows], events["reading"].attrs
        values = codes.astype(np.float32) * np.float32(stored["scale_factor"]) + np.float32(stored["add_offset"])
        if "reading_factor" in table:  # runs recorded before there was a choice of voltage have none
            factor = table["reading_factor"][part]
            if np.any(factor != 1):
                values *= np.repeat(factor, here).astype(np.float32)
        was_read = codes != stored["_FillValue"]
        self.reading[cells[was_read]] = values[was_read]
        applied = np.isin(table["kind"][part], _PULSES) & (table["state"][part] != State.NOT_APPLIED)
        np.add.at(self.pulses, cells[np.repeat(applied, here)], np.uint32(1))  # another type: 30 times slower


def _blocks(first: int, last: int) -> Iterator[tuple[int, int]]:
    for begin in range(first, last, _BLOCK):
        yield begin, min(begin + _BLOCK, last)


def _column(dataset: h5py.Dataset, first: int, last: int) -> NDArray[np.float64]:
    """Rows of a step's scalar; NaN where the step did not give it."""
    stored: NDArray[Any] = dataset[first:last]
    values = stored.astype(np.float64)
    fill = dataset.attrs.get("_FillValue")
    if fill is not None and stored.dtype.kind in "iu":
        values[stored == fill] = np.nan
    return values


def _meaning(dataset: h5py.Dataset, code: int) -> str:
    """The word for a code of a column of flags."""
    words = dict(zip(dataset.attrs["flag_values"].tolist(), text(dataset.attrs["flag_meanings"]).split(), strict=True))
    return str(words.get(code, code))


def _head(path: Path, file: h5py.File) -> Head:
    said = {name: text(content) for name, content in file.attrs.items()}
    started = dt.datetime.fromisoformat(said["started"]).timestamp()
    own = {column.name for column in (*layout.steps((), ()), *layout.auxiliaries({}))} | {"step", "sample"}
    return Head(
        path=path,
        protocol=said["protocol"],
        title=said["title"],
        chip_serial=str(said.get("chip_serial", "")),
        bench_name=str(said.get("bench_name", "")),
        rows=int(said["rows"]),
        cols=int(said["cols"]),
        began=_moment(said.get("wall_time_start"), started),
        started=started,
        scalars=_quantities(file["steps"], own),
        auxiliaries=_quantities(file["auxiliaries"], own) if "auxiliaries" in file else (),
        settings=_settings(file["provenance"]),
        was_resumed="resumptions" in file["provenance"].attrs,
        associative=layout.is_associative(said),
    )


def _moment(said: object, otherwise: float) -> float:
    try:
        return dt.datetime.fromisoformat(str(said)).timestamp()
    except ValueError:
        return otherwise


def _quantities(group: h5py.Group, others: set[str]) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(name, text(column.attrs.get("units", "")), text(column.attrs.get("long_name", name)))
        for name, column in group.items()
        if name not in others
    )


def _settings(provenance: h5py.Group) -> Mapping[str, Any]:
    said = msgspec.json.decode(provenance.attrs.get("settings", "{}"))
    return said if isinstance(said, dict) else {}


def _identity(file: h5py.File) -> tuple[int, int]:
    """Which file of the system it is, whatever it is called."""
    status = os.fstat(file.id.get_vfd_handle())
    return status.st_dev, status.st_ino


def _in_flight(head: Head, commit: Commit) -> int:
    """Pulses of a killed run, or actions, that were intended, and of which nothing was heard."""
    if commit.outcome is not Outcome.KILLED:
        return 0
    return commit.unsettled if head.associative else commit.events_intended - commit.events
