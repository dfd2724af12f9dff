"""The bench file: TOML, typed, every error naming the path and what would be right.

Precedence is option, environment, bench file, default; `origins` says which one each value has.
"""

from __future__ import annotations

import importlib.resources
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from labctl.array import Nominal, PulseLimits
from labctl.auxiliary import is_auxiliary
from labctl.bench import replays
from labctl.errors import BenchError, UsageError
from labctl.links.replay import LIBRARY as REPLAY
from labctl.links.replay import ReplaySpec
from labctl.links.resources import canonical_resource_name
from labctl.links.serial_ports import canonical_port
from labctl.plugins import load_plugin
from labctl.units import Second, Volt, VoltSecond, convert

ENVIRONMENT = {"LABCTL_OPERATOR": "operator", "LABCTL_RUNS": "runs"}
"""Environment variable -> the key of the bench file it overrides. `LABCTL_BENCH` names the file itself."""

EMBEDDED = {
    "rram": "embedded.toml",
    "pcm": "embedded_pcm.toml",
    "racetrack": "embedded_racetrack.toml",
    "racetrack-ideal": "embedded_racetrack_ideal.toml",
}
"""Name -> file of the benches that ship with labctl, by the cells of their chips; the first where none is named."""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What pulses may at most be. `max_pulses` and `max_dose` (V s) count per cell and connection.

    The read voltages are for reads at a voltage of the protocol's choice.
    """

    max_form_voltage: Volt | None = None
    max_set_voltage: Volt | None = None
    max_reset_voltage: Volt | None = None
    max_gate_voltage: Volt | None = None
    min_width: Second | None = None
    max_width: Second | None = None
    max_pulses: int | None = None
    max_dose: VoltSecond | None = None
    min_read_voltage: Volt | None = None
    max_read_voltage: Volt | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value:g}")
        if self.min_width is not None and self.max_width is not None and self.min_width > self.max_width:
            raise ValueError(f"min_width of {self.min_width:g} s is above max_width of {self.max_width:g} s")
        low, high = self.min_read_voltage, self.max_read_voltage
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_read_voltage of {low:g} V is above max_read_voltage of {high:g} V")

    def as_limits(self) -> PulseLimits:
        return PulseLimits(**{name: getattr(self, name) for name in self.__struct_fields__})


class WearSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a cell lives: pulses and dose (V s) over all its recorded runs. Nothing is refused for it: a run that
    may take cells beyond the share `warn_at` begins with a warning.
    """

    max_pulses: int | None = None
    max_dose: VoltSecond | None = None
    warn_at: float = 0.8

    def __post_init__(self) -> None:
        for name, value in (("max_pulses", self.max_pulses), ("max_dose", self.max_dose)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value:g}")
        if not 0 < self.warn_at <= 1:
            raise ValueError(f"warn_at must be more than 0 and at most 1, not {self.warn_at:g}")


class ArraySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An array: which instrument it hangs on, and what this bench and these cells stand.

    auxiliaries: instruments whose readings every run of the array records; None: all of the bench that are such.
    auxiliary_interval: s between their readings, at least.
    """

    instrument: str
    limits: LimitSettings = LimitSettings()
    cell_limits: LimitSettings = LimitSettings()
    wear: WearSettings = WearSettings()
    auxiliaries: list[str] | None = None
    auxiliary_interval: Second = Second(10.0)

    def __post_init__(self) -> None:
        if not self.auxiliary_interval >= 0:
            raise ValueError(f"auxiliary_interval must be 0 s or more, not {self.auxiliary_interval:g}")


class InstrumentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every instrument has in its table; a driver's own settings extend it, or one of those below."""

    driver: str

    @property
    def address(self) -> str:
        """Where the instrument is, as a person would say it, in one spelling. Empty: nowhere of its own.

        Raises ValueError with one sentence where there can be no such address.
        """
        return ""

    @property
    def lease(self) -> str:
        """What one process at a time may hold. Empty: nothing."""
        return self.address

    @property
    def is_in_process(self) -> bool:
        """Whether the instrument is simulated inside this very process, or replayed."""
        return False

    def located(self, bench: Path) -> Self:
        """The same settings in the bench file at `bench`, from which their relative paths and names start."""
        del bench
        return self


