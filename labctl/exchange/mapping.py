"""What a mapping file says: which measurement a foreign file holds, and where each quantity stands in it.

A mapping is TOML. Which tables it may have depends on its `measurement`; `docs/importing.md` shows one of each.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from labctl.errors import MappingError
from labctl.units import Kelvin, Second, Siemens, Volt, convert

Axis = Literal["cell", "row", "col", "time", "sample", "train", "pulse", "voltage", "cycle", "reading"]
Format = Literal["csv", "numpy", "hdf5", "arc2"]

_RANGE = re.compile(r"\d*:\d*(:[1-9]\d*)?")
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".dat": "csv",
    ".npy": "numpy",
    ".npz": "numpy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
}


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a mapping."""


class Place(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one quantity stands, and what it is measured in.

    at: a column of a table by its name or number (from 0), an array of an .npz, or the path of a dataset; `path:field`
    is one field of a structured array, `*` every column of a table. A list stacks several along the first of `axes`.
    values: the numbers themselves, for what the file does not say. unit: as in `uS` or `kOhm`; not needed where the
    dataset has an attribute `unit` or `units`. scale, offset: the numbers are multiplied and added to before they have
    their unit; with a unit of `1`, that alone takes them to SI. axes: what each
    dimension counts. where: of a table, only the rows that hold these values (`">0"` and the like for numbers). pick:
    one index of an axis, from 0, or a range of them, as in `"0:78"`. read_voltage: by which a current becomes a
    conductance.
    """

    at: str | int | list[str | int] | None = None
    values: float | list[float] | None = None
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    axes: tuple[Axis, ...] = ()
    where: dict[str, str | float | list[str | float]] = {}
    pick: dict[Axis, int | str] = {}
    read_voltage: Volt | None = None

    def __post_init__(self) -> None:
        if (self.at is None) == (self.values is None):
            raise ValueError("say either `at`, where it stands in the file, or `values`, the numbers themselves")
        if isinstance(self.at, list) and not self.axes:
            raise ValueError("`at` names several, so say `axes`: the first counts them")
        if not math.isfinite(self.offset):
            raise ValueError("offset must be a finite number")
        if len(set(self.axes)) < len(self.axes):
            raise ValueError("an axis stands in `axes` twice")
        if not self.scale or not math.isfinite(self.scale):
            raise ValueError("scale must be a finite number other than 0")
        for index in self.pick.values():
            if isinstance(index, str) and not _RANGE.fullmatch(index):
                raise ValueError(f"a range of `pick` is written START:STOP or START:STOP:STEP, not {index!r}")

    @property
    def is_scaled(self) -> bool:
        """Whether `scale` and `offset` make something else of the numbers than they are."""
        return (self.scale, self.offset) != (1.0, 0.0)


class Pulses(Place, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conductances after pulses; with amplitude and width, the pulses themselves are recorded as well."""

    amplitude: Volt | None = None
    width: Second | None = None
    gate: Volt | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.amplitude is None) != (self.width is None):
            raise ValueError("a pulse has an amplitude and a width: give both, or neither where they are not known")
        if self.amplitude is not None and not self.amplitude > 0:
            raise ValueError("amplitude must be above 0 V: its table, `set` or `reset`, tells which way a pulse goes")


