"""Which simulated instruments a bench file holds, and their life: built when first opened, saved when closed.

Only the file's `[simulated.NAME]` tables count here: `simulator` names an entry point of the group
`labctl.simulators`, `resource_name` is where it answers, every other key is the simulator's own. An entry
point is a callable `build(options, site)` that gives an object with `wire`, what a server connects to, and
`close()`. `faults`, in any table, names a plan of what is to go wrong on its wire (`docs/faults.md`), relative to the
file's folder. What has no wire of its own, as a chip on a probe card, has no resource name and a `wire` of None; other
simulators find it by its name.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from pyvisa import rname

from ..faults import FaultPlan, FaultyWire, PlanError, read_plan
from ..faults.record import Record
from ..wire import Site, Wire

ENTRY_POINTS = "labctl.simulators"


class HostingError(ValueError):
    """A bench file's simulated instruments cannot be had; the text names the file and the path in it."""


class SimulatedInstrument(Protocol):
    """What a simulator builds: an instrument, and whatever has to be saved when it is switched off."""

    @property
    def wire(self) -> Wire | None: ...

    def close(self) -> None: ...


class Simulator(Protocol):
    """What an entry point names."""

    def __call__(self, options: dict[str, Any], site: Site) -> SimulatedInstrument: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One `[simulated.NAME]` table; the resource name in canonical form, empty where it has none.

    faults: the file of a plan, empty where none.
    """

    name: str
    simulator: str
    resource_name: str
    options: Mapping[str, Any]
    faults: str = ""


class SimulatedBench:
    """The instruments of one bench file, powered on one by one as they are asked for, and off all at once."""

    def __init__(self, source: str, folder: Path, entries: Mapping[str, Entry], faults: Path | None = None) -> None:
        """source: the file's name as errors should say it. faults: a plan for all its wires, instead of the file's."""
        self.entries = entries
        self.source = source
        self._folder = folder
        self._lock = threading.RLock()  # building one may need another
        self._built: dict[str, SimulatedInstrument] = {}
        self._faults = faults
        self._plans: dict[Path, tuple[FaultPlan, Record]] = {}
        self._faulty: dict[str, FaultyWire] = {}
        self._building: list[str] = []
        self._by_resource = {entry.resource_name.casefold(): entry for entry in entries.values() if entry.resource_name}

    def find(self, resource_name: str) -> Entry | None:
        """The instrument that answers at `resource_name`, in any of its spellings."""
        return self._by_resource.get(canonical(resource_name).casefold())

    @property
    def wired(self) -> list[Entry]:
        """The instruments one can talk to, in the file's order."""
        return [entry for entry in self.entries.values() if entry.resource_name]

    def wire(self, entry: Entry) -> Wire:
        """What to connect to, of an entry with a resource name. Raises HostingError as `simulated` does."""
        with self._lock:
            simulated = self.simulated(entry)
            if entry.name not in self._faulty and (self._faults or entry.faults):
                self._faulty[entry.name] = self._made_faulty(entry, simulated)
            wire = self._faulty.get(entry.name, simulated.wire)
        assert wire is not None  # `_build` has seen to that
        return wire

    def simulated(self, entry: Entry) -> SimulatedInstrument:
        """Built the first time. Raises HostingError where its simulator is missing or refuses its options."""
        with self._lock:
            if entry.name not in self._built:
                self._built[entry.name] = self._build(entry)
            return self._built[entry.name]

    def hang_up(self) -> None:
        """Whoever waits for something late, or for good, waits no longer: before servers are closed."""
        for wire in self._faulty.values():
            wire.close()

    def close(self) -> None:
        """Switch off what was built, each even if another one fails to. May be called twice."""
        with self._lock, ExitStack() as closing:
            self.hang_up()
            self._faulty = {}
            for simulated in self._built.values():  # the last built, which may need the others, is closed first
                closing.callback(simulated.close)
            self._built = {}

    def _build(self, entry: Entry) -> SimulatedInstrument:
        where = f"{self.source}: $.simulated.{entry.name}"
        if entry.name in self._building:
            raise HostingError(f"{where}: needs itself, by way of {' and '.join(self._building)}")
        build = _load_simulator(entry.simulator, f"{where}.simulator")
        self._building.append(entry.name)
        try:
            with _naming(where):
                simulated = build(dict(entry.options), Site(self._folder, self._named))
        finally:
            self._building.pop()
        if (simulated.wire is None) != (not entry.resource_name):
            simulated.close()
            needed = "has nothing to talk to: leave it out" if entry.resource_name else "missing"
            raise HostingError(f"{where}.resource_name: {needed}")
        return simulated

    def _made_faulty(self, entry: Entry, simulated: SimulatedInstrument) -> FaultyWire:
        """Its wire, with the faults of its plan. Instruments with the same plan share it, and one record."""
        path = self._faults or self._folder / entry.faults
        try:
            if path not in self._plans:
                sharing = [each.name for each in self.wired if self._faults or each.faults == entry.faults]
                plan = read_plan(path, sharing)
                self._plans[path] = plan, Record(plan.log)
            return FaultyWire(simulated, self._plans[path][0], entry.name, self._plans[path][1])
        except PlanError as problem:
            named_by = "" if self._faults else f"{self.source}: $.simulated.{entry.name}.faults: "
            raise HostingError(f"{named_by}{problem}") from None

    def _named(self, name: str) -> SimulatedInstrument:
        """Another one of this bench file. Raises ValueError where there is none of that name."""
        if name not in self.entries:
            raise ValueError(f"there is no [simulated.{name}]; there are: {', '.join(self.entries)}")
        return self.simulated(self.entries[name])


