"""A device for Sandia's CrossSim: a device class of CrossSim 3, and lookup tables of pulses of CrossSim 2.0.

CrossSim asks a device class for a conductance after programming, after some time, and at a read, each drawn anew. The
exported class draws the first two from tabulated quantiles, tails and all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labctl.errors import ExportError
from labctl.exchange.devices import ByLevel, Device, Floats, Relaxation, Steps
from labctl.exchange.modules import heading, identifier, literal, write_files

_SCORES = np.linspace(-3.2, 3.2, 33)
"""Normal scores at which quantiles are kept: from one cell in 1,455 to all but one."""
_LIMITS = (
    "CrossSim draws anew at every call: errors of a device at two times, or two reads, are independent of each other.",
    "Between two tabulated times the quantiles are interpolated in the logarithm of time; after the last they hold.",
    "All read noise counts as white: its 1/f and telegraph parts are in its standard deviation alone.",
)
_BINS, _FEWEST, _POINTS = 50, 20, 101

_MODULE = '''
import numpy as np

from simulator.backend import ComputeBackend
from simulator.devices.idevice import EmptyDevice

xp = ComputeBackend()

G_MAX = {g_max:.6g}  # uS: the normalised conductance 1

# Quantiles of G - G_target in uS, (time, level, score): at times in s after programming, and normal scores from
# FIRST_SCORE on in steps of SCORE_STEP.
{tables}
FIRST_SCORE, SCORE_STEP = {first:g}, {step:g}

# Standard deviation of a read in uS, by conductance in uS.
{noise}


class {name}(EmptyDevice):
    """Select it by name: `params.xbar.device.programming_error.model = "{name}"`, after importing this module."""

    def programming_error(self, input_):
        """Normalised conductances right after programming."""
        return self.drift_error(input_, 0)

    def drift_error(self, input_, time):
        """Normalised conductances so many s after programming."""
        target = input_ * G_MAX
        place = xp.clip((xp.random.normal(size=input_.shape) - FIRST_SCORE) / SCORE_STEP, 0, len(ERROR[0][0]) - 1.001)
        error = _bilinear(xp.asarray(_error_at(time)), _level_place(target), place)
        return (input_ + error / G_MAX).astype(input_.dtype)

    def read_noise(self, input_):
        """Normalised conductances as one read has them."""
        spread = xp.interp(input_ * G_MAX, xp.asarray(NOISE_LEVELS), xp.asarray(NOISE_SPREAD))
        return (input_ + spread / G_MAX * xp.random.normal(size=input_.shape)).astype(input_.dtype)


def _error_at(time):
    """(level, score) quantiles at one time."""
    tables = np.array(ERROR)
    logs = np.log(np.maximum(TIMES, TIMES[1] / 1000 if len(TIMES) > 1 else 1.0))
    place = np.interp(np.log(max(time, 1e-12)), logs, np.arange(len(TIMES)))
    below = min(int(place), len(TIMES) - 1)
    above = min(below + 1, len(TIMES) - 1)
    return tables[below] + (place - below) * (tables[above] - tables[below])


def _level_place(target):
    levels = xp.asarray(LEVELS)
    return xp.clip(xp.interp(target, levels, xp.arange(len(LEVELS), dtype=float)), 0, max(len(LEVELS) - 1.001, 0))


def _bilinear(table, row, column):
    top, left = row.astype(int), column.astype(int)
    down, right = row - top, column - left
    below = xp.minimum(top + 1, len(table) - 1)
    upper = table[top, left] * (1 - right) + table[top, left + 1] * right
    lower = table[below, left] * (1 - right) + table[below, left + 1] * right
    return upper * (1 - down) + lower * down
'''


def export(device: Device, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the module at `path`, and the lookup tables beside it where steps were measured.

    Raises ExportError where the device tells none of it, or a file exists already and is not to be overwritten.
    """
    files = {}
    if device.relaxation is not None or device.programming is not None:
        files[path] = _module(device)
    if device.steps is not None:
        files |= _lookup_files(device.steps, path.parent)
    if not files:
        raise ExportError(
            f"{device.name}: CrossSim needs programming error, change after programming or steps of pulses"
        )
    return write_files(files, overwrite=overwrite)


