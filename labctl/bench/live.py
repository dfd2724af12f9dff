"""A bench with its instruments and arrays: built without touching hardware, connected, left in safe state.

    with load_bench("bench.toml") as bench, bench.array("main") as array:
        array.read()

Leaving an array lets go of its instrument, leaving the bench of all of them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    BitProducts,
    Capability,
    Cells,
    Clock,
    Geometry,
    LineCurrents,
    LineProduct,
    MemoryArray,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
    Window,
)
from labctl.associative import Action, AssociativeArray, AssociativeGeometry, Counters
from labctl.auxiliary import Auxiliary, is_auxiliary
from labctl.bench.leases import Lease
from labctl.bench.limits import CellCounts, LimitGuard
from labctl.bench.reservations import Reservation, Reservations
from labctl.bench.settings import (
    ArraySettings,
    BenchFile,
    CompositeSettings,
    InstrumentSettings,
    WearSettings,
    read_bench,
)
from labctl.errors import BenchError, LabctlError, LinkClosedError, ReplayError, SafeStateError
from labctl.links.resources import ResourceManagers


@dataclass(frozen=True, slots=True)
class SafeStateReport:
    """Whether one instrument reached safe state; `problem` is empty when it did.

    has_parted: what was sent was not what a recording in its place had, of which there are no outputs to be on.
    """

    instrument: str
    problem: str
    seconds: float
    has_parted: bool = False


class Bench:
    """Live instruments and arrays of one bench file. Closing leaves every connected instrument in safe state."""

    def __init__(self, file: BenchFile) -> None:
        self.file = file
        self._managers = ResourceManagers()
        self._connected: dict[str, tuple[Any, Lease | None]] = {}
        self._made_of: dict[str, list[str]] = {}
        self._users: Counter[str] = Counter()
        self._counts: dict[str, CellCounts] = {}
        self._reservations = Reservations()
        self._noting = threading.Lock()

    @property
    def name(self) -> str:
        return self.file.settings.name or self.file.path.stem

    @property
    def operator(self) -> str:
        return self.file.settings.operator

    @property
    def runs_folder(self) -> Path:
        return self.file.runs_folder

    def array(self, name: str | None = None) -> BenchArray:
        """The array called `name` (the only one where None), not yet connected. Raises BenchError."""
        name, settings = self.file.array_settings(name)
        able = getattr(self.file.drivers[settings.instrument], "capabilities", None)
        known = able if isinstance(able, Capability) else Capability(0)  # a memory array's may be known once connected
        return (AssociativeBenchArray if Capability.ASSOCIATE in known else BenchArray)(self, name, settings)

    def connect(self, name: str) -> Any:
        """The driver of instrument `name`, leased and connected until as many calls of `disconnect`, or `close`.

        Raises BenchError, LeaseError, LinkError, InstrumentError.
        """
        if name not in self._connected:
            if name not in self.file.instruments:
                known = ", ".join(self.file.instruments) or "none"
                raise BenchError(
                    f"{self.file.path.name}: $.instruments: no instrument called {name!r}; there are: {known}"
                )
            self.check_replay(name)
            self._connected[name] = self._open(name)
        self._users[name] += 1
        return self._connected[name][0]

    def disconnect(self, *names: str) -> None:
        """One user less for each of `names`; after the last, safe state and let go. What is not connected stays so.

        Raises SafeStateError, with the instruments let go of, where safe state was not reached.
        """
        connected = [name for name in names if name in self._connected]
        self._users.subtract(connected)
        self._put_down([name for name in connected if self._users[name] <= 0])

    def check_replay(self, *names: str) -> None:
        """Where one instrument of the bench is replayed, no other is opened. Raises BenchError, with nothing opened."""
        recordings = self.file.recordings
        needed = dict.fromkeys(each for name in names for each in (name, *self.parts(name)))
        missing = [each for each in needed if each not in recordings and not self.parts(each)]
        if recordings and missing:
            them = "theirs" if len(missing) > 1 else "its log"
            raise BenchError(f"{self.file.path.name}: instruments without a log: {', '.join(missing)}; name {them} too")

    def recorded_time(self, name: str) -> float | None:
        """s since 1970 when what a log has answered last for instrument `name` was recorded; None: no log answers."""
        settings = self.file.recordings.get(name) and self.file.wired[name]
        recording = self._managers.recording(settings.library) if settings else None
        return None if recording is None else recording.time

    def cell_counts(self, name: str, cells: int) -> CellCounts:
        """What the cells on instrument `name` have had since it was connected, through whichever array."""
        if name not in self._counts:
            arrays = [each for each in self.file.settings.arrays.values() if each.instrument == name]
            limits = [limit for each in arrays for limit in (each.limits, each.cell_limits)]
            self._counts[name] = CellCounts()
            self._counts[name].begin(
                cells,
                pulses=any(each.max_pulses is not None for each in limits),
                dose=any(each.max_dose is not None for each in limits),
            )
        return self._counts[name]

    def reserved(self, name: str, auxiliaries: Collection[str] = ()) -> contextlib.AbstractContextManager[Reservation]:
        """Instrument `name` and what it is made of for one run, which also reads `auxiliaries`, as others may.

        So may others its parts that are only asked. Raises RunError while another run has one that not both only read.
        """
        settings = self.file.instruments[name]
        asked = settings.shared_parts if isinstance(settings, CompositeSettings) else []
        own = [name, *(part for part in self.parts(name) if part not in asked)]
        return self._reservations.reserve(own, [*auxiliaries, *asked])

    def _open(self, name: str) -> tuple[Any, Lease | None]:
        settings = self.file.instruments[name]
        with ExitStack() as undoing:
            lease = self._lease(settings) if settings.lease else None
            if lease is not None:
                lease.acquire()
                undoing.callback(lease.release)
            if isinstance(settings, CompositeSettings):
                parts = self._connect_parts(settings, undoing)
                driver = self.file.drivers[name](settings, parts)
                self._made_of[name] = self.parts(name)
            else:
                driver = self.file.drivers[name](settings, self._managers)
            with _named(name) if is_auxiliary(self.file.drivers[name]) else contextlib.nullcontext():
                driver.connect()
            undoing.pop_all()
        return driver, lease

    def _lease(self, settings: InstrumentSettings) -> Lease:
        return Lease(settings.lease, bench=str(self.file.path), is_private=settings.is_in_process)

    def _connect_parts(self, composite: CompositeSettings, undoing: ExitStack) -> dict[str, Any]:
        """Key to live part; each is used once more until the composite is let go of."""
        parts = {}
        for key, part in composite.parts.items():
            name, _, channel = part.partition(".")
            driver = self.connect(name)
            undoing.push(_undoing(self.disconnect, name))
            parts[key] = driver.channel(channel) if channel else driver
        return parts

    def _release(self, name: str) -> None:
        """One user less of what has been made safe already; after the last, let go of it."""
        if name in self._connected:
            self._users[name] -= 1
            if self._users[name] <= 0:
                self._let_go(name)

    def _let_go(self, name: str) -> None:
        """Close, and one user less of what it was made of. What is not connected stays so."""
        if name not in self._connected:
            return
        driver, lease = self._connected.pop(name)
        del self._users[name]
        self._counts.pop(name, None)
        with ExitStack() as closing:
            if lease is not None:
                closing.callback(lease.release)
            for part in self._made_of.pop(name, ()):
                closing.callback(self._release, part)
            closing.callback(driver.close)

    def parts(self, name: str) -> list[str]:
        """The instruments that `name` is made of, one of them again for each channel of it."""
        return self.file.made_of.get(name, [])

    def note_run(self, reservation: Reservation, path: Path | None) -> None:
        """Tell whoever else wants one of its instruments which run has them; None: none any more.

        An auxiliary that other runs read too is theirs then.
        """
        with self._noting:
            reservation.path = path
            others = {name: each.path for each in self._reservations.others(reservation) for name in each.shared}
            for name in reservation.own | reservation.shared:
                _, lease = self._connected.get(name, (None, None))
                if lease is not None:
                    lease.note_run(path or others.get(name))

    def safe_state(self, *, after: Reservation | None = None) -> list[SafeStateReport]:
        """Every connected instrument to safe state, in the bench's order, each with its own deadline.

        after: of the run that has ended; what other runs still have is left as it is. Raises KeyboardInterrupt, where
        there was one, after all have had their turn.
        """
        busy = self._reservations.end(after) if after is not None else ()
        return self._make_safe([name for name in self._connected if name not in busy])

    def snapshot(self, *, for_run: Reservation | None = None) -> dict[str, Any]:
        """Identity and settings of every connected instrument; `for_run`, not of those that other runs have."""
        running = self._reservations.others(for_run) if for_run is not None else ()
        busy = {name for each in running for name in each.own}
        return {name: dict(driver.snapshot()) for name, (driver, _) in self._connected.items() if name not in busy}

    def close(self) -> None:
        """Safe state, then let go of everything, each whatever became of the others. May be called twice.

        Raises SafeStateError, with everything let go of, where safe state was not reached.
        """
        self._put_down(list(self._connected))

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_after(error, self.close)

    def _put_down(self, names: list[str]) -> None:
        """Safe state for `names` and for what goes with them, then let go of them, then say what was not reached."""
        reports: list[SafeStateReport] = []
        with ExitStack() as closing:
            closing.callback(_tell, reports)
            closing.callback(self._leave_recordings, list(self._connected))
            for name in names:
                closing.callback(self._let_go, name)
            parts = Counter(part for name in names for part in self._made_of.get(name, ()))
            reports += self._make_safe([*names, *(part for part, uses in parts.items() if self._users[part] <= uses)])

    def _leave_recordings(self, before: Collection[str]) -> None:
        """Of those that were connected and are no more. Raises ReplayError where one was parted from."""
        for name, settings in self.file.wired.items():
            if name in before and name not in self._connected:
                recording = self._managers.recording(settings.library)
                if recording is not None:
                    recording.leave()

    def _make_safe(self, names: Collection[str]) -> list[SafeStateReport]:
        """One after the other, whatever befalls the others; a Ctrl-C cuts one of them short and is raised at the end.

        Those that the bench's order does not name come last: first what is made of others, which knows in what order
        these go off, then as they were connected.
        """
        rest = sorted(names, key=lambda name: name not in self._made_of)
        interrupt: BaseException | None = None
        reports = []
        for name in dict.fromkeys([*(self.file.settings.safe_state_order or ()), *rest]):
            if name in names:
                started, problem, has_parted = time.monotonic(), "", False
                try:
                    self._connected[name][0].safe_state(self.file.settings.safe_state_timeout)
                except Exception as error:  # noqa: BLE001 -- whatever one driver raises, the others have their turn
                    problem, has_parted = str(error) or type(error).__name__, isinstance(error, ReplayError)
                except BaseException as error:  # noqa: BLE001 -- and whoever wants to end the program
                    problem, interrupt = "interrupted", error
                reports.append(SafeStateReport(name, problem, time.monotonic() - started, has_parted))
        if interrupt is not None:
            interrupt.add_note(not_safe(reports))
            raise interrupt
        return reports


def not_safe(reports: Collection[SafeStateReport]) -> str:
    """Which instruments are not in safe state, and why; empty where all are."""
    unsafe = [f"{each.instrument}: {each.problem}" for each in reports if each.problem]
    return f"NOT in safe state: {'; '.join(unsafe)}" if unsafe else ""


def close_after(error: BaseException | None, close: Callable[[], None]) -> None:
    """`close`, at the end of a `with`; where `error` is under way, what was not reached becomes a note of it."""
    try:
        close()
    except (SafeStateError, ReplayError) as unsafe:
        if error is None:
            raise
        if error is not unsafe:
            error.add_note(str(unsafe))


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Begin the sentence of any fault raised inside with `name`: whoever runs an array may not think of what stands
    around it."""
    try:
        yield
    except LabctlError as problem:
        problem.args = (f"{name}: {problem}", *problem.args[1:])
        raise


