"""One round of the fault campaign: a real run on a simulated board whose wire or chip fails, and what became of it.

Everything of a round follows from its number: link, protocol, chip, and the plan of faults. The board is in this
process, so that the referee can look behind the wire: at the chip's own pulse counter, and at whether outputs are on.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from benches import RESOURCE, write_bench

import labctl
from labctl.errors import LabctlError
from labctl.recording.layout import State
from labctl.recording.reader import read_summary
from labctl.simulated_instruments.faults import FaultyWire, read_plan
from labctl.simulated_instruments.instruments import serial_board, test_board
from labctl.simulated_instruments.instruments.board import SimulatedBoard
from labctl.simulated_instruments.servers.hislip import HislipServer
from labctl.simulated_instruments.servers.sharing import hold
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site
from labctl.steps import Step

ROWS = 8
TIMEOUT = 0.15
"""s that an exchange may take."""
HISLIP_TIMEOUT = 0.6
"""The same by HiSLIP: a device clear takes pyvisa-py 0.1 s, and an eighth of the time-out is what it gets at least."""
LINKS = ("tcp", "hislip", "in_process", "gpib", "serial", "serial_in_process")
IN_PROCESS = {"in_process": RESOURCE, "gpib": "GPIB0::9::INSTR", "serial_in_process": "ASRL7::INSTR"}
CHIPS = ("FC-1", "FC-2", "FC-3")
_TARGET = np.random.default_rng(4).uniform(5e-6, 30e-6, (ROWS, ROWS))
PROTOCOLS: dict[str, dict[str, Any]] = {
    "forming": {},
    "write_verify": {"target": _TARGET, "tolerance": 2e-6, "max_pulses": 40, "reverify": [0.0, 1.0]},
    "read": {"repeats": 30},
    "iv": {"read_voltages": [0.05, 0.1, 0.2, 0.3, 0.4]},
}
FAULTLESS = '[[faults]]\nkind = "drop"\nprobability = 0.0\n'
"""A plan by which nothing goes wrong."""
_PER_FAULT = 16  # time-outs that one fault may cost: the tries of an exchange, each with its recovery
_RUN = 60.0  # s that a run without faults, which takes a tenth of one, may take on a machine that is busy with others


@dataclass(frozen=True, slots=True)
class Round:
    """What round `number` is."""

    number: int
    link: str
    protocol: str
    chip: str
    plan: str
    sick: bool
    """The chip is at fault, not the wire."""

    @property
    def timeout(self) -> float:
        """s that an exchange may take; long where the chip is sick: a message sent again would shift what strikes."""
        if self.sick:
            return 30.0
        return HISLIP_TIMEOUT if self.link == "hislip" else TIMEOUT

    @classmethod
    def of(cls, number: int, links: tuple[str, ...] = LINKS) -> Round:
        chance = random.Random(f"round {number}")
        sick = chance.random() < 0.05
        plan = [f"seed = {number}\n"]
        link = chance.choice(links)
        for _ in range(chance.randint(1, 4)):
            plan.append(_sickness(chance) if sick else _wire_fault(chance, link))
        return cls(number, link, chance.choice(tuple(PROTOCOLS)), chance.choice(CHIPS), "\n".join(plan), sick)


@dataclass(slots=True)
class Verdict:
    """What became of a round. kinds: the faults injected. problems: what must not be."""

    number: int
    link: str
    protocol: str
    ended: str = ""
    """`completed` or `stopped_honestly`; empty where it was neither."""
    reason: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    double_pulses: int = 0
    lost_records: int = 0
    hung: bool = False
    problems: list[str] = field(default_factory=list)


def _wire_fault(chance: random.Random, link: str) -> str:
    """A `[[faults]]` table."""
    way = chance.choice(("to", "from"))
    likely = {"latency": 6, "drop": 4, "duplicate": 4, "truncate": 4, "corrupt": 4, "close": 5, "hang": 3, "trickle": 3}
    rare = {"reboot": 0.7} | ({} if link.startswith("serial") else {"full_error_queue": 0.7})
    (kind,) = chance.choices(*zip(*(likely | rare).items(), strict=True))
    values: dict[str, Any] = {"kind": f'"{kind}"', "probability": round(chance.uniform(0.01, 0.12), 3)}
    if kind != "full_error_queue":
        values["direction"] = f'"{way}"'
    if kind == "latency":
        values |= {"seconds": 0.001, "jitter": round(chance.choice((0.02, 2 * TIMEOUT, 8 * TIMEOUT)), 3)}
    elif kind == "corrupt":
        values |= {"bytes": chance.randint(1, 3)} | ({} if link.startswith("serial") else {"span": '"header"'})
    elif kind == "hang":
        values |= {"seconds": round(chance.uniform(0.02, 3 * TIMEOUT), 3)} if chance.random() < 0.9 else {}
    elif kind == "trickle":
        values |= {"rate": round(math.exp(chance.uniform(math.log(200), math.log(100_000)))), "piece": 7}
    elif kind == "reboot":
        values |= {"seconds": 0.05, "probability": 0.02}
    return _table(values)


def _sickness(chance: random.Random) -> str:
    kind = chance.choice(("adc_saturation", "stuck_columns", "temperature_step"))
    values: dict[str, Any] = {"kind": f'"{kind}"', "probability": 0.1, "exchanges": chance.randint(1, 10)}
    if kind == "stuck_columns":
        values |= {"columns": [chance.randrange(ROWS)], "code": chance.randrange(1 << 14)}
    elif kind == "temperature_step":
        values["kelvin"] = chance.randint(-40, 60)
    return _table(values)


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(["[[faults]]", *(f"{key} = {value}" for key, value in values.items())]) + "\n"


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench file and what is behind its wire."""

    path: Path
    board: SimulatedBoard[Any]
    wire: FaultyWire


