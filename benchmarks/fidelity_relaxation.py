"""Fidelity of what happens after programming: relaxation, the survival of a window, mapping errors, bakes.

Cells are programmed one at a time on the benches that measured this, each in well under a millisecond; here all at
once in no time (`DirectArray(instant=True)`), which is the same to cells that do not know of each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from direct import DirectArray
from fidelity_chips import Run, Study, Unavailable, as_map, bought, form, gate_for, run
from fidelity_rows import NI, Bullet, Expected, Row
from fidelity_statistics import beyond_three_sigma, robust_sigma

from labctl.protocols.forming import FormingSettings
from labctl.protocols.ramps import Ramp
from labctl.protocols.write_verify_settings import CellOutcome, Confirm
from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.units import Siemens, Volt

LEVELS = np.array([0, 5, 15, 25, 35, 45]) * 1e-6
"""S, edges of the start levels of the reference's README."""

ESCAPED = 1e-6
"""S, 2.5 % of the full scale of 40 uS: a change that counts as leaving the level."""

LOWEST = 5e-8
"""S, the lowest target: half a pristine cell's conductance."""

WHOLE_SPREAD = 0.25
ESCAPE_LIMIT = 0.05
TAIL_LIMIT = 0.01
DRIFT_SHARE = 0.25
"""Of the level's standard deviation at that time: what a mean may be off."""

CORRELATION_LIMIT = 0.1

WINDOW = (1 / 50e3, 1 / 40e3)
FIRST_READ = 1e-3
"""s from verify to read 1: not told; the next thing the bench does."""

READ_PERIOD = 0.0467
"""s between reads of a cell on the bench of the survival figures: that of its recorded retention run."""

SURVIVAL = {1: 0.98, 10: 0.60, 100: 0.51, 2000: 0.36}
SURVIVAL_LIMIT = 0.1  # two binomial standard errors of 101 cells at one half

PRISTINE, SHORTED = 0.5e-6, 1.5
"""S below which a cell never formed, and multiples of full scale above which it is shorted: the first read finds both,
and nothing is mapped to them."""

MAPPING_DELAY = 1.0
"""s from the end of programming to the read: not told; that of the last re-verify of `write_verify`."""

BAKES = (100, 140, 180, 220, 260)
BAKE_TIME = 3600.0  # s
BAKE_LIMIT = 0.25
BAKE_FULL_SCALE = 240e-6


def programmed(
    array: DirectArray, parameters: RramParameters, target: np.ndarray, tolerance: np.ndarray | float, gate: float
) -> Run:
    """Form the array and program its first cells to `target` S, each landing believed at its first reading."""
    form(array, parameters)
    ramps = {
        "set": Ramp(start=Volt(0.8), stop=Volt(3.0), step=Volt(0.05), width=1e-7, gate=Volt(gate)),
        "reset": Ramp(start=Volt(0.8), stop=Volt(3.5), step=Volt(0.05), width=1e-7, gate=Volt(2.5)),
    }
    wanted = np.zeros(array.geometry.cells, bool)
    wanted[: len(target)] = True
    return run(
        "write_verify",
        array,
        target=as_map(array, target, LOWEST),
        cells=wanted.reshape(array.geometry.rows, array.geometry.cols),
        tolerances=as_map(array, np.broadcast_to(tolerance, target.shape), 1e-6),
        aim=1.0,
        confirm=Confirm(needed=0, reads=0),
        reverify=(),
        form_pristine=False,
        form=FormingSettings(formed_at=Siemens(LOWEST / 2)),
        max_pulses=500,
        max_reversals=100,
        **ramps,
    )