def _module(device: Device) -> str:
    times, levels, errors = error_tables(device)
    noise = device.noise or ByLevel(np.array([0.0]), np.zeros(1), np.zeros(1))
    notes = (*device.notes, *_LIMITS, *(() if device.noise is not None else ("Read noise was not measured: it is 0.",)))
    tables = [literal("TIMES", times), literal("LEVELS", levels * 1e6), literal("ERROR", errors * 1e6, 4)]
    body = _MODULE.format(
        g_max=device.g_max * 1e6,
        tables="\n".join(tables),
        first=_SCORES[0],
        step=_SCORES[1] - _SCORES[0],
        noise="\n".join([literal("NOISE_LEVELS", noise.levels * 1e6), literal("NOISE_SPREAD", noise.spread * 1e6)]),
        name=identifier(device.name, "Chip"),
    )
    return heading(f"Device of {device.name} for CrossSim 3.", device.sources, notes) + body


def error_tables(device: Device) -> tuple[Floats, Floats, Floats]:
    """Times (m,) s from 0 on, levels (n,) S, and quantiles (m, n, scores) S of the error at each."""
    programming, relaxation = device.programming, device.relaxation
    if relaxation is None:
        assert programming is not None
        normal = programming.mean[:, None] + programming.spread[:, None] * _SCORES
        return np.zeros(1), programming.levels, normal[None]
    cells = [_with_programming(relaxation, level, programming) for level in range(len(relaxation.levels))]
    times = np.concatenate([[0.0], relaxation.times])
    quantiles = [[_quantiles(each[:, column]) for each in cells] for column in range(len(times))]
    return times, relaxation.levels, np.array(quantiles)


def _with_programming(relaxation: Relaxation, level: int, programming: ByLevel | None) -> Floats:
    """(cells, 1 + m) S: the error of the cells of a level at time 0 and later. Programming errors are drawn, normal."""
    changes = relaxation.changes[level]
    whole = np.concatenate([np.zeros((len(changes), 1)), changes], axis=1)
    if programming is None:
        return whole
    at = relaxation.levels[level]
    mean, spread = (np.interp(at, programming.levels, each) for each in (programming.mean, programming.spread))
    drawn: Floats = mean + spread * np.random.default_rng(level).standard_normal((len(changes), 1))
    return whole + drawn


def _quantiles(values: Floats) -> Floats:
    """At the normal scores, the r-th of n values standing at the probability (r - 0.5)/n."""
    from scipy.stats import norm

    known = np.sort(values[np.isfinite(values)])
    probability = (np.arange(len(known)) + 0.5) / len(known)
    found: Floats = np.interp(norm.cdf(_SCORES), probability, known)
    return found


def _lookup_files(steps: Steps, folder: Path) -> dict[Path, str]:
    """`dG_increasing.txt` and `dG_decreasing.txt`: a line of text, the conductances in S, the cumulative probabilities,
    and a row for each of these of the changes in S.
    """
    low = max(np.quantile(each, 0.02) for each in (steps.up_from, steps.down_from))
    high = min(np.quantile(each, 0.98) for each in (steps.up_from, steps.down_from))
    if not low < high:
        raise ExportError("SET and RESET pulses share no range of conductances: CrossSim's tables need one of both")
    grid = np.linspace(low, high, _BINS)
    files = {}
    for name, before, change, sign in (
        ("increasing", steps.up_from, steps.up, 1),
        ("decreasing", steps.down_from, steps.down, -1),
    ):
        table = lookup(before, change, grid)
        if not table.mean() * sign > 0:
            raise ExportError(f"the {name} pulses do not do so on average: CrossSim would refuse the table")
        rows = [grid, np.linspace(0, 1, _POINTS), *table]
        lines = [
            f"dG {name}: conductances in S; cumulative probability; change in S, a row each, a column a conductance"
        ]
        lines += [",".join(f"{value:.6e}" for value in row) for row in rows]
        files[folder / f"dG_{name}.txt"] = "\n".join(lines) + "\n"
    return files


def lookup(before: Floats, change: Floats, grid: Floats) -> Floats:
    """(points, conductances) quantiles of the `change` of pulses that began near each conductance of `grid`.

    Near: within half a spacing; where that are fewer than 20, the 20 nearest.
    """
    half, columns = (grid[1] - grid[0]) / 2, []
    order = np.argsort(before)
    before, change = before[order], change[order]
    for centre in grid:
        first, last = np.searchsorted(before, [centre - half, centre + half])
        near = change[first:last] if last - first >= _FEWEST else change[np.argsort(np.abs(before - centre))[:_FEWEST]]
        columns.append(np.quantile(near, np.linspace(0, 1, _POINTS), method="hazen"))
    return np.array(columns).T
