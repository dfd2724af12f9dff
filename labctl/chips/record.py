"""What all its runs say of a chip: yield, defects, pulses and dose, last state, and which cells to leave alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Operation
from labctl.chips.defects import Defect
from labctl.chips.exclusions import Exclusion, exclusions_path, read_exclusions
from labctl.chips.history import Found, History, Note, history, pulse_count
from labctl.chips.ledger import NO_RUN, OPERATIONS
from labctl.errors import NoRunError, UsageError
from labctl.recording.catalogue import Catalogue
from labctl.recording.layout import is_associative

if TYPE_CHECKING:
    import xarray as xr

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class ChipRun:
    """One run of the chip. started: s since 1970 on the wall's clock. pulses, events: committed ones. not_counted: why
    it is not part of the record; empty where it is. tried, bad: cells it says something of, and those it found bad.
    """

    path: Path
    protocol: str
    title: str
    measurement: str
    outcome: str
    started: float
    pulses: int
    events: int
    not_counted: str
    tried: int
    bad: int


@dataclass(frozen=True, slots=True)
class FormingYield:
    """Of the cells that were tried with a whole ramp, those that formed."""

    formed: int
    tried: int

    @property
    def fraction(self) -> float:
        """NaN where none was tried."""
        return self.formed / self.tried if self.tried else float("nan")


@dataclass(frozen=True)
class ChipRecord:
    """A chip's history. Arrays are (cells,), in the order of flat indices, row * cols + col.

    runs: the oldest first, those that are not counted among them. pulses: that were given, or may have been (of these
    `unknown_dose`), in all and `by_operation`. dose: sum of amplitude times width, V s. conductance: at the last
    reading at the array's own voltage, S; NaN: never read. read_at: when that was, s since 1970 on the wall's clock.
    formed: whether it conducted when last heard of in that matter. forming_voltage: V, NaN where no run formed it.
    defects: codes of `Defect`. dead_rows, dead_cols: lines most of whose cells are bad. excluded: cells that protocols
    leave alone: bad ones, those on dead lines, and those that people exclude (`exclusions`). warnings: sentences.
    """

    serial: str
    folder: Path
    rows: int
    cols: int
    cell: str
    runs: tuple[ChipRun, ...]
    pulses: NDArray[np.uint64]
    by_operation: dict[Operation, NDArray[np.uint64]]
    unknown_dose: NDArray[np.uint64]
    dose: NDArray[np.float64]
    conductance: NDArray[np.float32]
    read_at: NDArray[np.float64]
    formed: NDArray[np.bool_]
    forming_voltage: NDArray[np.float32]
    defects: NDArray[np.uint8]
    dead_rows: tuple[int, ...]
    dead_cols: tuple[int, ...]
    exclusions: tuple[Exclusion, ...]
    forming_yield: FormingYield
    warnings: tuple[str, ...]
    found_by: NDArray[np.int64] = field(repr=False)
    """Place in `runs` of the run that each cell's defect is from; -1: it has none."""

    @property
    def cells(self) -> int:
        return self.rows * self.cols

    @cached_property
    def by_people(self) -> NDArray[np.bool_]:
        """(cells,) those that people exclude."""
        return mask_of(self.exclusions, self.rows, self.cols)

    @cached_property
    def excluded(self) -> NDArray[np.bool_]:
        lines = on_lines(self.dead_rows, self.dead_cols, self.rows, self.cols)
        found: NDArray[np.bool_] = (self.defects != Defect.NONE) | lines | self.by_people
        return found

    def why(self, cell: int) -> str:
        """Why the cell with this flat index is excluded, in a few words; empty where it is not.

        Raises UsageError for a cell the chip has not.
        """
        if not 0 <= cell < self.cells:
            raise UsageError(f"chip {self.serial} has the cells 0 to {self.cells - 1}, not {cell}")
        row, col = divmod(cell, self.cols)
        reasons = []
        defect = Defect(self.defects[cell])
        if defect is not Defect.NONE:
            run = self.runs[self.found_by[cell]].path.name
            reasons.append(f"{name_of(defect)} in {run}")
        if row in self.dead_rows:
            reasons.append(f"row {row} is dead")
        if col in self.dead_cols:
            reasons.append(f"column {col} is dead")
        for each in self.exclusions:
            if each.mask(self.rows, self.cols)[row, col]:
                reasons.append(f"excluded{f' by {each.by}' if each.by else ''}: {each.because}")
        return "; ".join(reasons)

    def map(self, values: NDArray[Any]) -> NDArray[Any]:
        """(cells,) as (rows, cols)."""
        return values.reshape(self.rows, self.cols)

    def to_dataset(self) -> xr.Dataset:
        """Everything per cell, (row, col), with units."""
        from labctl.chips.dataset import dataset_of

        return dataset_of(self)