class Cells(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cells: a flat `address`, or `row` and `col`. Where it is missing, they are numbered from 0.

    first: the address of the array's first cell.
    """

    address: Place | None = None
    row: Place | None = None
    col: Place | None = None
    first: int = 0

    def __post_init__(self) -> None:
        if (self.row is None) != (self.col is None) or (self.address is None) == (self.row is None):
            raise ValueError("say either `address`, or `row` and `col`")


class Array(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the array; without, nearly square and large enough for the largest address."""

    rows: int
    cols: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError("rows and cols must be at least 1")


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read the file.

    format: where the name's ending does not say it. group: the group of an HDF5 file that paths start from. delimiter,
    header (whether the first line has names), skip (lines before it), comment, decimal: of a table. table: of ArC TWO
    control's files.
    """

    format: Format | None = None
    group: str = ""
    delimiter: str | None = None
    header: bool = True
    skip: int = 0
    comment: str = "#"
    decimal: Literal[".", ","] = "."
    table: str = ""


class Mapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every mapping may say.

    chip: the serial number. technology: the kind of cell, as in `1T1R RRAM`. temperature: during the measurement.
    started: when it began; without, when the file was last changed.
    """

    measurement: str
    chip: str
    technology: str
    licence: str = ""
    source: str = ""
    note: str = ""
    operator: str = ""
    temperature: Kelvin | None = None
    started: dt.datetime | None = None
    file: File = File()
    array: Array | None = None
    cells: Cells | None = None

    def __post_init__(self) -> None:
        if not self.chip.strip() or not self.technology.strip():
            raise ValueError("`chip` and `technology` must not be empty")


class Retention(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conductance of cells at several times after they were programmed; the first time counts as programmed."""

    conductance: Place
    time: Place
    target: Place | None = None


class ReadNoise(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Repeated reads of the same cells, at a sample rate or at given times."""

    conductance: Place
    sample_rate: Place | None = None
    time: Place | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.sample_rate is None) == (self.time is None):
            raise ValueError("say either `sample_rate` or `time`")


class PulseResponse(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conductance after each pulse of trains of identical pulses. first_pulse: 1 where no read before a train is given.

    train, pulse: columns that number them, in a table of one reading a row.
    """

    set: Pulses | None = None
    reset: Pulses | None = None
    train: Place | None = None
    pulse: Place | None = None
    first_pulse: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.set is None and self.reset is None:
            raise ValueError("say `set` or `reset` or both: where the conductances after those pulses are")


class Iv(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Current (or conductance) of cells at several read voltages."""

    voltage: Place
    current: Place | None = None
    conductance: Place | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.current is None) == (self.conductance is None):
            raise ValueError("say either `current` or `conductance`")


class Forming(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How cells formed: under which gate voltage (NaN: not tried), at which voltage (NaN: did not form), from what
    conductance to what.
    """

    conductance: Place
    gate: Place
    forming_voltage: Place | None = None
    initial: Place | None = None


class Map(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conductance of every cell, once or several times over (axis `sample`)."""

    conductance: Place


class Endurance(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conductance in the low- and the high-resistance state, cycle after cycle."""

    lrs: Pulses
    hrs: Pulses
    cycle: Place | None = None


class Programming(Mapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How programming cells to targets ended. Success is said (1 or 0), or follows from the tolerance."""

    target: Place
    reached: Place
    pulses: Place
    initial: Place | None = None
    success: Place | None = None
    tolerance: Siemens | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.success is None) == (self.tolerance is None):
            raise ValueError("say either `success` or `tolerance`")


KINDS: dict[str, type[Mapping]] = {
    "retention": Retention,
    "read-noise": ReadNoise,
    "pulse-response": PulseResponse,
    "iv": Iv,
    "forming": Forming,
    "map": Map,
    "endurance": Endurance,
    "programming": Programming,
}
"""The mapping of each kind of measurement."""


def read_mapping(path: Path) -> Mapping:
    """The mapping in the file at `path`. Raises MappingError, with the path of what is wrong."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise MappingError(f"{path}: cannot be read as a mapping: {reason}") from None
    except tomllib.TOMLDecodeError as problem:
        raise MappingError(f"{path.name}: not TOML: {problem}") from None
    return mapping_from(tables, path.name)


def mapping_from(tables: dict[str, Any], name: str = "the mapping") -> Mapping:
    """The mapping that `tables` are, as read from TOML. Raises MappingError."""
    kind = tables.get("measurement")
    if kind not in KINDS:
        said = f"not {kind!r}" if "measurement" in tables else "and it is missing"
        raise MappingError(f"{name}: $.measurement: one of {', '.join(KINDS)}, {said}")
    return convert(tables, KINDS[kind], what=name, error=MappingError)


def format_of(mapping: Mapping, path: Path) -> Format:
    """How the file at `path` is read. Raises MappingError where neither mapping nor name says it."""
    found = mapping.file.format or _SUFFIXES.get(path.suffix.lower())
    if found is None:
        formats = ", ".join(get_args(Format))
        raise MappingError(f"{path.name}: $.file.format: the name does not say it; one of {formats}")
    return found
