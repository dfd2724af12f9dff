"""Form a share of the cells: some rows tell at which voltage so many break down, the others get that one pulse.

Sample rows, evenly spread, get a fine ramp of FORM pulses that ends when the share wanted of them has formed, so that
they end as the others will. A normal distribution of breakdown voltages, fitted to how many each pulse formed
(`breakdown`), says the voltage; all other cells get one pulse of it. Where so few have formed that it is not chance,
small further steps follow, each on no more cells than are missing: what is formed cannot be taken back.

Cells that conduct before count as formed, and the distribution is then that of the cells that did not. Rows and
columns on which no cell responds, while so many do elsewhere that it is not chance, are dead: the density is that of
the others. From a density of 0.99 on, all cells get the ordinary ramp.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Cells, Geometry, MemoryArray, Operation, Scale
from labctl.errors import RunError
from labctl.proportions import wilson_interval
from labctl.protocols import forming
from labctl.protocols.breakdown import Breakdown, fit_breakdown
from labctl.protocols.characterisation.cells import CellChoice, chosen
from labctl.protocols.ramps import Ramp
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Siemens, Volt, format_quantity

Mask = NDArray[np.bool_]

ALL = 0.99
"""Density from which on every cell is to form."""

OUTCOMES = {"not_chosen": 0, "formed_before": 1, "formed": 2, "left_pristine": 3, "dead_line": 4, "never_formed": 5}
"""What became of each cell. left_pristine: it might form at a higher voltage, and was not to."""

_SHORTENED = 4
"""Steps of the sample's ramp at most that go just to the voltage the fit says, and not to the next of the ramp."""

_NEAR = 0.1  # of a step: nearer to the voltage of the fit, the sample's ramp ends
_FEWEST = 10  # cells of the sample that have formed before the fit is believed
_FURTHER = 0.25  # of a step: how far further pulses go up
_CHANCE = 1e-6  # of a line that works to have not one formed cell: below it, the line is dead
_TOO_MANY = 3.0  # standard deviations
_GOLDEN = (math.sqrt(5) - 1) / 2


class DensitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """density: the share of cells to form. sample_rows, sample_step: how many rows are the sample, and by how much its
    ramp goes up. ramp, formed_at, hold: as in `FormingSettings`; of the ramp a density below 0.99 uses start, stop,
    width and gate. further: how many further voltages there may be, each a quarter of `sample_step` up.
    """

    density: float = 0.5
    sample_rows: int = 8
    sample_step: Volt = Volt(0.02)
    further: int = 8
    ramp: Ramp = forming.FormingSettings().ramp
    formed_at: Siemens = forming.FormingSettings().formed_at
    hold: int = forming.FormingSettings().hold

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be more than 0 and at most 1, not {self.density:g}")
        if self.sample_rows < 1:
            raise ValueError(f"sample_rows must be at least 1, not {self.sample_rows}")
        if not self.sample_step > 0:
            raise ValueError(f"sample_step must be more than 0 V, not {self.sample_step:g}")
        if self.further < 0:
            raise ValueError(f"further must not be negative, not {self.further}")
        self.whole  # noqa: B018 -- which checks the others

    @property
    def whole(self) -> forming.FormingSettings:
        """To form every cell."""
        return forming.FormingSettings(ramp=self.ramp, formed_at=self.formed_at, hold=self.hold)

    @property
    def fine(self) -> Ramp:
        """The sample's."""
        return msgspec.structs.replace(self.ramp, step=self.sample_step)