def chip_record(serial: str, folder: str | Path) -> ChipRecord:
    """What the runs in `folder` and below say of the chip `serial`.

    Raises NoRunError where there is no such folder, and neither a run of that chip nor an exclusion in it; UsageError
    of an associative array.
    """
    folder = Path(folder)
    catalogue = Catalogue(folder)
    if is_associative_array(serial, catalogue):
        raise UsageError(
            f"chip {serial} is an associative array, whose cells get no pulses and are not read one by one: its runs "
            f"say nothing of them (labctl runs find --chip {serial} lists them)"
        )
    runs, rows, cols = _runs_in(catalogue, serial)
    exclusions = read_exclusions(folder, serial)
    if not runs:
        said = f"; what people exclude of it stands in {exclusions_path(folder, serial)}" if exclusions else ""
        said += "".join(f"; {each}" for each in _unread(catalogue))
        raise NoRunError(f"there is no run of chip {serial!r} in {folder}{said}")
    return _record(serial, folder, history(folder, serial, runs, rows, cols), exclusions, _unread(catalogue))


def runs_of(serial: str, folder: Path) -> tuple[list[Found], int, int]:
    """The run files of the chip in `folder` and below; rows and columns of the newest (0, 0: there is none).

    Raises NoRunError where there is no such folder.
    """
    return _runs_in(Catalogue(folder), serial)


def pulses_of(serial: str, catalogue: Catalogue) -> int:
    """All pulses of the chip, as in its record, without the rest of it; none of an associative array."""
    if is_associative_array(serial, catalogue):
        return 0
    runs, rows, cols = _runs_in(catalogue, serial)
    return pulse_count(catalogue.folder, serial, runs, rows, cols) if runs else 0


def is_associative_array(serial: str, catalogue: Catalogue) -> bool:
    """Whether the newest run of the chip says so."""
    newest = [each.attributes for each in catalogue.entries if each.chip_serial == serial][-1:]
    return any(is_associative(each) for each in newest)


def _runs_in(catalogue: Catalogue, serial: str) -> tuple[list[Found], int, int]:
    found, shape = [], (0, 0)
    for each in catalogue.entries:
        if each.chip_serial == serial:
            with contextlib.suppress(FileNotFoundError):  # gone since
                state = each.path.stat()
                name = each.path.relative_to(catalogue.folder).as_posix()
                found.append(Found(name, each.outcome.value, state.st_mtime_ns, state.st_size))
                shape = each.rows, each.cols
    return found, *shape


def mask_of(exclusions: tuple[Exclusion, ...], rows: int, cols: int) -> NDArray[np.bool_]:
    """(cells,) what people exclude. Raises UsageError for what is not on such an array."""
    found = np.zeros((rows, cols), bool)
    for each in exclusions:
        found |= each.mask(rows, cols)
    return found.ravel()


def on_lines(dead_rows: tuple[int, ...], dead_cols: tuple[int, ...], rows: int, cols: int) -> NDArray[np.bool_]:
    """(cells,) those on dead lines."""
    found = np.zeros((rows, cols), bool)
    found[list(dead_rows)] = True
    found[:, list(dead_cols)] = True
    return found.ravel()


