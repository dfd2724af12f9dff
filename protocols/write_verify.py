"""Program every cell to its own target: incremental step pulses, verified after each one.

A cell below its window gets SET pulses of rising amplitude, one above it RESET pulses; crossing to the other side
reverses the polarity and starts its ramp anew. A verify read inside the window is believed only when enough of some
further reads agree. Later rounds read everything again after given delays and program anew what has left.

Nothing can run forever: a cell has `max_pulses` in all, `max_reversals` a round, and one ramp (with `hold` pulses at
its top) a polarity and reversal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

import numpy as np

from labctl.array import Capability, Geometry, MemoryArray, Operation, Scale
from labctl.errors import RunError
from labctl.protocols import forming
from labctl.protocols.programming import OUTCOME, PROGRESS, Programming
from labctl.protocols.windows import Windows, windows
from labctl.protocols.write_verify_settings import WriteVerifySettings
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import format_quantity


def _steps(array: MemoryArray, settings: WriteVerifySettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    limits = windows(settings, array.geometry, array.adc)
    shape = (array.geometry.rows, array.geometry.cols)
    target = {"target": np.where(limits.wanted, limits.target, np.float32("nan")).reshape(shape)}
    programming = yield from _begun(array, settings, limits, target)
    if not settings.form_pristine and not len(programming.unfinished()):
        raise RunError(
            f"all {limits.count} cells read below {format_quantity(settings.form.formed_at, 'S')}: "
            "the array has not been formed; form it first"
        )
    try:
        yield Step("initial_read", {}, {"initial": programming.conductance().reshape(shape), **target})
        if not programming.stopped:
            yield from programming.program(programming.unfinished(), "program")
            since = array.clock.now()
            for delay in settings.reverify:
                yield from programming.verify(delay, since)
    except StopRequested:
        pass  # the maps say which cells are unfinished
    with contextlib.suppress(StopRequested):
        yield Step("done", {}, programming.maps())
    return programming.summary()


def _begun(
    array: MemoryArray, settings: WriteVerifySettings, limits: Windows, maps: Mapping[str, np.ndarray]
) -> Generator[Step, None, Programming]:
    """Forming or the first read, and what is known from it. `maps` go with the step before the first pulse, so that
    a killed run knows what it was for."""
    if not settings.form_pristine:
        conductance = array.read().conductance[0]
        programming = Programming.starting(array, settings, limits, conductance)
        programming.read_count = array.geometry.cells
        return programming
    formed = yield from forming.form(array, settings.form, limits.wanted, maps)
    programming = Programming.starting(array, settings, limits, formed.conductance)
    programming.read_count, programming.forming_pulses = formed.reads, formed.pulses
    programming.stopped = formed.stopped
    return programming


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: WriteVerifySettings) -> Cost:
    """The bound: every cell spends its whole budget, each pulse landing and being confirmed."""
    cells = windows(settings, geometry, adc).count
    form = forming.form_cost(geometry, dac, settings.form, cells) if settings.form_pristine else None
    ramps = {Operation.SET: (settings.set, "set"), Operation.RESET: (settings.reset, "reset")}
    peaks = {op: float(dac.values(ramp.codes(dac, name).max())) for op, (ramp, name) in ramps.items()}
    reads_a_pulse = 1 + settings.confirm.reads
    later = len(settings.reverify) * reads_a_pulse
    return Cost(
        max_pulses=cells * settings.max_pulses + (form.max_pulses if form else 0),
        max_reads=cells * (settings.max_pulses * reads_a_pulse + later) + (form.max_reads if form else geometry.cells),
        amplitudes=peaks | (dict(form.amplitudes) if form else {}),
        gates={op: ramp.gate for op, (ramp, _) in ramps.items()} | (dict(form.gates) if form else {}),
        widths={op: ramp.width for op, (ramp, _) in ramps.items()} | (dict(form.widths) if form else {}),
        max_pulses_per_cell=settings.max_pulses + (form.max_pulses_per_cell if form else 0),
        max_form_pulses_per_cell=form.max_pulses_per_cell if form else 0,
    )


write_verify = Procedure(
    name="write_verify",
    title="Program and verify",
    settings=WriteVerifySettings,
    phases=(*forming.PHASES, "program", "reverify", "reprogram", "done"),
    variables=(
        *forming.VARIABLES,
        *PROGRESS,
        Variable("initial", "conductance before programming, after forming", ("row", "col"), unit="S"),
        Variable("target", "target conductance", ("row", "col"), unit="S"),
        Variable("reached", "conductance at the cell's last verify", ("row", "col"), unit="S"),
        Variable("error", "reached minus target", ("row", "col"), unit="S"),
        OUTCOME,
        Variable("pulses_per_cell", "SET and RESET pulses the cell got", ("row", "col"), "u2"),
        Variable("reversals", "changes of polarity within a round", ("row", "col"), "u2"),
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="programming",
)