class WiredSettings(InstrumentSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every instrument at the end of a wire has in its table.

    resource_name: as VISA writes it. timeout: s that one exchange may take. wire_log: file of every message.
    """

    resource_name: str
    timeout: Second = Second(5.0)
    wire_log: str | None = None

    library_key: ClassVar[str]
    """Which of the settings says who carries the messages. `@labctl` there: this bench file's simulated instruments;
    `LOG@replay`: what a wire log has recorded."""

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout must be more than 0 s, not {self.timeout:g}")
        if self.is_replayed:
            ReplaySpec.parse(self.library)

    @property
    def library(self) -> str:
        return str(getattr(self, self.library_key))

    @property
    def address(self) -> str:
        return canonical_resource_name(self.resource_name)

    @property
    def lease(self) -> str:
        """The address, of a serial port the one that all its names stand for.

        For an in-process instrument it is this process's and its bench file's own.
        """
        address = canonical_port(self.address) if self.address.upper().startswith("ASRL") else self.address
        return f"{address} of {self.library} in process {os.getpid()}" if self.is_in_process else address

    @property
    def is_in_process(self) -> bool:
        return self.library.endswith(("@labctl", REPLAY))

    @property
    def is_replayed(self) -> bool:
        """Whether a recording answers in its place."""
        return self.library.endswith(REPLAY)

    def located(self, bench: Path) -> Self:
        changed: dict[str, str] = {}
        if self.library == "@labctl":
            changed[self.library_key] = f"{bench}@labctl"
        if self.is_replayed:
            spec = ReplaySpec.parse(self.library)
            changed[self.library_key] = str(replace(spec, log=bench.parent / spec.log))
        if self.wire_log is not None:
            changed["wire_log"] = str(bench.parent / self.wire_log)
        return msgspec.structs.replace(self, **changed)

    def replayed(self, spec: ReplaySpec) -> Self:
        """The same settings with a recording in place of the instrument; it is not recorded once more."""
        return msgspec.structs.replace(self, **{self.library_key: str(spec), "wire_log": None})


class VisaSettings(WiredSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every instrument on VISA has in its table.

    visa_library: PyVISA's specification; `@labctl` stands for the simulated instruments of this bench file.
    """

    visa_library: str = ""

    library_key = "visa_library"


class SerialSettings(WiredSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every instrument on a serial port of its own has in its table.

    resource_name: `ASRL/dev/ttyUSB0::INSTR`, `ASRL3::INSTR`, `ASRLsocket://127.0.0.1:5000::INSTR`. serial_library:
    empty for pyserial's ports; `@labctl` for the simulated instruments of this bench file.
    """

    baud_rate: int = 115_200
    serial_library: str = ""

    library_key = "serial_library"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.baud_rate > 0:
            raise ValueError(f"baud_rate must be more than 0, not {self.baud_rate}")


class CompositeSettings(InstrumentSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an instrument made of other instruments of the bench has in its table.

    `part_keys` are those of its settings that name one: `NAME`, or `NAME.CHANNEL` for a channel of it. Such a driver is
    built as `driver(settings, parts)`, with a mapping from key to the part's live driver (or what that driver's
    `channel(CHANNEL)` gives); an optional part that is not named is not in it.
    """

    part_keys: ClassVar[tuple[str, ...]] = ()
    shared_keys: ClassVar[tuple[str, ...]] = ()
    """Those of them whose part may be another's as well, because it is only asked."""
    is_of_arrays: ClassVar[bool] = False
    """Whether every part is an array with a chip of its own; the driver's `nominal` is then given theirs as well."""

    @property
    def parts(self) -> dict[str, str]:
        """Key to `NAME` or `NAME.CHANNEL`, of those that are named."""
        named = {key: getattr(self, key) for key in self.part_keys}
        return {key: name for key, name in named.items() if name is not None}

    @property
    def shared_parts(self) -> list[str]:
        """The instruments among the parts that are only asked."""
        return [part.partition(".")[0] for key, part in self.parts.items() if key in self.shared_keys]


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. `simulated` is for the simulators, who check it themselves."""

    name: str = ""
    operator: str = ""
    runs: str = "runs"
    safe_state_order: list[str] | None = None
    safe_state_timeout: Second = Second(2.0)
    instruments: dict[str, dict[str, Any]]
    arrays: dict[str, ArraySettings]
    simulated: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        if not self.safe_state_timeout > 0:
            raise ValueError(f"safe_state_timeout must be more than 0 s, not {self.safe_state_timeout:g}")


class BenchFile:
    """A bench file read, checked and resolved; no instrument has been touched.

    path: where it stands. settings: BenchSettings. instruments: name -> the driver's typed settings.
    drivers: name -> the driver's class.
    """

    def __init__(self, path: Path, raw: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.path = path
        self._raw = raw
        self._overrides = {key: name for name, key in ENVIRONMENT.items() if environment.get(name)}
        merged = {**raw, **{key: environment[name] for key, name in self._overrides.items()}}
        self._check_tables()
        self.settings = convert(merged, BenchSettings, what=path.name, error=BenchError)
        self.drivers: dict[str, Any] = {}
        self.instruments: dict[str, InstrumentSettings] = {}
        for name, table in self.settings.instruments.items():
            self._resolve_instrument(name, table)
        self._replay(environment.get(replays.VARIABLE, ""))
        self._check_references()

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def runs_folder(self) -> Path:
        """Where run files go: beside the bench file, or under the working directory for the embedded one."""
        base = Path.cwd() if self.is_embedded or "runs" in self._overrides else self.folder
        return base / self.settings.runs

    @property
    def is_embedded(self) -> bool:
        return self.path in map(embedded_path, EMBEDDED)

    def array_settings(self, name: str | None) -> tuple[str, ArraySettings]:
        """The array called `name`; the only one where None."""
        known = ", ".join(self.settings.arrays) or "none"
        if name is None:
            if len(self.settings.arrays) != 1:
                raise BenchError(f"{self.path.name}: $.arrays: say which array: {known}")
            name = next(iter(self.settings.arrays))
        if name not in self.settings.arrays:
            raise BenchError(f"{self.path.name}: $.arrays: no array called {name!r}; there are: {known}")
        return name, self.settings.arrays[name]

    @property
    def wired(self) -> dict[str, WiredSettings]:
        """Name to settings of the instruments that have a wire."""
        return {name: each for name, each in self.instruments.items() if isinstance(each, WiredSettings)}

    @property
    def made_of(self) -> dict[str, list[str]]:
        """Name to parts of the instruments that have no wire of their own, one of them again for each channel of it."""
        wireless = {name: each for name, each in self.instruments.items() if not isinstance(each, WiredSettings)}
        parts = {name: each.parts if isinstance(each, CompositeSettings) else {} for name, each in wireless.items()}
        return {name: [part.partition(".")[0] for part in each.values()] for name, each in parts.items()}

    def is_volatile(self, array: ArraySettings) -> bool:
        """Whether the chip of `array` is simulated inside this very process and forgets everything when that ends: no
        table that may hold the chip has a `state`. Of several chips, whether one of them does."""
        names = self.made_of.get(array.instrument) or [array.instrument]
        wired = [self.instruments[name] for name in names]
        if not all(each.is_in_process for each in wired) or not self.recordings.keys().isdisjoint(names):
            return False
        addresses = {each.address for each in wired}
        own = self.instruments[array.instrument]
        of_a_chip = [{each} for each in addresses] if _is_of_arrays(own) else [addresses]
        return any(not any("state" in table for table in self._tables_at(each)) for each in of_a_chip)

    def nominal(self, name: str) -> Nominal:
        """What the driver of instrument `name` expects its array to be. Raises BenchError where it is none."""
        driver, settings = self.drivers[name], self.instruments[name]
        if not hasattr(driver, "nominal"):
            raise BenchError(f"{self.path.name}: $.instruments.{name}.driver: {settings.driver!r} is no array")
        if isinstance(settings, CompositeSettings) and settings.is_of_arrays:
            found: Nominal = driver.nominal(settings, {key: self.nominal(each) for key, each in settings.parts.items()})
        else:
            found = driver.nominal(settings)
        return found

    def _tables_at(self, addresses: Collection[str]) -> Iterator[Mapping[str, Any]]:
        """The simulated instruments at these addresses, and those at none, which others are wired to."""
        for table in self.settings.simulated.values():
            name = table.get("resource_name")
            if not isinstance(name, str) or _is_one_of(name, addresses):
                yield table

    @property
    def recordings(self) -> dict[str, ReplaySpec]:
        """Name to what answers in its place, of the instruments that are replayed."""
        return {name: ReplaySpec.parse(each.library) for name, each in self.wired.items() if each.is_replayed}

    def auxiliaries(self, array: ArraySettings) -> list[str]:
        """The instruments that are read along with the runs of `array`."""
        if array.auxiliaries is not None:
            return array.auxiliaries
        return [name for name, driver in self.drivers.items() if is_auxiliary(driver)]

    def resolved(self) -> dict[str, Any]:
        """Every value in force, as plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self.settings, enc_hook=float)
        plain["instruments"] = {
            name: msgspec.to_builtins(table, enc_hook=float) for name, table in self.instruments.items()
        }
        return plain

    def origins(self) -> Iterator[tuple[str, Any, str]]:
        """(path, value, origin) of every value in force; origin is the file, an environment variable or `default`."""
        for path, value in _leaves(self.resolved()):
            if path[0] in self._overrides:
                origin = self._overrides[path[0]]
            elif path[0] == "instruments" and path[1] in self._replayed and path[2] in self._replayed[path[1]]:
                origin = replays.VARIABLE
            else:
                origin = self.path.name if _holds(self._raw, path) else "default"
            yield ".".join(path), value, origin

    def _check_tables(self) -> None:
        """What is wrong inside a named table is better told with its name than as one of `$.arrays[...]`."""
        for key in ("instruments", "arrays", "simulated"):
            tables = self._raw.get(key)
            for name, table in tables.items() if isinstance(tables, dict) else ():
                if not isinstance(table, dict):
                    raise BenchError(f"{self.path.name}: $.{key}.{name}: expected a table, as in [{key}.{name}]")
                if key == "arrays":
                    convert(table, ArraySettings, what=self.path.name, at=f"$.arrays.{name}", error=BenchError)

    def _resolve_instrument(self, name: str, table: dict[str, Any]) -> None:
        at = f"$.instruments.{name}"
        if not isinstance(table.get("driver"), str):
            raise BenchError(f"{self.path.name}: {at}.driver: missing; name a driver, like 'test_board'")
        try:
            driver = load_plugin("labctl.drivers", table["driver"])
        except UsageError as problem:
            raise BenchError(f"{self.path.name}: {at}.driver: {problem}") from None
        kind = getattr(driver, "Settings", None)
        if not (isinstance(kind, type) and issubclass(kind, InstrumentSettings)):
            raise BenchError(
                f"{self.path.name}: {at}.driver: {table['driver']!r} has no Settings that extend InstrumentSettings"
            )
        settings = convert(table, kind, what=self.path.name, at=at, error=BenchError)
        try:
            settings.address  # noqa: B018 -- read to see whether there can be one
        except ValueError as problem:
            raise BenchError(f"{self.path.name}: {at}.resource_name: {problem}") from None
        self.drivers[name], self.instruments[name] = driver, settings.located(self.path)

    def _replay(self, logs: str) -> None:
        """Put recordings in the place of instruments."""
        wired = self.wired
        self._replayed: dict[str, tuple[str, ...]] = {}
        for name, spec in replays.assigned(logs, wired, self.made_of).items():
            self.instruments[name] = wired[name].replayed(spec)
            self._replayed[name] = (wired[name].library_key, "wire_log")

    def _check_references(self) -> None:
        owners: dict[str, str] = {}
        taken: dict[str, tuple[str, str]] = {}
        logs: dict[str, str] = {}
        known = ", ".join(self.instruments) or "none"
        for name, instrument in self.instruments.items():
            owner = owners.setdefault(instrument.lease, name) if instrument.lease else name
            if owner != name:
                raise BenchError(
                    f"{self.path.name}: $.instruments.{name}.resource_name: {instrument.address} is already {owner}'s"
                )
            if isinstance(instrument, CompositeSettings):
                self._check_parts(name, instrument, known, taken)
            if isinstance(instrument, WiredSettings) and instrument.wire_log:
                self._check_log(name, instrument.wire_log, logs.setdefault(instrument.wire_log, name))
        for name, array in self.settings.arrays.items():
            if array.instrument not in self.instruments:
                raise BenchError(
                    f"{self.path.name}: $.arrays.{name}.instrument: no instrument called {array.instrument!r}; "
                    f"there are: {known}"
                )
            for auxiliary in array.auxiliaries or ():
                at = f"{self.path.name}: $.arrays.{name}.auxiliaries"
                if auxiliary not in self.instruments:
                    raise BenchError(f"{at}: no instrument called {auxiliary!r}; there are: {known}")
                if not is_auxiliary(self.drivers[auxiliary]):
                    raise BenchError(f"{at}: {auxiliary!r} is not an instrument that is read along with a run")
        for name in self.settings.safe_state_order or ():
            if name not in self.instruments:
                raise BenchError(
                    f"{self.path.name}: $.safe_state_order: no instrument called {name!r}; there are: {known}"
                )

    def _check_log(self, name: str, log: str, owner: str) -> None:
        """A log tells one instrument's story, and not while that story is replayed from it."""
        at = f"{self.path.name}: $.instruments.{name}.wire_log"
        if owner != name:
            raise BenchError(f"{at}: {log} is already {owner}'s: give each instrument a log of its own")
        for other, spec in self.recordings.items():
            if spec.log.resolve() == Path(log).resolve():
                raise BenchError(f"{at}: {log} is being replayed for {other}: name another file")

    def _check_parts(
        self, name: str, composite: CompositeSettings, known: str, taken: dict[str, tuple[str, str]]
    ) -> None:
        """taken: part -> whose and which it is already, which grows."""
        for key, part in composite.parts.items():
            at = f"{self.path.name}: $.instruments.{name}.{key}"
            instrument = self.instruments.get(part.partition(".")[0])
            if instrument is None:
                raise BenchError(f"{at}: no instrument called {part.partition('.')[0]!r}; there are: {known}")
            if isinstance(instrument, CompositeSettings):
                raise BenchError(f"{at}: {part!r} is itself made of others: name one that has a wire")
            if key in composite.shared_keys:
                continue
            for other, (owner, role) in taken.items():
                if part == other or (owner != name and _overlap(part, other)):
                    raise BenchError(f"{at}: {part!r} cannot be it: {other!r} is already the {role} of {owner!r}")
            taken[part] = name, key


def _is_of_arrays(settings: InstrumentSettings) -> bool:
    return isinstance(settings, CompositeSettings) and settings.is_of_arrays


def _overlap(part: str, other: str) -> bool:
    """Whether one of the two is the whole instrument that the other is a channel of."""
    return part.partition(".")[0] == other or other.partition(".")[0] == part


def _is_one_of(resource_name: str, addresses: Collection[str]) -> bool:
    """Whether a simulated instrument's name, which nobody has checked yet, means one of `addresses`."""
    try:
        return canonical_resource_name(resource_name) in addresses
    except ValueError:
        return False


def embedded_path(name: str = "rram") -> Path:
    """The bench file that ships with labctl under that `name`: a simulated board with a chip fresh from the shop."""
    return Path(str(importlib.resources.files("labctl.data") / EMBEDDED[name]))


def bench_path(path: str | Path) -> Path:
    """`path`, or that of the embedded bench of this name, where there is no such file."""
    return embedded_path(str(path)) if str(path) in EMBEDDED and not Path(path).is_file() else Path(path)


def read_bench(path: str | Path | None = None) -> BenchFile:
    """Read the bench file at `path`, else at $LABCTL_BENCH, else the embedded one; see `bench_path`.

    Raises BenchError.
    """
    chosen = bench_path(path or os.environ.get("LABCTL_BENCH") or embedded_path())
    try:
        text = chosen.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise BenchError(f"{chosen}: cannot be read as a bench file: {reason}") from None
    return check_text(text, chosen)


def check_text(text: str, path: Path) -> BenchFile:
    """The bench file with this `text` at `path`, whether it stands there yet or not. Raises BenchError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BenchError(f"{path.name}: not TOML: {problem}") from None
    return BenchFile(path.resolve(), raw, os.environ)


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, tree


def _holds(raw: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(raw, Mapping) or key not in raw:
            return False
        raw = raw[key]
    return True