def load(path: Path | None, faults: Path | None = None) -> SimulatedBench:
    """The simulated instruments of the bench file at `path`; None is the one that comes with the package.

    faults: the file of a plan for all of them, which counts instead of those that the bench file names.

    Relative paths start from the file's folder, or from the working directory for the package's own. Raises
    HostingError where the file is missing or malformed; nothing is built yet.
    """
    if path is None:
        source = "embedded.toml"
        text = (importlib.resources.files("labctl.data") / source).read_text("utf-8")
        folder = Path.cwd()
    else:
        source = str(path)
        folder = path.resolve().parent
        try:
            text = path.read_text("utf-8")
        except OSError as problem:
            raise HostingError(f"{source}: {problem.strerror or problem}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise HostingError(f"{source}: {problem}") from None
    return SimulatedBench(source, folder, _entries(source, document), faults)


def canonical(resource_name: str) -> str:
    """`resource_name` with everything that may be left out. Raises HostingError where it is none."""
    try:
        return rname.to_canonical_name(resource_name)
    except rname.InvalidResourceName:
        raise HostingError(f"{resource_name!r} is not a VISA resource name") from None


def _entries(source: str, document: Mapping[str, Any]) -> dict[str, Entry]:
    tables = document.get("simulated", {})
    if not isinstance(tables, dict):
        raise HostingError(f"{source}: $.simulated: expected tables, as in [simulated.board]")
    entries: dict[str, Entry] = {}
    owners: dict[str, str] = {}
    for name, table in tables.items():
        entry = _entry(f"{source}: $.simulated.{name}", name, table)
        owner = owners.setdefault(entry.resource_name.casefold(), name) if entry.resource_name else name
        if owner != name:
            raise HostingError(
                f"{source}: $.simulated.{name}.resource_name: {entry.resource_name} is already {owner}'s"
            )
        entries[name] = entry
    return entries


def _entry(where: str, name: str, table: Any) -> Entry:
    if not isinstance(table, dict):
        raise HostingError(f"{where}: expected a table")
    options = dict(table)
    for key in ("simulator", "resource_name", "faults"):
        if not isinstance(options.get(key, None if key == "simulator" else ""), str):
            raise HostingError(f"{where}.{key}: expected text")
    simulator = options.pop("simulator")
    try:
        resource_name = canonical(options.pop("resource_name")) if "resource_name" in options else ""
    except HostingError as problem:
        raise HostingError(f"{where}.resource_name: {problem}") from None
    return Entry(name, simulator, resource_name, options, options.pop("faults", ""))


def _load_simulator(name: str, where: str) -> Simulator:
    found = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise HostingError(f"{where}: no simulator called {name!r}; there are: {there}")
    try:
        build: Simulator = found[name].load()
    except (ImportError, AttributeError) as problem:
        raise HostingError(f"{where}: the simulator {name!r} cannot be loaded: {problem}") from problem
    return build


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say `where` in front of what a simulator finds wrong with its options or files."""
    try:
        yield
    except HostingError:
        raise  # another one's, which says where it was
    except msgspec.ValidationError as problem:
        text, _, path = str(problem).partition(" - at `$")
        raise HostingError(f"{where}{path.rstrip('`')}: {text[0].lower()}{text[1:]}") from problem
    except (ValueError, OSError) as problem:
        raise HostingError(f"{where}: {problem}") from problem