@dataclass(frozen=True, slots=True)
class Retention:
    """Conductances S, (cells, times), of cells at `times` s after programming; NaN where not read."""

    times: np.ndarray
    conductance: np.ndarray

    def change(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Start and change since, S, of the cells read at `time`."""
        start, later = self.conductance[:, 0], self.conductance[:, self.times == time][:, 0]
        known = np.isfinite(start) & np.isfinite(later)
        return start[known], (later - start)[known]


def measured_retention(study: Study) -> Retention:
    group = study.reference["relaxation/techC"]
    return Retention(group["time"][:], group["conductance"][:].astype(np.float64))


def simulated_retention(study: Study, measured: Retention) -> Retention:
    """As many cells as were measured, programmed to where those began, and read when each of those was."""
    parameters = study.parameters("relaxation")
    wanted = measured.conductance[:: 8 if study.quick else 1]
    start = np.clip(wanted[:, 0], LOWEST, 45e-6)
    array = DirectArray(bought("RELAX-1", len(start), parameters, 80e-6), instant=True)
    done = programmed(array, parameters, start, np.maximum(0.02 * start, 3e-7), gate_for(parameters, 70e-6))
    landed = np.flatnonzero(done.maps["outcome"] == CellOutcome.IN_WINDOW).astype(np.uint32)
    began = array.clock.now()
    columns = [done.maps["reached"][landed]]
    for time in measured.times[1:]:
        array.clock.sleep_until(began + float(time))
        columns.append(array.read(landed).conductance[0])
    conductance = np.stack(columns, axis=1).astype(np.float64)
    conductance[np.isnan(wanted[landed])] = np.nan
    return Retention(measured.times, conductance)


def relaxation(study: Study) -> Iterator[Row]:
    """Spread per level and time, escapes, tails, drift, and the memory of a cell's change."""
    measured = measured_retention(study)
    simulated = simulated_retention(study, measured)
    success, later = Bullet("Success at verify is not success later"), Bullet("Relaxation is heavy-tailed")
    times = measured.times[1:]
    for time in times:
        escaped = [np.mean(np.abs(each.change(time)[1]) > ESCAPED) for each in (measured, simulated)]
        what = f"changed by more than 1 uS after {time:g} s"
        yield success.difference(what, "1", Expected.one(escaped[0]), escaped[1], ESCAPE_LIMIT)
    for time in times:
        for low, high in itertools.pairwise(LEVELS):
            yield from _level_rows(later, measured, simulated, time, low, high)
    for time in times:
        tails = [beyond_three_sigma(each.change(time)[1]) for each in (measured, simulated)]
        yield later.between(f"beyond 3 sd after {time:g} s", "1", Expected.one(tails[0]), tails[1], TAIL_LIMIT, np.inf)
    memory = [_correlation(each, 1.0, 1e5) for each in (measured, simulated)]
    what = "correlation of changes at 1 s and 1e5 s"
    yield later.difference(what, "1", Expected.one(memory[0]), memory[1], CORRELATION_LIMIT)


def _level_rows(
    bullet: Bullet, measured: Retention, simulated: Retention, time: float, low: float, high: float
) -> Iterator[Row]:
    found = []
    for each in (measured, simulated):
        start, change = each.change(time)
        found.append(change[(start >= low) & (start < high)] * 1e6)
    where = f"{low * 1e6:.0f}-{high * 1e6:.0f} uS after {time:g} s"
    if len(found[1]) < 2:
        yield bullet.missing(f"sd, {where}", "no cell could be programmed there")
        return
    spread = [each.std() for each in found]
    yield bullet.ratio(f"sd, {where}", "uS", Expected.one(spread[0]), spread[1], WHOLE_SPREAD)
    if time in (1.0, 1e5):
        robust = [robust_sigma(each) for each in found]
        yield bullet.ratio(f"robust sigma, {where}", "uS", Expected.one(robust[0]), robust[1], WHOLE_SPREAD)
        limit, mean = DRIFT_SHARE * spread[0], [each.mean() for each in found]
        why = f"{DRIFT_SHARE:g} sd"
        yield bullet.difference(f"mean drift, {where}", "uS", Expected.one(mean[0]), mean[1], limit, why)


def _correlation(retention: Retention, first: float, second: float) -> float:
    start = retention.conductance[:, 0]
    columns = [retention.conductance[:, retention.times == each][:, 0] - start for each in (first, second)]
    known = np.isfinite(columns[0]) & np.isfinite(columns[1])
    return float(np.corrcoef(columns[0][known], columns[1][known])[0, 1])


def survival(study: Study) -> Iterator[Row]:
    """Cells verified into 40 to 50 kOhm, read again and again."""
    bullet = Bullet("Success at verify is not success later")
    parameters = study.parameters("programming")
    cells = study.cells(4096)
    array = DirectArray(bought("SURVIVAL-1", cells, parameters, 320e-6), instant=True)
    middle, half = np.mean(WINDOW), (WINDOW[1] - WINDOW[0]) / 2
    done = programmed(array, parameters, np.full(cells, middle), half, gate_for(parameters, 3 * middle))
    landed = np.flatnonzero(done.maps["outcome"] == CellOutcome.IN_WINDOW).astype(np.uint32)
    if not len(landed):
        yield bullet.missing("inside 40-50 kOhm", "no cell could be programmed there")
        return
    began = array.clock.now()
    for number, inside in SURVIVAL.items():
        array.clock.sleep_until(began + FIRST_READ + (number - 1) * READ_PERIOD)
        shown = array.read(landed).conductance[0]
        fraction = np.mean((shown >= WINDOW[0]) & (shown <= WINDOW[1]))
        what = f"inside 40-50 kOhm at read {number}"
        yield bullet.difference(what, "1", Expected.one(inside, NI), float(fraction), SURVIVAL_LIMIT)


def mapping(study: Study) -> Iterator[Row]:
    """Closed loop on three chips of 4,096 cells: what is read once all of the chip is done, against the targets."""
    bullet = Bullet("Mapping error, closed loop on 3 chips x 4,096")
    parameters = study.parameters("relaxation")
    full_scale = 40e-6
    for serial in ("MAP-1", "MAP-2", "MAP-3"):
        cells = study.cells(4096)
        target = np.random.default_rng(0).uniform(0.02, 1, cells) * full_scale
        array = DirectArray(bought(serial, cells, parameters, 80e-6))
        form(array, parameters)
        run("write_verify", array, target=as_map(array, target, full_scale / 2), reverify=(), form_pristine=False)
        array.clock.sleep_until(array.clock.now() + MAPPING_DELAY)
        shown = array.read().conductance[0][:cells]
        known = (shown > PRISTINE) & (shown < SHORTED * full_scale)
        error = ((shown - target) / full_scale)[known] * 100
        yield bullet.ratio(f"sd, {serial}", "% fs", Expected(5, 6, NI), float(error.std()), 0.25)
        yield bullet.difference(f"bias, {serial}", "% fs", Expected(-3, -1, NI), float(error.mean()), 0.5)


def bake(study: Study) -> Iterator[Row]:
    """About an hour at a temperature: spread and mean of the change, in percent of full scale, cells at any level."""
    bullet = Bullet("Bake of about 1 h")
    parameters = study.parameters("programming")
    group = study.reference["bake/techA"]
    for celsius in BAKES:
        before, after = (group[f"{celsius}C/{name}"][:: 8 if study.quick else 4] for name in ("before", "after"))
        measured = (after - before) / BAKE_FULL_SCALE * 100
        try:
            simulated = _baked(parameters, before, celsius) / BAKE_FULL_SCALE * 100
        except Unavailable as problem:
            yield bullet.missing(f"{celsius} C", str(problem))
            continue
        spread = Expected.one(measured.std())
        yield bullet.ratio(f"sd of the change, {celsius} C", "% fs", spread, float(simulated.std()), BAKE_LIMIT)
        drift, limit = Expected.one(measured.mean()), DRIFT_SHARE * measured.std()
        what = f"mean change, {celsius} C"
        yield bullet.difference(what, "% fs", drift, float(simulated.mean()), limit, f"{DRIFT_SHARE:g} sd")


def _baked(parameters: RramParameters, before: np.ndarray, celsius: float) -> np.ndarray:
    """(n,) S, the change over the bake of cells that were programmed to `before` and left alone for an hour."""
    array = DirectArray(bought(f"BAKE-{celsius}", len(before), parameters, 320e-6), instant=True)
    target = np.clip(before, LOWEST, None)
    gate = gate_for(parameters, 1.5 * BAKE_FULL_SCALE)
    done = programmed(array, parameters, target, np.maximum(0.05 * target, 1e-6), gate)
    landed = np.flatnonzero(done.maps["outcome"] == CellOutcome.IN_WINDOW).astype(np.uint32)
    if len(landed) < 0.5 * len(before):
        raise Unavailable(f"only {len(landed)} of {len(before)} cells could be programmed to where the measured began")
    array.clock.advance(BAKE_TIME)
    first = array.read(landed).conductance[0]
    room = array.chip.temperature
    array.chip.heat(celsius + 273.15, array.clock.now())
    array.clock.advance(BAKE_TIME)
    array.chip.heat(room, array.clock.now())
    return array.read(landed).conductance[0] - first
