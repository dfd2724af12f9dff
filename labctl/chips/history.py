"""The runs of one chip, added up; kept in a cache beside them, so that only new and changed files are read.

The cache, `.labctl-chips/SERIAL.npz`, holds one ledger for all runs that are over, and one each for the last few that
may still go on (live, killed, interrupted ones can be resumed). Where a file of the first kind has changed or is gone,
and where the cache does not fit or cannot be read, everything is added up anew. It is never the only copy.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.chips.defects import Findings, find
from labctl.chips.ledger import NO_RUN, Ledger
from labctl.chips.names import safe_serial
from labctl.chips.run_ledger import RunFacts, read_run, run_facts
from labctl.errors import RecordingError
from labctl.recording.layout import Outcome

FOLDER = ".labctl-chips"

_VERSION = 2
_MOST_APART = 4
_BASE = "base"
_Given = TypeVar("_Given")


class Found(msgspec.Struct, frozen=True):
    """A run file of the chip, as the catalogue has it. name: its path within the folder, with slashes."""

    name: str
    outcome: str
    mtime_ns: int
    size: int


class Note(msgspec.Struct, frozen=True):
    """What the cache says of one run. number: its own, in ledgers. place: which ledger it is in. not_counted: why it is
    in none, empty where it is or may be; copy_of: the run it is a copy of, then it is in none either. tried, bad:
    cells, as in `Suspicion`.
    """

    found: Found
    number: int
    facts: RunFacts | None = None
    place: Literal["base", "apart", "none"] = "none"
    not_counted: str = ""
    copy_of: str = ""
    tried: int = 0
    bad: int = 0

    @property
    def is_counted(self) -> bool:
        return not self.not_counted and not self.copy_of


class _Head(msgspec.Struct, frozen=True):
    """What stands in the cache as JSON."""

    version: int
    serial: str
    rows: int
    cols: int
    notes: list[Note]


@dataclass(frozen=True, slots=True)
class History:
    """notes: of every run, the oldest first. ledger: what they add up to. findings: what they say together."""

    rows: int
    cols: int
    notes: tuple[Note, ...]
    ledger: Ledger
    findings: Findings


def findings_of(
    folder: Path, serial: str, runs: Iterable[Found], rows: int, cols: int, *, is_kept: bool = True
) -> Findings:
    """As `history(...).findings`, without reading more than that where nothing has changed."""
    wanted = list(runs)
    known = None
    if is_kept:
        known = _from_cache(folder, serial, rows, cols, lambda cache: cache.findings() if cache.holds(wanted) else None)
    return known or history(folder, serial, wanted, rows, cols, is_kept=is_kept).findings


def pulse_count(folder: Path, serial: str, runs: Iterable[Found], rows: int, cols: int) -> int:
    """The sum of `history(...).ledger.pulses`, without reading more than that where nothing has changed."""
    wanted = list(runs)
    known = _from_cache(folder, serial, rows, cols, lambda cache: cache.pulse_count() if cache.holds(wanted) else None)
    return int(history(folder, serial, wanted, rows, cols).ledger.pulses.sum()) if known is None else known


def history(folder: Path, serial: str, runs: Iterable[Found], rows: int, cols: int, *, is_kept: bool = True) -> History:
    """`runs`: the run files of the chip `serial` in `folder`, a chip of `rows` x `cols` cells. is_kept: they are all
    there are, and the cache is to be of them.
    """
    wanted = list(runs)
    sums = _Sums(folder, serial, rows, cols)
    if is_kept:
        _from_cache(folder, serial, rows, cols, lambda cache: sums.take(cache, wanted))
    if sums.update(wanted) and is_kept:
        sums.save()
    return sums.history()


class _Sums:
    """Notes and ledgers, brought up to date."""

    def __init__(self, folder: Path, serial: str, rows: int, cols: int) -> None:
        self._folder, self._serial, self._rows, self._cols = folder, serial, rows, cols
        self._notes: dict[str, Note] = {}
        self._base = Ledger.empty(rows * cols)
        self._apart: dict[int, Ledger] = {}
        self._is_old = False

    def take(self, cache: _Cache, wanted: list[Found]) -> None:
        """What the cache has and still holds; nothing where a run that is over has changed or is gone."""
        now = {each.name: each for each in wanted}
        kept = [note for note in cache.head.notes if _is_same(note.found, now.get(note.found.name))]
        if sum(note.place == "base" for note in kept) < sum(note.place == "base" for note in cache.head.notes):
            return
        base = cache.ledger(_BASE)
        apart = {note.number: cache.ledger(_own(note)) for note in kept if note.place == "apart"}
        self._notes, self._base, self._apart = {note.found.name: note for note in kept}, base, apart
        self._is_old = len(kept) < len(cache.head.notes)

    def update(self, wanted: list[Found]) -> bool:
        """Read what is new; returns whether there was anything new, or something is gone."""
        fresh = [each for each in wanted if each.name not in self._notes]
        number = 1 + max((note.number for note in self._notes.values()), default=NO_RUN)
        for place, each in enumerate(fresh):
            self._notes[each.name] = self._introduced(each, number + place)
        self._find_copies()
        if any(note.place == "base" and not note.is_counted for note in self._notes.values()):
            self._base, self._apart = Ledger.empty(self._rows * self._cols), {}
            self._notes = {name: _left_out(note) for name, note in self._notes.items()}
        for note in [note for note in self._notes.values() if note.is_counted and note.place == "none"]:
            self._notes[note.found.name] = self._added(note)
        self._fold()
        return bool(fresh) or self._is_old

    def _introduced(self, found: Found, number: int) -> Note:
        try:
            facts = run_facts(self._folder / found.name)
        except RecordingError as problem:
            return Note(found, number, not_counted=f"cannot be read: {problem}")
        alike = (facts.rows, facts.cols) == (self._rows, self._cols)
        reason = facts.not_counted or ("" if alike else f"{facts.rows} x {facts.cols} cells, unlike the newest run")
        return Note(found, number, facts, not_counted=reason)

    def _find_copies(self) -> None:
        """Of copies of one run (as recovering makes) the one that knows most counts."""
        best: dict[str, Note] = {}
        for note in sorted(self._notes.values(), key=lambda note: note.number):
            if note.facts is not None and not note.not_counted:
                other = best.get(note.facts.identity)
                if other is None or _knows(note) > _knows(other):
                    best[note.facts.identity] = note
        for name, note in self._notes.items():
            first = best.get(note.facts.identity) if note.facts is not None else None
            copy_of = first.found.name if first is not None and first.found.name != name else ""
            if copy_of and note.place == "apart":
                del self._apart[note.number]
                note = _left_out(note)
            self._notes[name] = msgspec.structs.replace(note, copy_of=copy_of)

    def _added(self, note: Note) -> Note:
        """`note` of a run that is now in a ledger."""
        try:
            facts, ledger, suspicion = read_run(self._folder / note.found.name, note.number)
        except RecordingError as problem:
            return msgspec.structs.replace(note, not_counted=f"cannot be read: {problem}")
        is_over = note.found.outcome == facts.outcome == Outcome.FINISHED
        if is_over:
            self._base.add(ledger, self._rank())
        else:
            self._apart[note.number] = ledger
        place: Literal["base", "apart"] = "base" if is_over else "apart"
        return msgspec.structs.replace(note, facts=facts, place=place, tried=suspicion.tried, bad=suspicion.bad)

    def _fold(self) -> None:
        """Keep but the last few apart."""
        apart = [note for note in self._in_order() if note.place == "apart"]
        for note in apart[: max(len(apart) - _MOST_APART, 0)]:
            self._base.add(self._apart.pop(note.number), self._rank())
            self._notes[note.found.name] = msgspec.structs.replace(note, place="base")

    def _in_order(self) -> list[Note]:
        return sorted(self._notes.values(), key=_moment)

    def _rank(self) -> NDArray[np.int64]:
        """(runs,) by number: how late the run began, among all."""
        rank = np.zeros(1 + max((note.number for note in self._notes.values()), default=0), np.int64)
        rank[[note.number for note in self._in_order()]] = np.arange(len(self._notes))
        return rank

    def history(self) -> History:
        total = self._base.copy()
        for each in self._apart.values():
            total.add(each, self._rank())
        findings = find(total.verdict, self._rows, self._cols)
        return History(self._rows, self._cols, tuple(self._in_order()), total, findings)

    def save(self) -> None:
        """Whole or not at all. Where nothing can be written, the next one reads what we did."""
        findings = self.history().findings
        head = _Head(_VERSION, self._serial, self._rows, self._cols, list(self._notes.values()))
        arrays: dict[str, NDArray[Any]] = {
            "head": np.frombuffer(msgspec.json.encode(head), np.uint8),
            "defects": findings.defects,
            "dead_rows": np.array(findings.dead_rows, np.int64),
            "dead_cols": np.array(findings.dead_cols, np.int64),
            **_named(_BASE, self._base),
        }
        for note in self._notes.values():
            if note.place == "apart":
                arrays |= _named(_own(note), self._apart[note.number])
        with contextlib.suppress(OSError):
            _write(cache_path(self._folder, self._serial), arrays)


class _Cache:
    """A cache file that is open, of the chip that was asked for. Its arrays are read when they are asked for."""

    def __init__(self, file: Mapping[str, NDArray[Any]], head: _Head) -> None:
        self._file = file
        self.head = head

    def holds(self, wanted: list[Found]) -> bool:
        """Whether it knows these runs, as they are now, and no others."""
        now = {each.name: each for each in wanted}
        known = self.head.notes
        return len(known) == len(now) and all(_is_same(note.found, now.get(note.found.name)) for note in known)

    def findings(self) -> Findings:
        rows, cols = (tuple(self._file[name].tolist()) for name in ("dead_rows", "dead_cols"))
        return Findings(self._file["defects"], rows, cols)

    def pulse_count(self) -> int:
        ledgers = [_BASE, *(_own(note) for note in self.head.notes if note.place == "apart")]
        return sum(int(self._file[f"{name}.pulses"].sum(dtype=np.uint64)) for name in ledgers)

    def ledger(self, name: str) -> Ledger:
        return Ledger.unpacked({each.name: self._file[f"{name}.{each.name}"] for each in fields(Ledger)})


def cache_path(folder: Path, serial: str) -> Path:
    return folder / FOLDER / f"{safe_serial(serial)}.npz"


def _from_cache(
    folder: Path, serial: str, rows: int, cols: int, use: Callable[[_Cache], _Given | None]
) -> _Given | None:
    """What `use` makes of the cache; None where there is none, or none that fits, or it is damaged."""
    try:
        with cache_path(folder, serial).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            head = msgspec.json.decode(file["head"].tobytes(), type=_Head)
            fits = (head.version, head.serial, head.rows, head.cols) == (_VERSION, serial, rows, cols)
            return use(_Cache(file, head)) if fits else None
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError):
        return None


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(number, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        Path(name).chmod(0o644)  # for others who read it; whoever may write in the folder replaces it
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _named(name: str, ledger: Ledger) -> dict[str, NDArray[Any]]:
    return {f"{name}.{field}": values for field, values in ledger.packed().items()}


def _own(note: Note) -> str:
    return f"run{note.number}"


def _knows(note: Note) -> tuple[int, int]:
    return (note.facts.events, note.facts.pulses) if note.facts is not None else (0, 0)


def _moment(note: Note) -> tuple[float, float, str]:
    """Runs by the clock on the wall; within a second of it by the board's."""
    facts, name = note.facts, note.found.name
    return (facts.wall_start, facts.began, name) if facts is not None else (0.0, 0.0, name)


def _left_out(note: Note) -> Note:
    """`note` of a run that is in no ledger any more."""
    return msgspec.structs.replace(note, place="none", tried=0, bad=0)


def _is_same(known: Found, now: Found | None) -> bool:
    """A live run is never what it was."""
    return known == now and known.outcome != Outcome.LIVE