@contextmanager
def bench_of(what: Round, folder: Path, plan: Path) -> Iterator[Bench]:
    """The board on its link; what is still on its way when this is left arrives before it is over."""
    if what.link in IN_PROCESS:
        path = _bench_file(what, folder, IN_PROCESS[what.link], "@labctl", plan.name)
        with closing(hold(path)) as holding:
            entry = holding.bench.entries["board"]
            wire, board = holding.bench.wire(entry), holding.bench.simulated(entry)
            assert isinstance(wire, FaultyWire)
            assert isinstance(board, SimulatedBoard)
            yield Bench(path, board, wire)
        return
    build = serial_board.build if what.link == "serial" else test_board.build
    board = build({"rows": ROWS, "cols": ROWS, "chip": what.chip}, Site(folder))
    wire = FaultyWire(board, read_plan(plan), "board")
    with HislipServer({"hislip0": wire}, port=0) if what.link == "hislip" else TcpServer(wire) as server:
        if isinstance(server, HislipServer):
            resource = server.resource_name("hislip0")
        else:
            resource = server.serial_resource_name if what.link == "serial" else server.resource_name
        yield Bench(_bench_file(what, folder, resource, "" if what.link == "serial" else "@py"), board, wire)
        silence = wire.silent_until - time.monotonic()
        if 0 < silence < math.inf:
            time.sleep(silence + 0.01)
    wire.close()


def _bench_file(what: Round, folder: Path, resource: str, library: str, faults: str = "") -> Path:
    """`faults`: the plan of a board in this process."""
    is_serial = what.link.startswith("serial")
    path = write_bench(
        folder,
        rows=ROWS,
        cols=ROWS,
        chip=what.chip,
        resource=resource,
        library=library,
        top=f"safe_state_timeout = {2 * what.timeout}",
        instrument=f"timeout = {what.timeout}" + ("\nbaud_rate = 3_000_000" if is_serial else ""),
        simulated=f'faults = "{faults}"' if faults else "",
    )
    if is_serial:
        text = path.read_text(encoding="utf-8").replace('"test_board"', '"serial_board"')
        path.write_text(text.replace("visa_library", "serial_library"), encoding="utf-8")
    return path


class Run:
    """The run of a round: how it ended, and the steps that were acknowledged."""

    def __init__(self, what: Round, bench: Bench, folder: Path) -> None:
        self.what, self.bench, self.folder = what, bench, folder
        self.acknowledged: list[Step] = []
        self.path: Path | None = None
        self.failure: BaseException | None = None
        self.connected = False
        self.finished = False
        self.unsafe: str | None = None
        self.seconds = 0.0

    def go(self) -> None:
        started = time.monotonic()
        try:
            with labctl.load_bench(self.bench.path) as bench, bench.array() as array:
                self.connected = True
                settings = PROTOCOLS[self.what.protocol]
                result = labctl.run(
                    self.what.protocol, array, out=self.folder, progress=self.acknowledged.append, **settings
                )
                self.path, self.finished = result.path, True
                self.unsafe = "; ".join(each.problem for each in result.safe_state)
        except BaseException as problem:  # noqa: BLE001 -- whatever it is, it is the finding
            self.failure = problem
            self.path = self.path or getattr(problem, "run_path", None)
            notes = " ".join(getattr(problem, "__notes__", []))
            self.unsafe = notes if "NOT in safe state" in notes else ("" if "in safe state" in notes else None)
        self.seconds = time.monotonic() - started