def _undoing(close: Callable[[str], None], name: str) -> Callable[..., None]:
    """`close(name)` as what an ExitStack does where something fails."""
    return lambda kind, error, trace: close_after(error, lambda: close(name))  # noqa: ARG005


def _tell(reports: Collection[SafeStateReport]) -> None:
    """Raises SafeStateError."""
    if unsafe := not_safe([each for each in reports if not each.has_parted]):
        raise SafeStateError(unsafe)


@dataclass(frozen=True, slots=True)
class ArrayPlan:
    """An array as far as planning needs it."""

    geometry: Geometry
    capabilities: Capability
    dac: Scale
    adc: Scale
    guard: LimitGuard


class BenchArray:
    """A MemoryArray behind the bench's limits. Connect it with `with`; leaving puts it in safe state."""

    def __init__(self, bench: Bench, name: str, settings: ArraySettings) -> None:
        self.bench = bench
        self.name = name
        self._settings = settings
        self._driver: MemoryArray | None = None
        self._guard: LimitGuard | None = None
        self._auxiliaries: dict[str, Auxiliary] = {}

    def connect(self) -> None:
        """Lease and connect the instrument, and learn its limits. Raises LinkError, LeaseError, InstrumentError."""
        if self._driver is not None:
            return
        self.bench.check_replay(self._settings.instrument, *self.bench.file.auxiliaries(self._settings))
        auxiliaries: dict[str, Auxiliary] = {}
        with ExitStack() as undoing:
            for name in self.bench.file.auxiliaries(self._settings):
                auxiliaries[name] = self.bench.connect(name)
                undoing.push(_undoing(self.bench.disconnect, name))
            driver: MemoryArray = self.bench.connect(self._settings.instrument)
            undoing.push(_undoing(self.bench.disconnect, self._settings.instrument))
            counts = self.bench.cell_counts(self._settings.instrument, driver.geometry.cells)
            self._guard = LimitGuard(self._layers(driver.limits), driver.geometry, driver.dac, counts)
            self._driver, self._auxiliaries = driver, auxiliaries
            undoing.pop_all()

    def close(self) -> None:
        """Safe state, and let go of the instrument unless another array needs it. May be called twice.

        Raises SafeStateError, with everything let go of, where safe state was not reached.
        """
        if self._driver is not None:
            self._driver = self._guard = None
            auxiliaries, self._auxiliaries = list(self._auxiliaries), {}
            self.bench.disconnect(self._settings.instrument, *auxiliaries)

    def __enter__(self) -> BenchArray:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_after(error, self.close)

    # -- the MemoryArray ----------------------------------------------------------------------------------------

    @property
    def geometry(self) -> Geometry:
        return self.driver.geometry

    @property
    def capabilities(self) -> Capability:
        return self.driver.capabilities

    @property
    def dac(self) -> Scale:
        return self.driver.dac

    @property
    def adc(self) -> Scale:
        return self.driver.adc

    @property
    def clock(self) -> Clock:
        return self.driver.clock

    @property
    def sequence(self) -> int:
        return self.driver.sequence

    @property
    def limits(self) -> PulseLimits:
        return self.guard.limits

    @property
    def chip_serial(self) -> str:
        return self.driver.chip_serial

    def pulse(self, *batches: PulseBatch) -> None:
        self.guard.check(batches)
        self.driver.pulse(*batches)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        self.guard.check(batches)
        return self.driver.pulse_and_verify(*batches)

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        self.guard.check_read(voltage)
        return self.driver.read(cells, repeats, voltage)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        self.guard.check_multiply(inputs)
        return self.driver.multiply(inputs, transpose)

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        self.guard.check_multiply_bits(voltage)
        return self.driver.multiply_bits(codes, window, bits, voltage, full_scale)

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        for product in products:
            self.guard.check_multiply_bits(product.voltage)
        self.guard.check(tuple(pulses))
        return self.driver.multiply_lines(*products, pulses=pulses)

    def snapshot(self) -> Mapping[str, Any]:
        return self.driver.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self.driver.safe_state(timeout_s)

    # -- the parts of it, for the runner ------------------------------------------------------------------------

    @property
    def driver(self) -> MemoryArray:
        """The live driver, without the limits in front of it."""
        if self._driver is None:
            raise LinkClosedError(self._not_connected)
        return self._driver

    @property
    def guard(self) -> LimitGuard:
        if self._guard is None:
            raise LinkClosedError(self._not_connected)
        return self._guard

    @property
    def auxiliaries(self) -> Mapping[str, Auxiliary]:
        """Name to live driver of what is read along with its runs."""
        return self._auxiliaries

    @property
    def quantities(self) -> dict[str, str]:
        """Name to unit of what the auxiliaries read; a name is the instrument's and the quantity's."""
        file = self.bench.file
        return {
            f"{name}_{quantity}": unit
            for name in self._auxiliaries
            for quantity, unit in file.drivers[name].quantities(file.instruments[name]).items()
        }

    @property
    def auxiliary_interval(self) -> float:
        """s between readings of the auxiliaries, at least."""
        return self._settings.auxiliary_interval

    @property
    def replayed(self) -> str:
        """The names of the logs that answer in place of its instruments; empty where these are there themselves."""
        used = [self._settings.instrument, *self.bench.file.auxiliaries(self._settings)]
        names = dict.fromkeys(each for name in used for each in (name, *self.bench.parts(name)))
        return ", ".join(spec.log.name for name, spec in self.bench.file.recordings.items() if name in names)

    @property
    def replayed_at(self) -> float | None:
        """s since 1970 when what the logs have answered so far was recorded; None where no log answers."""
        times = [self.bench.recorded_time(name) for name in self._wired_names]
        return max((each for each in times if each is not None), default=None)

    @property
    def is_volatile(self) -> bool:
        """Whether its chip is a simulated one that is fresh with every process: what it was is no history."""
        return self.bench.file.is_volatile(self._settings)

    @property
    def wear(self) -> WearSettings:
        """How long its cells live."""
        return self._settings.wear

    def reserved(self) -> contextlib.AbstractContextManager[Reservation]:
        """The array for one run: `with array.reserved(): ...`. Raises RunError while another has its instrument."""
        return self.bench.reserved(self._settings.instrument, self._auxiliaries)

    @property
    def is_in_process(self) -> bool:
        """Whether the instrument is simulated inside this very process."""
        return all(each.is_in_process for each in self._wired)

    @property
    def address(self) -> str:
        """Where its instrument is, or the instruments it is made of."""
        return ", ".join(each.address for each in self._wired)

    def nominal(self) -> ArrayPlan:
        """What the bench file alone says of this array, for planning; the instrument is not touched."""
        expected = self.bench.file.nominal(self._settings.instrument)
        guard = LimitGuard(self._layers(expected.limits), expected.geometry, expected.dac)
        return ArrayPlan(expected.geometry, expected.capabilities, expected.dac, expected.adc, guard)

    @property
    def _wired(self) -> list[InstrumentSettings]:
        """The settings of the instruments that have a wire."""
        return [self.bench.file.instruments[each] for each in self._wired_names]

    @property
    def _wired_names(self) -> list[str]:
        name = self._settings.instrument
        return list(dict.fromkeys(self.bench.parts(name) or [name]))

    def _layers(self, instrument: PulseLimits) -> dict[str, PulseLimits]:
        return {
            "instrument": instrument,
            "bench": self._settings.limits.as_limits(),
            "cell": self._settings.cell_limits.as_limits(),
        }

    @property
    def _not_connected(self) -> str:
        return f"the array {self.name!r} is not connected: use `with bench.array(...) as array`"