class DensityChoice(DensitySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rows, cols, cells, exclude: which of the array's cells, as in `CellChoice`."""

    rows: tuple[int, int] | Literal["all"] = "all"
    cols: tuple[int, int] | Literal["all"] = "all"
    cells: int | Literal["all"] = "all"
    exclude: np.ndarray | None = None

    def chosen(self, geometry: Geometry) -> Cells:
        """(n,) flat indices, strictly increasing. Raises SettingsError where the choice does not fit the array."""
        return chosen(CellChoice(rows=self.rows, cols=self.cols, cells=self.cells, exclude=self.exclude), geometry)


@dataclass(frozen=True, slots=True)
class FormedToDensity(forming.Formed):
    """As `Formed`, and: density, the share of the `live` cells that conducts; chosen_voltage, V of the one pulse, NaN
    where none was needed or all were to form; breakdown, of the sample's pristine cells, None where too few formed to
    tell; outcome, (cells,) codes of OUTCOMES; sample, (cells,) bool; live, (cells,) bool, wanted and on no dead line;
    dead_rows, dead_cols: numbers.
    """

    density: float
    chosen_voltage: float
    breakdown: Breakdown | None
    outcome: NDArray[np.uint8]
    sample: Mask
    live: Mask
    dead_rows: tuple[int, ...]
    dead_cols: tuple[int, ...]


PHASES = ("initial_read", "sample", "forming")

VARIABLES = (
    *forming.VARIABLES,
    Variable("density", "share of the cells that conducts", unit="1"),
    Variable("chosen_voltage", "amplitude that forms the density wanted", unit="V"),
    Variable("breakdown_mean", "mean of the breakdown voltage", unit="V"),
    Variable("breakdown_mean_low", "lower end of its 95 % interval", unit="V"),
    Variable("breakdown_mean_high", "upper end of its 95 % interval", unit="V"),
    Variable("breakdown_sd", "standard deviation of the breakdown voltage", unit="V"),
    Variable("breakdown_sd_low", "lower end of its 95 % interval", unit="V"),
    Variable("breakdown_sd_high", "upper end of its 95 % interval", unit="V"),
    Variable("forming_outcome", "what forming did to the cell", ("row", "col"), "u1", flags=OUTCOMES),
)


def form_to_density(
    array: MemoryArray,
    settings: DensitySettings,
    wanted: Mask | None = None,
    maps: Mapping[str, np.ndarray] | None = None,
) -> Generator[Step, None, FormedToDensity]:
    """Steps that form the density of the `wanted` cells (bool, (cells,); all where None); returns FormedToDensity.

    maps: recorded with the first step, before any pulse. Raises RunError where the first pulse of the sample forms far
    more than are wanted.

    A part of other protocols: `formed = yield from form_to_density(array, settings, wanted)`. Such a protocol has
    PHASES and VARIABLES among its own.
    """
    chosen_cells = np.ones(array.geometry.cells, bool) if wanted is None else wanted
    if settings.density >= ALL:
        return (yield from _form_all(array, settings, chosen_cells, maps))
    work = _Work(array, settings, chosen_cells)
    stopped = False
    try:
        yield Step("initial_read", work.counts(), maps or {}, progress=(0, 2))
        yield from work.form_sample()
        yield from work.form_others()
    except StopRequested:
        stopped = True
    with contextlib.suppress(StopRequested):
        yield Step("forming", work.counts(), work.maps(), progress=(2, 2))
    if work.too_many:
        raise RunError(work.too_many)
    return work.result(stopped)


def _form_all(
    array: MemoryArray, settings: DensitySettings, wanted: Mask, maps: Mapping[str, np.ndarray] | None
) -> Generator[Step, None, FormedToDensity]:
    formed = yield from forming.form(array, settings.whole, wanted, maps)
    conducts, now = formed.conductance >= settings.formed_at, np.isfinite(formed.voltage)
    tried = np.isfinite(formed.gate)
    outcome = np.select(
        [~wanted, conducts & ~now, conducts | now, tried],
        [OUTCOMES[name] for name in ("not_chosen", "formed_before", "formed", "never_formed")],
        OUTCOMES["left_pristine"],  # which it was stopped before
    ).astype(np.uint8)
    shape = (array.geometry.rows, array.geometry.cols)
    rows, cols = _dead(conducts & wanted, wanted, shape)
    live = wanted & ~_on(rows, cols, shape)
    density = _share(conducts & live, live)
    with contextlib.suppress(StopRequested):
        yield Step("forming", {"density": density}, {"forming_outcome": outcome.reshape(shape)})
    return FormedToDensity(
        formed.conductance, formed.voltage, formed.gate, formed.pulses, formed.reads, formed.stopped,
        density, math.nan, None, outcome, np.zeros(len(wanted), bool), live, rows, cols,
    )  # fmt: skip


class _Work:
    """Forming to a density as far as it has come. All masks are (cells,).

    needed: the share of the wanted pristine cells that has to form. too_many: the sentence of a sample that formed far
    more than that with its first pulse.
    """

    def __init__(self, array: MemoryArray, settings: DensitySettings, wanted: Mask) -> None:
        self._array, self._settings, self._wanted = array, settings, wanted
        self._shape = (array.geometry.rows, array.geometry.cols)
        self._conductance = array.read().conductance[0]
        self._pulses, self._reads = 0, len(wanted)
        self._voltage = np.full(len(wanted), np.nan, np.float32)
        self._gate = np.full(len(wanted), np.nan, np.float32)
        self._pristine = wanted & ~self._conducts
        self._codes = settings.fine.codes(array.dac, "ramp")
        self._sample = _sample(wanted & self._pristine, self._shape, settings.sample_rows)
        before, pristine = (int(np.count_nonzero(each)) for each in (wanted & self._conducts, self._pristine))
        self.needed = (settings.density * (before + pristine) - before) / max(pristine, 1)
        self.fit: Breakdown | None = None
        self.chosen_voltage = math.nan
        self.too_many = ""
        self.dead_rows: tuple[int, ...] = ()
        self.dead_cols: tuple[int, ...] = ()

    # -- the sample -----------------------------------------------------------------------------------------------

    def form_sample(self) -> Generator[Step, None, None]:
        """The ramp on the sample, until the share needed has formed or the ramp ends."""
        if not self.needed > 0:
            return
        levels: list[float] = []
        code, shortened = int(self._codes[0]), 0
        while True:
            volts = self._volts(code)
            pulsed = self._pulse(np.flatnonzero(self._sample & self._left), code)
            levels.append(volts)
            live, share = self._sample_share()
            self.fit = self._fitted(np.array(levels), live)
            done = (volts - levels[0]) / max(self._volts(self._codes[-1]) - levels[0], 1e-9)
            yield Step("sample", {"amplitude": volts, "forming_pulses": pulsed, **self.counts()}, progress=(done, 2))
            spread = math.sqrt(self.needed * (1 - self.needed) / max(int(np.count_nonzero(live)), 1))
            if len(levels) == 1 and share > self.needed + _TOO_MANY * spread:
                self.too_many = (
                    f"{share:.1%} of the sample rows formed at the first {format_quantity(volts, 'V')}, more than the "
                    f"{self.needed:.1%} that are wanted: set a lower ramp.start; the other cells had no pulse"
                )
                return
            following = self._following(code, share, shortened)
            if following is None:
                return
            shortened += following not in self._codes
            code = following

    def _following(self, code: int, share: float, shortened: int) -> int | None:
        """The code of the sample's next pulse; None where it ends."""
        higher = self._codes[self._codes > code]
        if share >= self.needed or not len(higher):
            return None
        following = int(higher[0])
        if self.fit is None:
            return following
        goal = self.fit.voltage(self.needed)
        if goal - self._volts(code) < _NEAR * self._settings.sample_step:
            return None
        if goal >= self._volts(following):
            return following
        nearest = int(self._array.dac.codes(goal))
        return nearest if nearest > code and shortened < _SHORTENED else None

    def _sample_share(self) -> tuple[Mask, float]:
        """The sample but for its dead rows, and which share of it has formed."""
        rows, _ = _dead(self._sample & self._conducts, self._sample, self._shape)
        live = self._sample & ~_on(rows, (), self._shape)
        return live, _share(live & self._conducts, live)

    def _fitted(self, levels: NDArray[np.float64], live: Mask) -> Breakdown | None:
        formed = self._voltage[live & self._conducts]
        if len(formed) < _FEWEST:
            return None
        place = np.searchsorted(levels.astype(np.float32), formed)
        counts = np.bincount(place, minlength=len(levels))
        return fit_breakdown(levels, counts, int(np.count_nonzero(live)) - len(formed))

    # -- the others -----------------------------------------------------------------------------------------------

    def form_others(self) -> Generator[Step, None, None]:
        """The one pulse, and further ones where too few have formed."""
        if self.too_many or not self.needed > 0 or not (self._sample & self._conducts).any():
            return
        low, high = self._volts(self._codes[0]), self._volts(self._codes[-1])
        goal = float(np.nanmax(self._voltage)) if self.fit is None else self.fit.voltage(self.needed)
        code = int(self._array.dac.codes(min(max(goal, low), high)))
        self.chosen_voltage = self._volts(code)
        others = np.flatnonzero(self._pristine & ~self._sample)
        pulsed = {"amplitude": self.chosen_voltage, "forming_pulses": self._pulse(others, code)} if len(others) else {}
        self._find_dead()
        yield Step("forming", pulsed | self._told() | self.counts(), progress=(1.5, 2))
        yield from self._form_further(code)

    def _form_further(self, first: int) -> Generator[Step, None, None]:
        """Portions of the cells left, none of more cells than are missing, at one voltage after the other."""
        for turn in range(1, self._settings.further + 1):
            volts = self._volts(first) + turn * _FURTHER * self._settings.sample_step
            if volts > self._volts(self._codes[-1]):
                return
            code = int(self._array.dac.codes(volts))
            cells = _evenly(np.flatnonzero(self._left & self._live & ~self._sample))
            while len(cells):
                missing = self._missing()
                if not missing:
                    return
                portion, cells = np.sort(cells[:missing]), cells[missing:]
                pulsed = self._pulse(portion, code)
                values = {"amplitude": self._volts(code), "forming_pulses": pulsed}
                yield Step("forming", values | self.counts(), progress=(1.5, 2))

    def _missing(self) -> int:
        """How many cells too few have formed; 0 where that is no more than a share of so many cells varies by."""
        cells, wanted = int(np.count_nonzero(self._live)), self._settings.density
        short = wanted * cells - int(np.count_nonzero(self._live & self._conducts))
        return math.floor(short) if short > math.sqrt(wanted * (1 - wanted) * cells) else 0

    def _find_dead(self) -> None:
        self.dead_rows, self.dead_cols = _dead(self._wanted & self._conducts, self._wanted, self._shape)

    # -- what both share ------------------------------------------------------------------------------------------

    def _pulse(self, cells: NDArray[np.intp], code: int) -> int:
        """One FORM pulse on each of `cells`; how many those are."""
        where, ramp = cells.astype(np.uint32), self._settings.ramp
        found = forming.pulse_to_form(self._array, where, code, ramp.width, ramp.gate)
        self._pulses, self._reads = self._pulses + len(where), self._reads + len(where)
        self._conductance[where], self._gate[where] = found, ramp.gate
        self._voltage[where[found >= self._settings.formed_at]] = self._volts(code)
        return len(where)

    def _volts(self, code: int) -> float:
        return float(self._array.dac.values(code))

    @property
    def _conducts(self) -> Mask:
        conducts: Mask = self._conductance >= self._settings.formed_at
        return conducts

    @property
    def _left(self) -> Mask:
        return self._pristine & ~self._conducts

    @property
    def _live(self) -> Mask:
        return self._wanted & ~_on(self.dead_rows, self.dead_cols, self._shape)

    def counts(self) -> dict[str, float | int]:
        """How far it has come."""
        return {
            "gate": self._settings.ramp.gate,
            "unformed": int(np.count_nonzero(self._left)),
            "density": _share(self._live & self._conducts, self._live),
        }

    def _told(self) -> dict[str, float | int]:
        """What the sample said."""
        found: dict[str, float | int] = {"chosen_voltage": self.chosen_voltage}
        if self.fit is not None:
            found |= {"breakdown_mean": self.fit.mean, "breakdown_sd": self.fit.sd}
            for name, (low, high) in (("mean", self.fit.mean_interval), ("sd", self.fit.sd_interval)):
                found |= {f"breakdown_{name}_low": low, f"breakdown_{name}_high": high}
        return found

    def maps(self) -> dict[str, np.ndarray]:
        """What became of each cell."""
        maps: dict[str, NDArray[Any]] = {
            "forming_voltage": self._voltage,
            "gate": self._gate,
            "forming_outcome": self._outcome(),
        }
        return {name: values.reshape(self._shape) for name, values in maps.items()}

    def _outcome(self) -> NDArray[np.uint8]:
        found = np.select(
            [~self._wanted, self._conducts & ~self._pristine, self._conducts, ~self._live],
            [OUTCOMES[name] for name in ("not_chosen", "formed_before", "formed", "dead_line")],
            OUTCOMES["left_pristine"],
        )
        return found.astype(np.uint8)

    def result(self, stopped: bool) -> FormedToDensity:
        return FormedToDensity(
            self._conductance, self._voltage, self._gate, self._pulses, self._reads, stopped,
            _share(self._live & self._conducts, self._live), self.chosen_voltage, self.fit, self._outcome(),
            self._sample, self._live, self.dead_rows, self.dead_cols,
        )  # fmt: skip


def _sample(pristine: Mask, shape: tuple[int, int], count: int) -> Mask:
    """The `pristine` cells of so many of the rows that have any, evenly spread."""
    rows = np.flatnonzero(pristine.reshape(shape).any(axis=1))
    if not len(rows):
        return np.zeros_like(pristine)
    many = min(count, len(rows))
    taken = rows[((np.arange(many) + 0.5) * len(rows) / many).astype(int)]
    where = np.zeros(shape, bool)
    where[taken] = True
    return where.ravel() & pristine


def _dead(conducts: Mask, tried: Mask, shape: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns of which not one of the cells `tried` conducts, where that cannot be chance."""
    share = min(_share(conducts, tried), 1 - 1e-9) if tried.any() else 0.0
    lines = []
    for axis in (1, 0):
        many, some = tried.reshape(shape).sum(axis=axis), conducts.reshape(shape).any(axis=axis)
        lines.append(tuple(np.flatnonzero(~some & (many * math.log1p(-share) < math.log(_CHANCE))).tolist()))
    return lines[0], lines[1]


def _on(rows: tuple[int, ...], cols: tuple[int, ...], shape: tuple[int, int]) -> Mask:
    where = np.zeros(shape, bool)
    where[list(rows)] = True
    where[:, list(cols)] = True
    return where.ravel()


def _share(some: Mask, of: Mask) -> float:
    many = int(np.count_nonzero(of))
    return int(np.count_nonzero(some)) / many if many else math.nan


def _evenly(cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """`cells` in an order in which every part of it is spread over all of them."""
    return cells[np.argsort(np.arange(len(cells)) * _GOLDEN % 1.0, kind="stable")]


# -- the protocol --------------------------------------------------------------------------------------------------


def density_cost(geometry: Geometry, dac: Scale, settings: DensitySettings, wanted: Mask) -> Cost:
    """The most that forming the density of the `wanted` cells can cost; every cell of the array is read first."""
    if settings.density >= ALL:
        return forming.form_cost(geometry, dac, settings.whole, int(np.count_nonzero(wanted)))
    codes, many = settings.fine.codes(dac, "ramp"), int(np.count_nonzero(wanted))
    by_row = np.sort(wanted.reshape(geometry.rows, geometry.cols).sum(axis=1))
    sample = int(by_row[-settings.sample_rows :].sum())
    of_sample, of_others = len(codes) + _SHORTENED, 1 + settings.further
    pulses = sample * of_sample + (many - sample) * of_others
    most = max(pulses, many * of_others)
    most_of_one = max(of_sample, of_others)
    return Cost(
        max_pulses=most,
        max_reads=most + geometry.cells,
        amplitudes={Operation.FORM: float(dac.values(codes.max()))},
        gates={Operation.FORM: settings.ramp.gate},
        widths={Operation.FORM: settings.ramp.width},
        max_pulses_per_cell=most_of_one,
        max_form_pulses_per_cell=most_of_one,
    )


def _mask(cells: Cells, geometry: Geometry) -> Mask:
    wanted = np.zeros(geometry.cells, bool)
    wanted[cells] = True
    return wanted


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: DensityChoice) -> Cost:  # noqa: ARG001
    return density_cost(geometry, dac, settings, _mask(settings.chosen(geometry), geometry))


def _steps(array: MemoryArray, settings: DensityChoice, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    wanted = _mask(settings.chosen(array.geometry), array.geometry)
    formed = yield from form_to_density(array, settings, wanted)
    shape = (array.geometry.rows, array.geometry.cols)
    with contextlib.suppress(StopRequested):
        yield Step("forming", {}, {"conductance": formed.conductance.reshape(shape)})
    return _summary(formed, settings, wanted, array)


def _summary(formed: FormedToDensity, settings: DensitySettings, wanted: Mask, array: MemoryArray) -> dict[str, Any]:
    """Of the `wanted` cells; the density of those that are not on a dead line."""
    counts = {name: int(np.count_nonzero(formed.outcome == code)) for name, code in OUTCOMES.items()}
    done, live = counts["formed_before"] + counts["formed"], int(np.count_nonzero(formed.live))
    conducts = formed.live & (formed.conductance >= settings.formed_at)
    low, high = wilson_interval(int(np.count_nonzero(conducts)), live) if live else (math.nan, math.nan)
    return {
        "cells": int(np.count_nonzero(wanted)),
        "formed_before": counts["formed_before"],
        "formed_now": counts["formed"],
        "left_pristine": counts["left_pristine"],
        "never_formed": counts["never_formed"] + counts["dead_line"],
        "fraction_formed": done / max(int(np.count_nonzero(wanted)), 1),
        "density_wanted": settings.density,
        "density": formed.density,
        "density_low": low,
        "density_high": high,
        "dead_rows": list(formed.dead_rows),
        "dead_cols": list(formed.dead_cols),
        "chosen_voltage_volts": formed.chosen_voltage,
        **_of_breakdown(formed.breakdown),
        **_of_rows(conducts, formed.live, (array.geometry.rows, array.geometry.cols)),
        **_of_conductance(formed.conductance[wanted], settings.formed_at, float(array.adc.values(array.adc.top))),
        "pulses": formed.pulses,
        "reads": formed.reads,
    }


def _of_breakdown(fit: Breakdown | None) -> dict[str, Any]:
    nowhere = (math.nan, math.nan)
    means, deviations = (fit.mean_interval, fit.sd_interval) if fit else (nowhere, nowhere)
    return {
        "sample_cells": fit.cells if fit else 0,
        "breakdown_mean_volts": fit.mean if fit else math.nan,
        "breakdown_mean_low_volts": means[0],
        "breakdown_mean_high_volts": means[1],
        "breakdown_sd_volts": fit.sd if fit else math.nan,
        "breakdown_sd_low_volts": deviations[0],
        "breakdown_sd_high_volts": deviations[1],
    }


def _of_rows(conducts: Mask, live: Mask, shape: tuple[int, int]) -> dict[str, Any]:
    """How even the density is from row to row, beside what chance alone makes of it."""
    many, some = live.reshape(shape).sum(axis=1), conducts.reshape(shape).sum(axis=1)
    there = many > 0
    if np.count_nonzero(there) < 2:
        return {}
    share, whole = some[there] / many[there], some.sum() / many.sum()
    return {
        "row_density_min": float(share.min()),
        "row_density_max": float(share.max()),
        "row_density_sd": float(share.std(ddof=1)),
        "row_density_sd_of_chance": math.sqrt(float(np.mean(whole * (1 - whole) / many[there]))),
    }


def _of_conductance(conductance: NDArray[np.float32], formed_at: float, top: float) -> dict[str, Any]:
    """Of formed cells whose reading is not saturated; mu and sigma are those of ln(conductance / uS)."""
    formed = conductance[conductance >= formed_at].astype(np.float64)
    inside = formed[formed < top * (1 - 1e-6)]
    if len(inside) < 2:
        return {"saturated": len(formed) - len(inside)}
    mean, sd, logs = float(inside.mean()), float(inside.std(ddof=1)), np.log(inside * 1e6)
    low, middle, high = (float(each) for each in np.quantile(inside, [0.05, 0.5, 0.95]))
    return {
        "conductance_mean_siemens": mean,
        "conductance_sd_siemens": sd,
        "conductance_skew": float(np.mean((inside - mean) ** 3)) / sd**3 if sd else math.nan,
        "conductance_p5_siemens": low,
        "conductance_median_siemens": middle,
        "conductance_p95_siemens": high,
        "conductance_lognormal_mu": float(logs.mean()),
        "conductance_lognormal_sigma": float(logs.std(ddof=1)),
        "saturated": len(formed) - len(inside),
    }


forming_density = Procedure(
    name="forming_density",
    title="Form a share of the array",
    settings=DensityChoice,
    phases=PHASES,
    variables=(*VARIABLES, Variable("conductance", "conductance at the last read", ("row", "col"), unit="S")),
    needs=Capability.FORM | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="forming-density",
    retries=("never_formed",),
)