def name_of(defect: Defect) -> str:
    """As a person says it: `never formed`."""
    return defect.name.lower().replace("_", " ")


def _unread(catalogue: Catalogue) -> tuple[str, ...]:
    """A sentence on the files of runs that cannot be read, where there are any."""
    names = [path.relative_to(catalogue.folder).as_posix() for path in catalogue.damaged if path.suffix == ".h5"]
    if not names:
        return ()
    files = "1 file" if len(names) == 1 else f"{len(names):,} files"
    shown = ", ".join(names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return (
        f"{files} in {catalogue.folder} cannot be read, and may be of this chip: {shown}{more} "
        f"(labctl runs verify {catalogue.folder} says why)",
    )


def _record(
    serial: str, folder: Path, found: History, exclusions: tuple[Exclusion, ...], unread: tuple[str, ...]
) -> ChipRecord:
    ledger, findings = found.ledger, found.findings
    place = np.full(1 + max(note.number for note in found.notes), -1)
    place[[note.number for note in found.notes]] = np.arange(len(found.notes))
    has_formed = np.isfinite(ledger.forming_voltage)
    never = findings.defects == Defect.NEVER_FORMED
    counted = [note for note in found.notes if note.facts is not None]
    return ChipRecord(
        serial=serial,
        folder=folder,
        rows=found.rows,
        cols=found.cols,
        cell=counted[-1].facts.cell if counted and counted[-1].facts else "",
        runs=tuple(_run(note, folder) for note in found.notes),
        pulses=ledger.pulses.sum(axis=0),
        by_operation=dict(zip(OPERATIONS, ledger.pulses, strict=True)),
        unknown_dose=ledger.unknown,
        dose=ledger.dose,
        conductance=ledger.conductance,
        read_at=ledger.read_at,
        formed=(has_formed | ledger.conducted) & ~never,
        forming_voltage=ledger.forming_voltage,
        defects=findings.defects,
        dead_rows=findings.dead_rows,
        dead_cols=findings.dead_cols,
        exclusions=exclusions,
        forming_yield=_forming_yield(has_formed, never),
        warnings=(*_warnings(found), *unread),
        found_by=np.where(findings.defects != Defect.NONE, place[ledger.verdict_run], -1),
    )


def _forming_yield(has_formed: NDArray[np.bool_], never: NDArray[np.bool_]) -> FormingYield:
    return FormingYield(int(np.count_nonzero(has_formed & ~never)), int(np.count_nonzero(has_formed | never)))


def _run(note: Note, folder: Path) -> ChipRun:
    facts, found = note.facts, note.found
    return ChipRun(
        path=folder / found.name,
        protocol=facts.protocol if facts else "",
        title=facts.title if facts else "",
        measurement=facts.measurement if facts else "",
        outcome=found.outcome,
        started=facts.wall_start if facts else float("nan"),
        pulses=facts.pulses if facts else 0,
        events=facts.events if facts else 0,
        not_counted=note.not_counted or (f"a copy of {note.copy_of}" if note.copy_of else ""),
        tried=note.tried,
        bad=note.bad,
    )


def _warnings(found: History) -> tuple[str, ...]:
    """What a person should know of the runs before believing the record."""
    ledger, defects = found.ledger, found.findings.defects
    news = ledger.doubted_run[(ledger.doubted_run != NO_RUN) & (ledger.doubted != defects)]
    doubted = set(np.unique(news).tolist())
    said = [
        f"{note.found.name}: {note.bad:,} of {note.tried:,} cells tried look bad, which is more likely the bench: "
        "not used"
        for note in found.notes
        if note.number in doubted
    ]
    said += [f"{note.found.name}: {note.not_counted}" for note in found.notes if note.facts is None]
    unknown = int(ledger.unknown.sum())
    if unknown:
        said.append(f"{unknown:,} pulses are of unknown dose; they are counted as given")
    return tuple(said)