class AssociativeBenchArray(BenchArray):
    """A BenchArray whose driver is an AssociativeArray: nothing pulses it, so no limits stand in front of it."""

    def __init__(self, bench: Bench, name: str, settings: ArraySettings) -> None:
        """Raises BenchError where the bench file has limits, which would not hold."""
        super().__init__(bench, name, settings)
        without = ArraySettings(instrument=settings.instrument)
        for key in ("limits", "cell_limits", "wear"):
            if getattr(settings, key) != getattr(without, key):
                raise BenchError(
                    f"{bench.file.path.name}: $.arrays.{name}.{key}: an associative array gets no pulses to limit"
                )

    @property
    def associative(self) -> AssociativeGeometry:
        return self._processor.associative

    def perform(self, *actions: Action) -> tuple[Any, ...]:
        return self._processor.perform(*actions)

    def counters(self) -> Counters:
        return self._processor.counters()

    @property
    def _processor(self) -> AssociativeArray:
        return cast(AssociativeArray, self.driver)


def load_bench(path: str | Path | None = None) -> Bench:
    """The bench of the file at `path`, else at $LABCTL_BENCH, else the embedded simulated one; see `read_bench`.

    Nothing is touched yet. Raises BenchError with the path of what is wrong.
    """
    return Bench(read_bench(path))