def play(what: Round, folder: Path, reference: Mapping[str, Any] | None) -> tuple[Verdict, dict[str, Any] | None]:
    """The verdict on one round, and what its file says where it was completed.

    reference: what the file of the same run without faults says; None: this is that run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "faults.toml"
    plan.write_text(what.plan, encoding="utf-8")
    verdict = Verdict(what.number, what.link, what.protocol)
    with bench_of(what, folder, plan) as bench:
        run = Run(what, bench, folder / "runs")
        thread = threading.Thread(target=run.go, daemon=True)
        started = time.monotonic()
        thread.start()
        while thread.is_alive() and time.monotonic() - started < _allowed(what, bench.wire):
            thread.join(0.05)
        verdict.hung = thread.is_alive()
        is_on = bench.board.firmware.output
    verdict.kinds = Counter(each.kind for each in bench.wire.record.injected)
    verdict.seconds = run.seconds
    if verdict.hung:
        verdict.problems.append(f"still going after {_allowed(what, bench.wire):.1f} s")
        return verdict, None
    found = _examine(run, bench, verdict)
    _judge(run, verdict, found, reference, is_on or bench.board.firmware.output)
    return verdict, found


def _allowed(what: Round, wire: FaultyWire) -> float:
    """s that a run may take with what was injected so far."""
    late = sum(getattr(each.fault, "seconds", None) or 0.0 for each in wire.record.injected)
    return _RUN + late + _PER_FAULT * what.timeout * len(wire.record.injected)


def contents(path: Path) -> dict[str, Any]:
    """All of a run file that a protocol and its board have put there, as stored."""
    found: dict[str, Any] = {}
    summary = read_summary(path)
    with h5py.File(path, "r") as file:
        for group in ("events", "operations", "steps", "maps"):
            for name, dataset in file[group].items():
                found[f"{group}/{name}"] = dataset[()]
    return found | {"outcome": summary.outcome.value, "message": summary.message}


def _examine(run: Run, bench: Bench, verdict: Verdict) -> dict[str, Any] | None:
    """Pulses and steps against the file's; what the file says."""
    given = bench.board.chip.pulse_counts.ravel().astype(np.int64)
    if run.path is None:
        verdict.double_pulses = int(given.sum())
        if verdict.double_pulses or run.acknowledged:
            verdict.problems.append(f"no run file, {given.sum()} pulses and {len(run.acknowledged)} steps")
        return None
    found = contents(run.path)
    done, unknown = _doses(found, State.DONE), _doses(found, State.UNKNOWN_DOSE) + _doses(found, State.INTENDED)
    verdict.double_pulses = int(np.maximum(given - done - unknown, 0).sum())
    missing = int(np.maximum(done - given, 0).sum())
    if verdict.double_pulses:
        verdict.problems.append(f"{verdict.double_pulses} pulses beyond the file's")
    if missing:
        verdict.problems.append(f"{missing} pulses in the file that the chip has not had")
    verdict.lost_records = _lost(run.acknowledged, found)
    if verdict.lost_records:
        verdict.problems.append(f"{verdict.lost_records} acknowledged steps are not in the file as they were")
    return found


def _doses(found: Mapping[str, Any], state: State) -> np.ndarray:
    """Pulses of each cell in operations of that state."""
    doses = np.zeros(ROWS * ROWS, np.int64)
    for row in np.flatnonzero((found["operations/kind"] > 0) & (found["operations/state"] == state)):
        first, count = int(found["operations/first_event"][row]), int(found["operations/events"][row])
        np.add.at(doses, found["events/cell"][first : first + count], 1)
    return doses


def _lost(acknowledged: list[Step], found: Mapping[str, Any]) -> int:
    """How many steps are missing, or not as the protocol was told that they are recorded."""
    lost = 0
    for row, step in enumerate(acknowledged):
        for name, value in step.values.items():
            column = found[f"steps/{name}"]
            if row >= len(column) or not np.array_equal(column[row], np.asarray(value, column.dtype), equal_nan=True):
                lost += 1
                break
    return lost


def _judge(
    run: Run, verdict: Verdict, found: dict[str, Any] | None, reference: Mapping[str, Any] | None, is_on: bool
) -> None:
    """Completed as without faults, or stopped with a reason in the file and in safe state."""
    problem = run.failure
    verdict.reason = "" if problem is None else f"{type(problem).__name__}: {problem}"
    if is_on and run.connected and run.unsafe == "":
        verdict.problems.append("its outputs are on, and it was said to be in safe state")
    if problem is None:
        differing = _differing(found, reference) if reference is not None else []
        if differing:
            verdict.problems.append(f"completed, and not as without faults: {', '.join(differing)}")
    elif not isinstance(problem, LabctlError):
        verdict.problems.append(f"ended with {verdict.reason}")
    elif found is not None and run.finished != (found["outcome"] == "finished"):
        verdict.problems.append(f"the file says {found['outcome']}, and the run was {verdict.reason or 'finished'}")
    elif found is not None and not run.finished and found["message"] != str(problem):
        verdict.problems.append(f"the file says {found['outcome']}: {found['message']!r}, it was {verdict.reason}")
    if not verdict.problems:
        verdict.ended = "completed" if problem is None else "stopped_honestly"


def _differing(found: Mapping[str, Any] | None, reference: Mapping[str, Any]) -> list[str]:
    """Names of what is not the same, to the last bit."""
    assert found is not None
    return [
        name
        for name, expected in reference.items()
        if name not in found
        or not np.array_equal(np.asarray(found[name]), np.asarray(expected), equal_nan=_is_float(expected))
    ]


def _is_float(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "f"
